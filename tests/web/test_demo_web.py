# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The demo in a browser: what a stranger sees second."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.brokers.embedded_log import wait_until
from support.buildbot.masters import require_buildbot

pytest.importorskip("mercurial")

#: On a machine at a load of 25 it took four minutes.
LIMIT_SECONDS = 600
#: As in the environment of `make demo`.
WITHOUT_BUILDBOT = "import sys; sys.modules['buildbot'] = None; "
RUN = "import sys; from sourcepulse.cli.main import main; sys.exit(main(['demo', '--web']))"
BROKEN = "bob pushed ([0-9a-f]{12}) to integration/inbound: Bug 1234 - a faster parser"


def _environ(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "LC_ALL": "C"}


def test_in_a_terminal_it_stays_until_ctrl_c_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", WITHOUT_BUILDBOT + RUN]
    with subprocess.Popen(
        command, env=_environ(tmp_path), stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True
    ) as demo:
        os.close(theirs)
        shown = b""
        while b"Ctrl-C ends it" not in shown:
            shown += os.read(ours, 4096)
        demo.send_signal(signal.SIGINT)
        out, _ = demo.communicate(timeout=LIMIT_SECONDS)
    os.close(ours)
    text = shown.decode()
    assert demo.returncode == 0, text
    assert "recorded builds, because Buildbot is not installed here" in text
    found = re.search(BROKEN, text)
    assert found is not None
    assert f"/changes/{found[1]} " in out
    assert "dave was refused: the tree is closed: Bug 1234" in text
    assert list(tmp_path.iterdir()) == []
    # The shell that started the relay ends after some seconds.
    wait_until(lambda: _left(tmp_path) == [])


@pytest.mark.soak
def test_elsewhere_it_ends_by_itself_and_a_real_buildbot_builds(tmp_path: Path) -> None:
    require_buildbot()
    folder = tmp_path / "a folder"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=_environ(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "a real Buildbot master" in done.stderr
    assert re.search(BROKEN + r"\n +linux64-debug-unit: failure\n +linux64-opt-unit: failure\n", done.stderr)
    assert list(folder.iterdir()) == []
    wait_until(lambda: _left(folder) == [])


def _left(folder: Path) -> list[str]:
    """Return the programs that have a folder in their arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found
