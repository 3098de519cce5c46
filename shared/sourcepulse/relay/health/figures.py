# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What waits in an outbox, read at a cost that hardly grows with the number of its events."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

from sourcepulse.outbox.delivery_state import last_reason
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import count_buried
from sourcepulse.relay.health.condition import Figures
from sourcepulse.relay.health.confirmed import Buried, Confirmed, last_confirmed

#: Walks the index of pending events from source to source.
_FIRST_OF_EACH_SOURCE = """
WITH RECURSIVE turn (source) AS (
    SELECT min(source) FROM events WHERE state = 'pending' AND stream = :stream
    UNION ALL
    SELECT (SELECT min(source) FROM events WHERE state = 'pending' AND stream = :stream AND source > turn.source)
    FROM turn WHERE source IS NOT NULL
)
SELECT min(stored_at) FROM (
    SELECT (SELECT stored_at FROM events WHERE state = 'pending' AND stream = :stream AND source = turn.source
            ORDER BY position LIMIT 1) AS stored_at FROM turn WHERE source IS NOT NULL
)
"""
#: With the length of the names of its types, and how many there are.
_SOURCES = (
    "SELECT source, epoch, last, (SELECT coalesce(sum(length(t.type)), 0) FROM numbers t "
    "WHERE t.source = n.source AND t.epoch = n.epoch), (SELECT count(*) - 1 FROM numbers t "
    "WHERE t.source = n.source AND t.epoch = n.epoch) FROM numbers n WHERE type = '' "
    # Only the current epoch of the file continues to count.
    "AND epoch = (SELECT value FROM meta WHERE name = 'epoch') ORDER BY source"
)
_PENDING_OF = "FROM events WHERE state = 'pending' AND stream = ? AND source = ?"


class NumberedSource(NamedTuple):
    """A source that counts in the current epoch: its last number, and how long the names of its types are together."""

    source: str
    epoch: str
    last: int
    types_length: int
    types: int


class SourceFigures(NamedTuple):
    """How far a source is: its last confirmed numbers, what waits, and when the oldest of it was stored."""

    source: str
    confirmed: Confirmed
    pending: int
    oldest: float | None


def oldest_pending(db: Connection, stream: str) -> float | None:
    """Return when the oldest pending event of a stream was stored, None if nothing is pending."""
    (oldest,) = db.execute(_FIRST_OF_EACH_SOURCE, {"stream": stream}).fetchone()
    return None if oldest is None else float(oldest)


def count_waiting(db: Connection, stream: str) -> int:
    """Return how many events of a stream are pending; reads only the index."""
    (count,) = db.execute("SELECT count(*) FROM events WHERE state = 'pending' AND stream = ?", (stream,)).fetchone()
    return int(count)


def numbered_sources(db: Connection) -> list[NumberedSource]:
    """Return each source that counts in the current epoch, in order of the name."""
    return [NumberedSource(*row) for row in db.execute(_SOURCES)]


def figures_of(db: Connection, stream: str, sources: Sequence[NumberedSource]) -> list[SourceFigures]:
    """Return the figures of some of the `numbered_sources`."""
    buried = Buried.read(db, stream)
    return [_of_one(db, stream, each, buried) for each in sources]


def _of_one(db: Connection, stream: str, each: NumberedSource, buried: Buried) -> SourceFigures:
    (pending,) = db.execute(f"SELECT count(*) {_PENDING_OF}", (stream, each.source)).fetchone()
    oldest = None
    if pending:
        first = f"SELECT stored_at {_PENDING_OF} ORDER BY position LIMIT 1"
        (oldest,) = db.execute(first, (stream, each.source)).fetchone()
    # Events of a former epoch, which wait since a repair, have numbers of their own.
    confirmed = last_confirmed(db, stream, each.source, each.epoch, each.last, buried)
    return SourceFigures(each.source, confirmed, pending, oldest)


def read_figures(outbox: Outbox, stream: str) -> Figures:
    """Return by what the condition of a stream is judged."""
    now = outbox.now()
    with outbox.reading() as db:
        oldest = oldest_pending(db, stream)
        row = db.execute("SELECT failures FROM deliveries WHERE stream = ?", (stream,)).fetchone()
        return Figures(
            oldest_age_s=None if oldest is None else max(0.0, now - oldest),
            failures=row[0] if row else 0,
            buried=count_buried(db, stream),
            last_reason=last_reason(db, stream),
        )


def numbers_of(outbox: Outbox, stream: str) -> dict[str, int | None]:
    """Return the figures of a stream as a status event carries them."""
    figures = read_figures(outbox, stream)
    with outbox.reading() as db:
        pending = count_waiting(db, stream)
    return {
        "pending": pending,
        "oldest_age_s": None if figures.oldest_age_s is None else int(figures.oldest_age_s),
        "failures": figures.failures,
        "buried": figures.buried,
    }


def in_words(figures: Figures) -> str:
    """Return the figures of a stream in a few words."""
    found = []
    if figures.oldest_age_s is not None:
        found.append(f"the oldest pending event has waited for {figures.oldest_age_s:.0f} s")
    if figures.failures:
        found.append(f"{figures.failures} failures in a row ({figures.last_reason})")
    if figures.buried:
        found.append(f"{figures.buried} buried")
    return ", ".join(found) or "nothing is pending"
