# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The names of the events handled last: looked up in memory, kept in a table that several processes add to.

An index over names, which come in no order, would cost more than everything else that is done with an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from sqlite3 import Connection

from sourcepulse.consumer.name import MARK

#: So many more than asked for may be kept until the oldest are removed together.
SEEN_SLACK = 1_000

#: A name is looked at four times while its event is at work; so many are.
SPLIT_NAMES = 512

_DIGEST_BITS = 64
_DIGEST_MASK = (1 << _DIGEST_BITS) - 1


class Seen:
    """What the table `seen (position, id)` held when it was last looked into; the newest `window` names are kept.

    In the table of an earlier version stand bare ids. A hundred thousand names take about 20 MB.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        #: For each fact, as a number, its position and digest in one; the oldest first.
        self._facts: dict[int | str, int] = {}
        self._last = 0
        #: Whether bare ids of an earlier version are among them.
        self.keeps_ids = False
        #: That of the file when it was last looked into; it changes with every commit of another connection.
        self.version = -1

    def has(self, db: Connection, name: str) -> bool:
        """Return whether a name is in the table."""
        fact, digest = _split(name)
        if self._facts.get(fact, ~digest) & _DIGEST_MASK == digest:
            return True
        self._catch_up(db)
        return self._facts.get(fact, ~digest) & _DIGEST_MASK == digest

    def has_other(self, name: str) -> bool:
        """Return whether the fact of a name was in the table with another digest, when `has` looked last."""
        fact, digest = _split(name)
        return self._facts.get(fact, digest) & _DIGEST_MASK != digest

    def add(self, db: Connection, names: Iterable[str]) -> None:
        """Add names, each once, to the table in the transaction that is open."""
        self._catch_up(db)
        new = [(name,) for name in names if _split(name)[0] not in self._facts]
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
        for position, name in db.execute(
            "SELECT position, id FROM seen WHERE position > ? ORDER BY position", (before,)
        ):
            fact, digest = _split(name)
            self.keeps_ids = self.keeps_ids or isinstance(fact, str)
            self._facts[fact] = position << _DIGEST_BITS | digest
            self._last = position
        self.version = version
        if self._last // SEEN_SLACK > before // SEEN_SLACK:
            self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        for fact, value in list(self._facts.items()):
            if value >> _DIGEST_BITS > self._last - self._window:
                break
            del self._facts[fact]


@lru_cache(maxsize=SPLIT_NAMES)
def _split(name: str) -> tuple[int | str, int]:
    fact, mark, digest = name.partition(MARK)
    if mark:
        try:
            return int(fact, 16), int(digest, 16) & _DIGEST_MASK
        except ValueError:
            pass
    return name, 0
