# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The event that a relay publishes at each interval to show that it runs and how far it is; it is never stored."""

from __future__ import annotations

import socket
import time
import uuid
from typing import Any

from sourcepulse.events.cut_record import Truncation
from sourcepulse.events.event import RESTRICTED, RESTRICTED_SUFFIX, Event, stream_of
from sourcepulse.outbox.outbox import Outbox, count_pending
from sourcepulse.outbox.queries import count_buried

TYPE = "system.relay.heartbeat.v1"
#: A heartbeat with 500 sources takes about 100 KB.
SOURCES_MAX = 500

_SEQUENCE_DIGITS = 20


class Heartbeat:
    """Makes the heartbeats of one stream of one relay. Not thread-safe."""

    def __init__(self, outbox: Outbox, stream: str, interval_s: int) -> None:
        self._outbox = outbox
        self._stream = stream
        self._interval_s = interval_s
        self._source = f"system://{socket.gethostname()}" + (RESTRICTED_SUFFIX if stream == RESTRICTED else "")
        self._run = str(uuid.uuid4())
        self._tick = 0
        self._due_at = time.monotonic()

    def next(self) -> Event | None:
        """Return the heartbeat if one is due, else None."""
        now = time.monotonic()
        if now < self._due_at:
            return None
        self._due_at = now + self._interval_s
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
            pending, oldest = count_pending(db, self._stream)
            buried = count_buried(db, self._stream)
            waiting = {
                (source, epoch): first
                for source, epoch, first in db.execute(
                    "SELECT source, epoch, min(sequence) FROM events WHERE state = 'pending' AND stream = ? "
                    "GROUP BY source, epoch",
                    (self._stream,),
                )
            }
            # Only the current epoch of the file continues to count.
            rows = db.execute(
                "SELECT source, epoch, last FROM numbers WHERE type = '' "
                "AND epoch = (SELECT value FROM meta WHERE name = 'epoch') ORDER BY source"
            ).fetchall()
        ours = [row for row in rows if stream_of(row[0]) == self._stream]
        sources = []
        for source, epoch, last in ours[:SOURCES_MAX]:
            confirmed = min(last, waiting.get((source, epoch), last + 1) - 1)
            sources.append({"source": source, "sequence": f"{confirmed:0{_SEQUENCE_DIGITS}}" if confirmed else None})
        data: dict[str, Any] = {
            "interval_s": self._interval_s,
            "pending": pending,
            "oldest_age_s": None if oldest is None else max(0, int(self._outbox.now() - oldest)),
            "buried": buried,
            "sources": sources,
            "truncated": [],
        }
        cuts = Truncation()
        cuts.note_cut("/sources", len(sources), len(ours))
        cuts.write(data)
        return data
