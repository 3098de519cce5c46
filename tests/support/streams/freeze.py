# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Stop a process as one that hangs, and a relay only while no writer waits for a lock that it holds."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from sourcepulse.outbox.files import is_locked, lock_file

STOP_LIMIT_SECONDS = 30.0


def stop_threads(pid: int) -> None:
    """Stop a process until SIGCONT, and return once all its threads stand still.

    The signal is only on its way when `os.kill` returns: on a busy machine some threads go on for a moment.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + STOP_LIMIT_SECONDS
    while not _stand_still(pid):
        assert time.monotonic() < deadline, f"the process {pid} does not stop"
        time.sleep(0.01)


def _stand_still(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks} == {"T"}


def freeze(relay: subprocess.Popen[bytes], outbox: Path, *locks: Path) -> None:
    """Stop a relay until SIGCONT; it then holds neither the outbox's lock nor one of these."""
    while True:
        stop_threads(relay.pid)
        if not any(is_locked(lock) for lock in (lock_file(outbox), *locks) if lock.exists()):
            return
        relay.send_signal(signal.SIGCONT)
        time.sleep(0.002)
