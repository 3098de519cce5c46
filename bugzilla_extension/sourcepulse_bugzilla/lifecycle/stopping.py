# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Being told to end: a flag that wakes whoever waits, and the moment by which all must be done."""

from __future__ import annotations

import math
import select
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

#: What waits when the sidecar is told to end is still drained within this.
LAST_DRAIN_SECONDS = 10.0


class Stop:
    """May be set by a signal handler or any thread, once; close it, or use it as a context manager."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._write.setblocking(False)
        self._at = math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._read.close()
        self._write.close()

    def set(self) -> None:
        """Tell to end; a signal handler may interrupt anything, so this takes no lock."""
        if self._at == math.inf:
            self._at = time.monotonic()
        with suppress(OSError):
            self._write.send(b"1")

    def is_set(self) -> bool:
        """Return whether it is time to end."""
        return self._at < math.inf

    def give_up_at(self) -> float:
        """Return the monotonic moment after which nothing is waited for any more."""
        return self._at + LAST_DRAIN_SECONDS

    def wait(self, seconds: float, also: socket.socket | None = None) -> None:
        """Wait until told to end, until something can be read from `also`, or until the time is over."""
        if not self.is_set():
            readable: list[socket.socket] = [self._read] if also is None else [self._read, also]
            select.select(readable, [], [], seconds)
