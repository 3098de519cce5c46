# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The doctor names a reporter that a real master has not read yet, and its command makes the master read it."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from support.brokers.embedded_log import wait_until
from support.buildbot.masters import Master, require_buildbot, shared_template
from support.doctor import examine, is_well, paste

REPORTER = (
    'c["services"].append(reporters.PulseStatusPush(name="ci", outbox="outbox.db", broker="file://{folder}/log.db"))\n'
)
BUILDER = 'builder("linux", "true")\n'


@pytest.fixture
def master(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    require_buildbot()
    template = shared_template(tmp_path_factory)
    with closing(Master(template, tmp_path / "master", BUILDER, forked=False)) as made:
        yield made


def changed(master: Master, config: str, *, after_s: float = 0.0) -> None:
    """Change master.cfg as an admin does who takes some time."""
    master.configure(config.replace("{folder}", str(master.folder)))
    at = time.time() + after_s
    os.utime(master.folder / "master.cfg", (at, at))


@contextmanager
def stranger() -> Iterator[int]:
    """Run a process that is no master until the end of the block."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_reporter_that_the_master_has_not_read_is_named_and_read_after_the_command(master: Master) -> None:
    assert examine("--master", master.folder).bad == ["SP601"]
    master.start()
    changed(master, BUILDER + REPORTER, after_s=5)
    found = examine("--master", master.folder)
    assert found.bad == ["SP602"], found.findings
    # A master in the foreground has no twistd.pid, which `buildbot reconfig` needs; in the background it has.
    pid = found.repair("SP602")[1].removeprefix("kill -HUP ")
    (master.folder / "twistd.pid").write_text(pid)
    # A file that was left behind may have the number of any process, which must get no signal.
    with stranger() as other:
        (master.folder / "twistd.pid").write_text(str(other))
        assert examine("--master", master.folder).repair("SP602")[1] == f"kill -HUP {pid}"
    (master.folder / "twistd.pid").write_text(pid)
    commands = examine("--master", master.folder).repair("SP602")
    assert commands == [f"buildbot checkconfig {master.folder}", f"buildbot reconfig {master.folder}"]
    changed(master, BUILDER + REPORTER)
    paste(*commands)
    found = examine("--master", master.folder)
    assert is_well(found), found.findings
    wait_until(master.outbox.exists)
    # Also the master whose folder has the outbox that is looked at.
    changed(master, BUILDER + REPORTER, after_s=5)
    assert "SP602" in examine("--outbox", master.outbox).bad
    master.stop()
    with stranger() as other:
        (master.folder / "twistd.pid").write_text(str(other))
        assert examine("--master", master.folder).repair("SP603") == [
            f"rm {master.folder}/twistd.pid",
            f"buildbot start {master.folder}",
        ]
    if not os.geteuid():
        os.chown(master.folder, 1, 1)
        owner = pwd.getpwuid(1).pw_name
        found = examine("--master", master.folder)
        assert found.repair("SP603")[-1] == f"runuser -u {owner} -- buildbot start {master.folder}"
