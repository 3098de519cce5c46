# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The last numbers that the broker confirmed: a consumer that does not have them lost the last event.

A number is left out if it is not certain that its event was sent: one that waits, what comes after it, and a buried one
at the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from sqlite3 import Connection
from typing import NamedTuple

from sourcepulse.outbox.outbox import WITHHELD_TYPE

#: The most buried events that are looked at, the last ones first.
BURIED_MAX = 10_000
#: The most pending events of a source that are looked at, the first ones first: the delivering loop waits meanwhile.
WAITING_MAX = 1_000

_TYPES = "SELECT type, last FROM numbers WHERE source = ? AND epoch = ? AND type != '' ORDER BY type"
_WAITING = (
    "SELECT type, sequence, typesequence FROM events "
    "WHERE state = 'pending' AND stream = ? AND source = ? AND epoch = ? ORDER BY position LIMIT ?"
)
_BURIED = (
    "SELECT source, epoch, type, sequence, typesequence FROM events "
    "WHERE state = 'buried' AND stream = ? ORDER BY position DESC LIMIT ?"
)


class Buried(NamedTuple):
    """The numbers of buried events by source, epoch and type; the type '' stands for the whole source."""

    numbers: defaultdict[tuple[str, str, str], set[int]]

    @classmethod
    def read(cls, db: Connection, stream: str) -> Buried:
        """Read those of a stream."""
        numbers: defaultdict[tuple[str, str, str], set[int]] = defaultdict(set)
        for source, epoch, type_, sequence, typesequence in db.execute(_BURIED, (stream, BURIED_MAX)):
            numbers[source, epoch, ""].add(sequence)
            numbers[source, epoch, type_].add(typesequence)
        return cls(numbers)


class Confirmed(NamedTuple):
    """The last confirmed number of a source, and of each of its types; 0 for none."""

    sequence: int
    types: tuple[tuple[str, int], ...]


def last_confirmed(db: Connection, stream: str, source: str, epoch: str, last: int, buried: Buried) -> Confirmed:
    """Return the confirmed numbers of a source whose last assigned number is `last`."""
    # Read before what waits: a number that is assigned in between must not count as confirmed.
    assigned = db.execute(_TYPES, (source, epoch)).fetchall()
    rows = db.execute(_WAITING, (stream, source, epoch, WAITING_MAX)).fetchall()
    # The first of each type, because a source's numbers are in the order of its positions.
    waiting = {type_: (sequence, typesequence) for type_, sequence, typesequence in reversed(rows)}
    sequence = _before(last, (each for each, _ in waiting.values()), buried.numbers.get((source, epoch, ""), ()))
    if WITHHELD_TYPE in waiting or (source, epoch, WITHHELD_TYPE) in buried.numbers:
        # It has a number of its original type, which is not known here.
        return Confirmed(sequence, ())
    types = []
    for type_, number in assigned:
        if type_ not in waiting and len(rows) == WAITING_MAX:
            # Its first pending event may be one that was not looked at.
            continue
        first = (waiting[type_][1],) if type_ in waiting else ()
        types.append((type_, _before(number, first, buried.numbers.get((source, epoch, type_), ()))))
    return Confirmed(sequence, tuple(types))


def _before(last: int, waiting: Iterable[int], buried: Iterable[int]) -> int:
    number = min([last, *(each - 1 for each in waiting)])
    while number in buried:
        number -= 1
    return number
