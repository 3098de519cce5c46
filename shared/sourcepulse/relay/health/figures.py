# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What waits in an outbox, read at a cost that hardly grows with the number of its events."""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection
from typing import NamedTuple

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
_SOURCES = (
    "SELECT source, epoch, last FROM numbers WHERE type = '' "
    # Only the current epoch of the file continues to count.
    "AND epoch = (SELECT value FROM meta WHERE name = 'epoch') ORDER BY source"
)
_PENDING_OF = "FROM events WHERE state = 'pending' AND stream = ? AND source = ?"


class SourceFigures(NamedTuple):
    """How far a source is: its last confirmed number, 0 if none, what waits, and when the oldest of it was stored."""

    source: str
    confirmed: int
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


def numbered_sources(db: Connection) -> list[tuple[str, str, int]]:
    """Return each source that counts in the current epoch, the epoch, and its last number, in order of the name."""
    return db.execute(_SOURCES).fetchall()


def figures_of(db: Connection, stream: str, sources: Sequence[tuple[str, str, int]]) -> list[SourceFigures]:
    """Return the figures of some of the `numbered_sources`."""
    return [_of_one(db, stream, *each) for each in sources]


def _of_one(db: Connection, stream: str, source: str, epoch: str, last: int) -> SourceFigures:
    (pending,) = db.execute(f"SELECT count(*) {_PENDING_OF}", (stream, source)).fetchone()
    if not pending:
        return SourceFigures(source, last, 0, None)
    first = "ORDER BY position LIMIT 1"
    (oldest,) = db.execute(f"SELECT stored_at {_PENDING_OF} {first}", (stream, source)).fetchone()
    # Events of a former epoch, which wait since a repair, have numbers of their own.
    row = db.execute(f"SELECT sequence {_PENDING_OF} AND epoch = ? {first}", (stream, source, epoch)).fetchone()
    return SourceFigures(source, last if row is None else min(last, row[0] - 1), pending, oldest)
