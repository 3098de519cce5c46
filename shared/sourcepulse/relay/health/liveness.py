# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When the delivering loops of a relay last turned: the time of its lock file, which needs no write to the outbox.

A relay can hold its lock and deliver nothing, for example while it reads a file of a dead mount. The file is touched
only after every delivering loop has turned since the last touch, so one loop that hangs makes it grow old.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

#: How long a loop that works may need for one turn: a connection takes at most 40 s, whatever the number of hosts, an
#: answer of the check of visibility 60 s, the lock of the outbox 10 s. Waits for confirmations are divided into steps
#: of a second.
LOOP_MAX_SECONDS = 90.0
#: How often the file is touched; a touch changes one inode.
TOUCH_SECONDS = 5.0

logger = logging.getLogger(__name__)


def lock_path(outbox: Path) -> Path:
    """Return the path of the file that a running relay holds locked; the file contains the process id."""
    outbox = Path(os.path.realpath(outbox))
    return outbox.with_name(outbox.name + ".relay.lock")


def last_loop_at(outbox: Path) -> float | None:
    """Return when all delivering loops of the last relay had turned, in seconds since 1970; None if none ever ran."""
    try:
        return lock_path(outbox).stat().st_mtime
    except OSError:
        return None


class Turns:
    """Calls each of `turned` in one of the loops each time that all of them have turned."""

    def __init__(self, loops: Iterable[str], turned: Sequence[Callable[[], None]]) -> None:
        self._loops = frozenset(loops)
        self._turned = turned
        self._missing = set(self._loops)
        self._lock = threading.Lock()

    def report(self, loop: str) -> None:
        """Record that a loop turns; cheap to call."""
        with self._lock:
            self._missing.discard(loop)
            if self._missing:
                return
            self._missing.update(self._loops)
            for call in self._turned:
                call()


class Touch:
    """Touches the open lock file, at most each TOUCH_SECONDS."""

    def __init__(self, fd: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd = fd
        self._clock = clock
        self._touched_at: float | None = None

    def __call__(self) -> None:
        now = self._clock()
        if self._touched_at is not None and now - self._touched_at < TOUCH_SECONDS:
            return
        self._touched_at = now
        try:
            os.utime(self._fd)
        except OSError as error:
            logger.warning(
                "the relay's lock file cannot be touched: %s; `status` will show a hung relay", error.strerror
            )
