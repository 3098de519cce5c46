# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The pending events of one stream: each source in order, and the sources in turn, so that none waits for another's."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from sqlite3 import Connection

from sourcepulse.outbox.outbox import CLAIMED_COLUMNS, Claimed, Outbox
from sourcepulse.outbox.tables import FORMER_PENDING_INDEX, PENDING_INDEX, PENDING_INDEX_COLUMNS, count_kept

#: Of many sources with backlogs only some are served in one claim, because a query for each costs more than an event.
SHARE_MIN_EVENTS = 4

#: Walks the index from source to source, so that its cost does not depend on how many events each of them has.
_SOURCES = """
WITH RECURSIVE turn (source) AS (
    SELECT (SELECT source FROM events WHERE state = 'pending' AND stream = :stream AND source > :after
            ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT source FROM events WHERE state = 'pending' AND stream = :stream AND source > turn.source
            ORDER BY source LIMIT 1) FROM turn WHERE source IS NOT NULL
    LIMIT :limit
)
SELECT source FROM turn WHERE source IS NOT NULL
"""
_EVENTS = (
    f"SELECT {CLAIMED_COLUMNS} FROM events e JOIN bodies b USING (position) "  # noqa: S608 - made of constants
    "WHERE e.state = 'pending' AND e.stream = ? AND e.source = ? AND e.position > ? ORDER BY e.position LIMIT ?"
)
#: The key by which claimed events are sorted.
_position = itemgetter(0)


class Backlog:
    """Reads the pending events of one attempt, each once: what was claimed stays pending until it is settled.

    After a failure another attempt begins, with a new Backlog, at the oldest pending event of each source. Only one
    relay per outbox holds `relay.relay_lock`, so no other process sends what was claimed.
    """

    def __init__(self, outbox: Outbox, stream: str) -> None:
        self._outbox = outbox
        self._stream = stream
        #: The position of the last claimed event of each source.
        self._claimed: dict[str, int] = {}
        #: The source that was served last; the next one in the alphabet is the first of the next claim.
        self._served = ""

    def claim(self, limit: int) -> list[Claimed]:
        """Return at most `limit` further events, equally many of each source if all have enough; empty if none is left.

        They are in the order of storing, which is also the order of each source.
        """
        found: list[Claimed] = []
        visited: set[str] = set()
        with self._outbox.reading() as db:
            while (most := min(1 + limit // SHARE_MIN_EVENTS, limit - len(found))) > 0:
                sources = [name for name in self._turn(db, most) if name not in visited]
                if not sources:
                    break
                visited.update(sources)
                self._served = sources[-1]
                while sources and len(found) < limit:
                    # What a source does not use of its share is left to the others.
                    share = max(1, (limit - len(found)) // len(sources))
                    sources = [name for name in sources if self._take(db, name, min(share, limit - len(found)), found)]
        found.sort(key=_position)
        return found

    def still_pending(self, lot: Sequence[tuple[int, Claimed]]) -> Sequence[tuple[int, Claimed]]:
        """Leave out what an admin buried since it was claimed; at most IDS_AT_ONCE events."""
        query = "SELECT position FROM events WHERE state = 'pending' AND position IN "
        with self._outbox.reading() as db:
            marks = ",".join("?" * len(lot))
            pending = {position for (position,) in db.execute(f"{query}({marks})", [number for number, _ in lot])}
        return [each for each in lot if each[0] in pending]

    def _turn(self, db: Connection, limit: int) -> list[str]:
        """Return at most `limit` sources that have pending events, beginning behind the one that was served last."""
        following = _sources(db, self._stream, self._served, limit)
        if not self._served or len(following) == limit:
            return following
        return following + [name for name in _sources(db, self._stream, "", limit) if name <= self._served]

    def _take(self, db: Connection, source: str, share: int, found: list[Claimed]) -> bool:
        """Claim events of one source; return whether it may have more."""
        rows = db.execute(_EVENTS, (self._stream, source, self._claimed.get(source, 0), share)).fetchall()
        if not rows:
            return False
        found.extend(map(Claimed._make, rows))
        self._claimed[source] = rows[-1][0]
        return len(rows) == share


def ensure_index(outbox: Outbox) -> None:
    """Add what the relay needs to an outbox made by an earlier version, which can go on using the file.

    That is the index of a claim, and the count of what is kept.
    """
    count_kept(outbox)
    with outbox.reading() as db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (PENDING_INDEX,)).fetchone():
            return
    with outbox.writing() as db:
        db.execute(f"CREATE INDEX IF NOT EXISTS {PENDING_INDEX} {PENDING_INDEX_COLUMNS}")
        db.execute(f"DROP INDEX IF EXISTS {FORMER_PENDING_INDEX}")


def _sources(db: Connection, stream: str, after: str, limit: int) -> list[str]:
    return [name for (name,) in db.execute(_SOURCES, {"stream": stream, "after": after, "limit": limit})]
