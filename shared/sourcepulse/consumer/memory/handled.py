# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The names of the last events handled: looked up in memory, stored in a table that several processes add to.

The table has no index over names: they come in random order, and the index would cost more than all other work on
an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from sqlite3 import Connection

from sourcepulse.consumer.memory.event_name import MARK

#: How many names beyond the window may be kept until the oldest are removed together.
SEEN_SLACK = 1_000

#: How many split names are cached: a name is split four times while its event is in progress.
SPLIT_NAMES = 512

_DIGEST_BITS = 64
_DIGEST_MASK = (1 << _DIGEST_BITS) - 1


class HandledNames:
    """The content of the table `seen (position, id)` when it was last read; the newest `window` names are kept.

    The table of an earlier version holds bare ids. A hundred thousand names take about 20 MB.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        #: By fact (as a number): position and digest in one number; the oldest first.
        self._facts: dict[int | str, int] = {}
        self._last = 0
        #: Whether bare ids of an earlier version are among the names.
        self.keeps_ids = False
        #: The file's data_version when it was last read; it changes with every commit of another connection.
        self.version = -1

    def has(self, name: str) -> bool:
        """Return whether a name was in the table when it was last read."""
        fact, digest = _split(name)
        return self._facts.get(fact, ~digest) & _DIGEST_MASK == digest

    def has_other(self, name: str) -> bool:
        """Return whether the fact of a name was in the table with another digest when it was last read."""
        fact, digest = _split(name)
        return self._facts.get(fact, digest) & _DIGEST_MASK != digest

    def add(self, db: Connection, names: Iterable[str]) -> None:
        """Add names, each once, to the table in the open transaction."""
        self.catch_up(db)
        new = [(name,) for name in names if _split(name)[0] not in self._facts]
        db.executemany("INSERT OR IGNORE INTO seen (id) VALUES (?)", new)
        if (self._last + len(new)) // SEEN_SLACK > self._last // SEEN_SLACK:
            db.execute("DELETE FROM seen WHERE position <= (SELECT max(position) FROM seen) - ?", (self._window,))
        # They count once they are committed; until then the table has to be read again.
        self.version = -1

    def catch_up(self, db: Connection) -> None:
        """Read what was added to the table since it was last read."""
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
