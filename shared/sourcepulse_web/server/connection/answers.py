# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Answers on their way to clients that read slowly: bounded in memory and in time, and cut when something is withdrawn.

Twisted would take a whole answer at once. Here the connection gets as much as its client reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sourcepulse_web.server.connection.channel import GatewayChannel

#: What a connection gets at a time; Twisted holds two of these before it pauses.
CHUNK_BYTES = 32 << 10
#: All answers that wait; beyond that those end that made no progress for the longest time.
WAITING_MAX_BYTES = 64 << 20
#: How long a client may read nothing of what waits.
STALLED_MAX_SECONDS = 60.0
#: Why an answer was cut.
STALLED, OVERLOAD, WITHDRAWN = "answer-stalled", "answer-overload", "answer-withdrawn"


class Answer:
    """A push producer of one body."""

    def __init__(self, body: bytes, channel: GatewayChannel, write: Callable[[bytes], None]) -> None:
        self.size = len(body)
        self.progress_at = time.monotonic()
        self.channel = channel
        self._left: memoryview | None = memoryview(body)
        self._write = write
        self._paused = False
        self._done: Callable[[], None] = _nothing

    def start(self, done: Callable[[], None]) -> None:
        """Write, and call `done` when the connection has everything."""
        self._done = done
        self.resumeProducing()

    def drop(self) -> None:
        """Forget the body."""
        self._left = None

    def resumeProducing(self) -> None:
        """Write until the connection says that it is enough."""
        self._paused = False
        self.progress_at = time.monotonic()
        while self._left is not None and not self._paused:
            chunk, self._left = self._left[:CHUNK_BYTES], self._left[CHUNK_BYTES:]
            is_last = not self._left
            self._write(bytes(chunk))
            if is_last:
                self.drop()
                self._done()

    def pauseProducing(self) -> None:
        """Wait for the client."""
        self._paused = True

    def stopProducing(self) -> None:
        """End with the connection."""
        self.drop()


class Answers:
    """Those of one site."""

    def __init__(self, reactor: Any, count: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._count = count
        self._waiting: set[Answer] = set()
        self._check: Any = None

    def add(self, answer: Answer) -> None:
        """Watch over an answer until `remove`."""
        self._waiting.add(answer)
        while sum(each.size for each in self._waiting) > WAITING_MAX_BYTES and len(self._waiting) > 1:
            others = self._waiting - {answer}
            self.cut(min(others, key=lambda each: each.progress_at), OVERLOAD)
        if self._check is None:
            self._check = self._reactor.callLater(1.0, self._look)

    def remove(self, answer: Answer) -> None:
        """Forget an answer that was written, or whose client went away."""
        answer.drop()
        self._waiting.discard(answer)

    def cut(self, answer: Answer, reason: str) -> None:
        """Close a connection, and drop what waits for it."""
        self.remove(answer)
        self._count(reason)
        answer.channel.cut()

    def _look(self) -> None:
        self._check = None
        limit = time.monotonic() - STALLED_MAX_SECONDS
        for answer in [each for each in self._waiting if each.progress_at < limit]:
            self.cut(answer, STALLED)
        if self._waiting:
            self._check = self._reactor.callLater(1.0, self._look)


def _nothing() -> None:
    pass
