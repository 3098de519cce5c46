# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The ids of the events handled last: looked up in memory, kept in a table that several processes add to.

An index over ids, which come in no order, would cost more than everything else that is done with an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from sqlite3 import Connection

#: So many more than asked for may be kept until the oldest are removed together.
SEEN_SLACK = 1_000


class Seen:
    """What the table `seen (position, id)` held when it was last looked into; the newest `window` ids are kept.

    A hundred thousand take about 12 MB.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        #: The position of each id; the oldest first.
        self._positions: dict[str, int] = {}
        self._last = 0
        #: That of the file when it was last looked into; it changes with every commit of another connection.
        self.version = -1

    def has(self, db: Connection, event_id: str) -> bool:
        """Tell whether an id is in the table."""
        if event_id in self._positions:
            return True
        self._catch_up(db)
        return event_id in self._positions

    def add(self, db: Connection, ids: Iterable[str]) -> None:
        """Add ids, each named once, to the table in the transaction that is open."""
        self._catch_up(db)
        new = [(event_id,) for event_id in ids if event_id not in self._positions]
        db.executemany("INSERT OR IGNORE INTO seen (id) VALUES (?)", new)
        if (self._last + len(new)) // SEEN_SLACK > self._last // SEEN_SLACK:
            db.execute("DELETE FROM seen WHERE position <= (SELECT max(position) FROM seen) - ?", (self._window,))
        # They count when they are committed; then the table tells them.
        self.version = -1

    def _catch_up(self, db: Connection) -> None:
        version = db.execute("PRAGMA data_version").fetchone()[0]
        if version == self.version:
            return
        before = self._last
        for position, event_id in db.execute(
            "SELECT position, id FROM seen WHERE position > ? ORDER BY position", (before,)
        ):
            self._positions[event_id] = self._last = position
        self.version = version
        if self._last // SEEN_SLACK > before // SEEN_SLACK:
            self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        for event_id, position in list(self._positions.items()):
            if position > self._last - self._window:
                break
            del self._positions[event_id]
