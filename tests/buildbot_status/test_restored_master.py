# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A master whose outbox was restored from a backup publishes again what came after it, from its own database."""

from __future__ import annotations

from pathlib import Path

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from support.buildbot.masters import MakeMaster
from support.buildbot.oracle import assert_exact
from support.in_process import run_command

CONFIG = """
c["services"].append(reporters.PulseStatusPush(name="ci", outbox="outbox.db"))
builder("fast", "echo one")
"""


def test_builds_behind_a_backup_are_found_again_with_their_ids(make_master: MakeMaster, tmp_path: Path) -> None:
    master = make_master(CONFIG)
    backup = str(tmp_path / "backup.db")
    master.start()
    master.build("fast")
    # While the master goes on.
    assert run_command("outbox", "backup", backup, "--outbox", str(master.outbox)).returncode == 0
    master.build("fast")
    # Nothing is restored under a running master, even if another process relays its outbox.
    running = run_command("outbox", "restore", backup, "--apply", "--outbox", str(master.outbox))
    assert (running.returncode, "has the outbox" in running.stderr) == (6, True)
    master.stop()
    published = [event.id for event in master.events("build.finished")]
    assert len(published) == 2
    done = run_command("outbox", "restore", backup, "--apply", "--outbox", str(master.outbox))
    assert done.returncode == 0, done.stderr
    assert len(master.events("build.finished")) == 1
    master.start()
    master.wait_for(lambda: len(master.events("build.finished")) == 2)
    master.stop()
    assert [event.id for event in master.events("build.finished")] == published
    assert_exact(master)
    with Outbox.open(master.outbox) as outbox:
        epochs = [row["epoch"] for row in rows(outbox, Selection(type="build.finished"))]
    assert len(set(epochs)) == 2
