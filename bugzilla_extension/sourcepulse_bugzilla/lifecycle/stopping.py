# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A flag that stops the sidecar: it interrupts every wait and sets the time by which everything must be done."""

from __future__ import annotations

import math
import select
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

#: How long a stopping sidecar continues to drain rows that wait.
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
        """Request the stop; a signal handler may interrupt any code, so this takes no lock."""
        if self._at == math.inf:
            self._at = time.monotonic()
        with suppress(OSError):
            self._write.send(b"1")

    def is_set(self) -> bool:
        return self._at < math.inf

    def give_up_at(self) -> float:
        """Return the monotonic time after which nothing is waited for."""
        return self._at + LAST_DRAIN_SECONDS

    @property
    def readable(self) -> socket.socket:
        """What a `select` may wait for: it can be read once this is set."""
        return self._read

    def wait(self, seconds: float) -> None:
        """Wait until stopped or until the time is over."""
        if not self.is_set():
            select.select([self._read], [], [], seconds)
