# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which of the expected sources are silent: pure logic with injected clocks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sourcepulse.gaps import Silence

#: If the consumer was not called for longer than this, its connection may have been lost unnoticed.
PAUSE_SECONDS = 5.0


@dataclass(slots=True)
class Way:
    """One way by which messages come: its connection, if any, and when nothing more was found there."""

    connected: bool = False
    generation: int = 0
    empty_at: float = -math.inf
    #: When a pause ended, and the connection at that time; None if all that came during the pause was read.
    resumed: tuple[float, int] | None = None
    #: From when on nothing sent is lost by a pause.
    since: float = -math.inf


@dataclass(slots=True)
class _Wait:
    seconds: float
    way: Way
    heard_at: float = -math.inf
    silence: Silence | None = None


class Watch:
    """The expected sources, each with the time for which it may be silent and the way by which it is heard.

    A message counts from the time that it names, but not from before its way was last found empty, because it came
    after that: so an old one out of a backlog is no sign of life, and a clock that is wrong does no harm once the
    backlog is done. A source is silent if nothing waits on its way that could show the contrary.
    """

    def __init__(
        self,
        expect: Mapping[str, tuple[float, Way]],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._waits = {source: _Wait(seconds, way) for source, (seconds, way) in expect.items()}
        self._clock = clock
        self._wall = wall
        self._called_at = -math.inf

    @property
    def silent(self) -> tuple[str, ...]:
        """Return the sources that are silent now."""
        return tuple(source for source, wait in self._waits.items() if wait.silence is not None)

    def expects(self, source: str) -> bool:
        """Return whether the source is one of those that are expected."""
        return source in self._waits

    def heard(self, source: str, sent_at: float, *, redelivered: bool = False) -> Silence | None:
        """Note a message of any source that was sent at this time since 1970; return the silence that it ends."""
        wait = self._waits.get(source)
        if wait is None:
            return None
        now = self._clock()
        at = now - max(0.0, self._wall() - sent_at)
        # One that is delivered again may have come first before its way was empty.
        wait.heard_at = max(wait.heard_at, at if redelivered else max(at, wait.way.empty_at))
        if wait.silence is None or now - wait.heard_at >= wait.seconds:
            return None
        ended, wait.silence = wait.silence, None
        return ended

    def begin(self) -> None:
        """Note that messages are about to be read; a program that is busy for long does not listen meanwhile."""
        now = self._clock()
        for wait in self._waits.values():
            if self._called_at == -math.inf:
                wait.way.since = now
            elif now - self._called_at > PAUSE_SECONDS:
                wait.way.resumed = now, wait.way.generation
        self._called_at = now

    def fallen_silent(self) -> Iterator[Silence]:
        """Yield the sources that are silent since the last call; call it after messages were read."""
        now = self._clock()
        for source, wait in self._waits.items():
            if wait.silence is not None:
                continue
            due = max(_listened_since(wait.way), wait.heard_at) + wait.seconds
            # What waits on a way that was not found empty since may be from this source.
            if now >= due and (wait.way.empty_at >= due or not wait.way.connected):
                wait.silence = self._silence(source, wait, now)
                yield wait.silence

    def _silence(self, source: str, wait: _Wait, now: float) -> Silence:
        heard_at = None if wait.heard_at == -math.inf else self._wall() - (now - wait.heard_at)
        return Silence(source=source, expected_s=wait.seconds, heard_at=heard_at, connected=wait.way.connected)


def _listened_since(way: Way) -> float:
    """Return since when a message that was sent would have been read, or found waiting."""
    if way.resumed is not None:
        at, generation = way.resumed
        if way.connected and way.generation != generation:
            way.since, way.resumed = at, None
        elif way.connected and way.empty_at >= at:
            way.resumed = None
        else:
            return at
    return way.since
