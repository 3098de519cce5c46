# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An extension for the tests: hg dies before its n-th step in a repository, a step being what it asks of its files.

Enabled in a server's hgrc, it does nothing unless the environment says `KILL_AT_STEP=n` and `KILL_BELOW=/path/.hg`.
Each kill adds a line to the file that `KILL_NOTES` names: what the step was.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

#: The audit events of Python that stand for a step, see its documentation; the first argument is the path.
_STEPS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod"})
#: Where a collector takes its lock, opens the outbox, and starts the relay; none of them names a path below `.hg`.
_ELSEWHERE = frozenset({"fcntl.flock", "sqlite3.connect", "subprocess.Popen", "os.posix_spawn"})


def uisetup(_ui: Any) -> None:
    steps = int(os.environ.get("KILL_AT_STEP", "0"))
    below = os.environ.get("KILL_BELOW", "")
    if not steps:
        return
    done = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event in _ELSEWHERE or (event in _STEPS and _path(arguments[0]).startswith(below)):
            done += 1
            if done == steps:
                with open(os.environ["KILL_NOTES"], "a", encoding="utf-8") as notes:
                    notes.write(f"{event} {arguments[0]!r}\n")
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def _path(argument: Any) -> str:
    return os.fsdecode(argument) if isinstance(argument, (str, bytes, os.PathLike)) else ""
