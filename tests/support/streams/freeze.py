# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Stop a relay as a process that hangs, but not while all writers wait for a lock that it holds."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from sourcepulse.outbox.files import is_locked, lock_file


def freeze(relay: subprocess.Popen[bytes], outbox: Path, *locks: Path) -> None:
    """Stop a relay until SIGCONT; it then holds neither the outbox's lock nor one of these."""
    while True:
        relay.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, relay.pid, os.WSTOPPED | os.WNOWAIT)
        if not any(is_locked(lock) for lock in (lock_file(outbox), *locks) if lock.exists()):
            return
        relay.send_signal(signal.SIGCONT)
        time.sleep(0.002)
