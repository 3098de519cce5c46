# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The event that a relay publishes at each interval to show that it runs and how far it is; it is never stored."""

from __future__ import annotations

import random
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from sourcepulse.events.cut_record import Truncation
from sourcepulse.events.event import RESTRICTED, RESTRICTED_SUFFIX, Event, stream_of
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import count_buried
from sourcepulse.relay.health.figures import (
    NumberedSource,
    SourceFigures,
    count_waiting,
    figures_of,
    numbered_sources,
    oldest_pending,
)

TYPE = "system.relay.heartbeat.v1"
#: With names of 60 bytes and five types each, a heartbeat of 500 sources takes about 190 KB.
SOURCES_MAX = 500
SOURCES_MAX_BYTES = 208 * 1024
#: What surrounds the name of a source, or of a type: the names of the members, and numbers of full length.
_SOURCE_ROOM_BYTES = 130
_TYPE_ROOM_BYTES = 55
#: Relays that started together do not beat together: an interval is shortened by up to this share, never lengthened.
JITTER_SHARE = 0.2

_SEQUENCE_DIGITS = 20


class Heartbeat:
    """Makes the heartbeats of one stream of one relay. Not thread-safe."""

    def __init__(
        self,
        outbox: Outbox,
        stream: str,
        interval_s: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._jitter = jitter
        self._source = f"system://{socket.gethostname()}" + (RESTRICTED_SUFFIX if stream == RESTRICTED else "")
        self._run = str(uuid.uuid4())
        self._tick = 0
        self._due_at = clock()
        #: The last source of the last heartbeat; if there are too many for one, the next continues behind it.
        self._last_source = ""

    def is_due(self) -> bool:
        """Return whether the interval is over."""
        return self._clock() >= self._due_at

    def next(self) -> Event | None:
        """Return the heartbeat if one is due, else None."""
        if not self.is_due():
            return None
        self._due_at = self._clock() + self._interval_s * (1 - JITTER_SHARE * self._jitter())
        self._tick += 1
        return Event.of(
            TYPE,
            source=self._source,
            key=[self._run, str(self._tick)],
            subject="relay",
            time=time.time(),
            data=self._figures(),
        )

    def _figures(self) -> dict[str, Any]:
        with self._outbox.reading() as db:
            pending, oldest = count_waiting(db, self._stream), oldest_pending(db, self._stream)
            buried = count_buried(db, self._stream)
            ours = [row for row in numbered_sources(db) if stream_of(row.source) == self._stream]
            some = figures_of(db, self._stream, self._turn(ours))
        data: dict[str, Any] = {
            "interval_s": self._interval_s,
            "epoch": ours[0].epoch if ours else None,
            "pending": pending,
            "oldest_age_s": self._age_s(oldest),
            "buried": buried,
            "sources": [self._state(each) for each in some],
            "truncated": [],
        }
        cuts = Truncation()
        cuts.note_cut("/sources", len(some), len(ours))
        cuts.write(data)
        return data

    def _turn(self, ours: Sequence[NumberedSource]) -> list[NumberedSource]:
        """Return the sources of this heartbeat: as many as it has room for, those behind the last ones first."""
        behind = [row for row in ours if row.source > self._last_source]
        room = SOURCES_MAX_BYTES
        found: list[NumberedSource] = []
        for row in [*behind, *ours[: len(ours) - len(behind)]]:
            room -= len(row.source.encode()) + _SOURCE_ROOM_BYTES
            room -= row.types_length + row.types * _TYPE_ROOM_BYTES
            if room < 0 or len(found) == SOURCES_MAX:
                break
            found.append(row)
        self._last_source = found[-1].source if len(found) < len(ours) else ""
        return sorted(found)

    def _state(self, each: SourceFigures) -> dict[str, Any]:
        return {
            "source": each.source,
            "sequence": _digits(each.confirmed.sequence),
            "types": [{"type": type_, "typesequence": _digits(number)} for type_, number in each.confirmed.types],
            "pending": each.pending,
            "oldest_age_s": self._age_s(each.oldest),
        }

    def _age_s(self, stored_at: float | None) -> int | None:
        return None if stored_at is None else max(0, int(self._outbox.now() - stored_at))


def _digits(number: int) -> str | None:
    return f"{number:0{_SEQUENCE_DIGITS}}" if number else None
