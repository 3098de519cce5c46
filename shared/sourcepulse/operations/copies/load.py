# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Import exported events into an outbox with their ids, numbers and states; first the whole file is checked.

An event keeps its epoch and its numbers, because consumers remember it by these. So an import never assigns a number,
and refuses one that the outbox has assigned, or will assign, to another event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from sqlite3 import Connection
from typing import BinaryIO

from sourcepulse.errors import EventError
from sourcepulse.operations.copies.lines import ExportedEvent, read_lines
from sourcepulse.operations.copies.new_file import Progress, no_progress
from sourcepulse.outbox.epoch import BODY_ROW, EVENT_ROW, insert_rows, positions_of
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.tables import note

#: What one transaction imports; an import that dies continues behind it when it is run again.
STEP_EVENTS = 500

_INCOMING = """
CREATE TEMP TABLE IF NOT EXISTS incoming (
    id TEXT PRIMARY KEY, source TEXT NOT NULL, epoch TEXT NOT NULL, sequence INTEGER NOT NULL, state TEXT NOT NULL,
    UNIQUE (source, epoch, sequence)
)
"""
#: An event of another id has the number already.
_TAKEN = """
SELECT e.source, e.epoch, e.sequence FROM events e
JOIN temp.incoming i ON i.source = e.source AND i.epoch = e.epoch AND i.sequence = e.sequence
WHERE i.id != e.id LIMIT 1
"""
#: The outbox would assign the number to its own next events.
_AHEAD = """
SELECT i.source, i.epoch, i.sequence FROM temp.incoming i
LEFT JOIN numbers n ON n.source = i.source AND n.epoch = i.epoch AND n.type = ''
WHERE i.epoch = ? AND i.sequence > coalesce(n.last, 0) AND i.id NOT IN (SELECT id FROM events) LIMIT 1
"""
_NEW = """
SELECT state, count(*) FROM temp.incoming WHERE id NOT IN (SELECT id FROM events) GROUP BY state ORDER BY state
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPlan:
    """What an import would store, by state, and how many of the events the outbox has already."""

    new: dict[str, int]
    known: int

    @property
    def count(self) -> int:
        """How many events would be stored."""
        return sum(self.new.values())


def plan_import(outbox: Outbox, file: BinaryIO) -> ImportPlan:
    """Check every line of a file and its numbers; nothing is stored. EventError says what is wrong, and in which line.

    The position in the file is restored, so that `run_import` reads the same.
    """
    start = file.tell()
    lines = 0
    with outbox.reading() as db:
        db.execute(_INCOMING)
        db.execute("DELETE FROM temp.incoming")
        for lot in _lots(read_lines(file)):
            _note_incoming(db, lot, lines)
            lines += len(lot)
        for query, values, what in (
            (_TAKEN, (), "belongs to another event of this outbox"),
            (_AHEAD, (note(db, "epoch"),), "will be assigned by this outbox to its next events"),
        ):
            if row := db.execute(query, values).fetchone():
                source, epoch, sequence = row
                raise EventError(
                    f"the number {sequence} of {source} in epoch {epoch} {what}, and an import assigns no numbers; "
                    "nothing was imported"
                )
        new = dict(db.execute(_NEW))
        db.execute("DELETE FROM temp.incoming")
    file.seek(start)
    return ImportPlan(new=new, known=lines - sum(new.values()))


def run_import(outbox: Outbox, file: BinaryIO, plan: ImportPlan, *, progress: Progress = no_progress) -> int:
    """Store the events that the outbox does not have; return how many. Run again after a failure, it continues."""
    stored = 0
    for lot in _lots(read_lines(file)):
        with outbox.writing() as db:
            known = positions_of(db, [exported.event.id for exported in lot])
            new = [exported for exported in lot if exported.event.id not in known]
            if new:
                _store(db, new)
        stored += len(new)
        progress(stored, plan.count)
    outbox.wake_relay()
    return stored


def _lots(events: Iterable[ExportedEvent]) -> Iterator[list[ExportedEvent]]:
    iterator = iter(events)
    while lot := list(islice(iterator, STEP_EVENTS)):
        yield lot


def _note_incoming(db: Connection, lot: Sequence[ExportedEvent], lines: int) -> None:
    for number, exported in enumerate(lot, lines + 1):
        event, numbers = exported.event, exported.numbers
        row = (event.id, event.source, numbers.epoch, numbers.sequence, exported.state)
        if not db.execute("INSERT OR IGNORE INTO temp.incoming VALUES (?, ?, ?, ?, ?)", row).rowcount:
            raise EventError(f"line {number} has the id or the number of an earlier line; nothing was imported")


def _store(db: Connection, new: Sequence[ExportedEvent]) -> None:
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'").fetchone()
    rows, bodies = [], []
    for position, exported in enumerate(new, int(last) + 1):
        event = exported.event
        attributes = event.id, event.stream, event.source, event.type, event.subject, event.time, event.routing_key
        settled = exported.state, exported.reason, exported.stored_at, exported.settled_at
        rows.append((position, *attributes, *exported.numbers, *settled))
        if exported.body is not None:
            bodies.append((position, exported.body))
        numbers = exported.numbers
        db.executemany(
            "INSERT INTO numbers (source, epoch, type, last) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (source, epoch, type) DO UPDATE SET last = max(last, excluded.last)",
            [
                (event.source, numbers.epoch, "", numbers.sequence),
                (event.source, numbers.epoch, event.type, numbers.typesequence),
            ],
        )
    insert_rows(db, EVENT_ROW, rows)
    if bodies:
        insert_rows(db, BODY_ROW, bodies)
