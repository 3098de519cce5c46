# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Import exported events into an outbox with their ids, numbers and states; first the whole file is checked.

An event keeps its epoch and its numbers, because consumers remember it by these. So an import never assigns a number,
and refuses one that the outbox has assigned, or will assign, to another event.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from sqlite3 import Connection
from typing import BinaryIO

from sourcepulse.errors import EventError, OutboxError, quoted
from sourcepulse.events.safe_text import plain
from sourcepulse.operations.copies.lines import ExportedEvent, read_lines
from sourcepulse.operations.copies.new_file import Progress, no_progress
from sourcepulse.outbox.epoch import BODY_ROW, EVENT_ROW, insert_rows, positions_of
from sourcepulse.outbox.outbox import WITHHELD_TYPE, Outbox
from sourcepulse.outbox.tables import note

#: What one transaction imports; an import that dies continues behind it when it is run again.
STEP_EVENTS = 500

_INCOMING = """
CREATE TEMP TABLE IF NOT EXISTS incoming (
    line INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, epoch TEXT NOT NULL,
    sequence INTEGER NOT NULL, type TEXT, typesequence INTEGER, state TEXT NOT NULL,
    UNIQUE (source, epoch, sequence), UNIQUE (source, epoch, type, typesequence)
)
"""
_FROM_NEW = "FROM temp.incoming i WHERE i.id NOT IN (SELECT id FROM events)"
_ASSIGNED = "SELECT n.last FROM numbers n WHERE n.source = i.source AND n.epoch = i.epoch AND n.type ="
_BELONGS = "belongs to another event of this outbox"
_WILL_BE_ASSIGNED = "will be assigned by this outbox to its next events"
#: Each finds a line, its number, source, type (NULL for the number within the source) and epoch; and what that means.
#: CROSS JOIN: SQLite reads the events once, and looks in the index of the lines for each.
_CHECKS = {
    "SELECT i.line, i.sequence, i.source, NULL, i.epoch FROM events e CROSS JOIN temp.incoming i "
    "ON e.source = i.source AND e.epoch = i.epoch AND e.sequence = i.sequence WHERE i.id != e.id": _BELONGS,
    "SELECT i.line, i.typesequence, i.source, i.type, i.epoch FROM events e CROSS JOIN temp.incoming i "
    "ON e.source = i.source AND e.epoch = i.epoch AND e.type = i.type AND e.typesequence = i.typesequence "
    "WHERE i.id != e.id": _BELONGS,
    f"SELECT i.line, i.sequence, i.source, NULL, i.epoch {_FROM_NEW} AND i.epoch = :epoch "
    f"AND i.sequence > coalesce(({_ASSIGNED} ''), 0)": _WILL_BE_ASSIGNED,
    f"SELECT i.line, i.typesequence, i.source, i.type, i.epoch {_FROM_NEW} AND i.epoch = :epoch "
    f"AND i.typesequence > coalesce(({_ASSIGNED} i.type), 0)": _WILL_BE_ASSIGNED,
}
_RESTRICTED = f"SELECT i.line {_FROM_NEW} AND i.source GLOB '*[?]restricted' ORDER BY i.line LIMIT 1"
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
        if (row := db.execute(_RESTRICTED).fetchone()) and outbox.path.stat().st_mode & stat.S_IROTH:
            raise EventError(
                f"line {row[0]}: the event is restricted, and every user may read {outbox.path}; "
                "revoke that first (chmod o-r, also of its -wal and -shm); nothing was imported"
            )
        for query, what in _CHECKS.items():
            if row := db.execute(f"{query} ORDER BY i.line LIMIT 1", {"epoch": note(db, "epoch")}).fetchone():
                raise EventError(_about(row, what))
        new = dict(db.execute(_NEW))
        db.execute("DELETE FROM temp.incoming")
    file.seek(start)
    return ImportPlan(new=new, known=lines - sum(new.values()))


def run_import(outbox: Outbox, file: BinaryIO, plan: ImportPlan, *, progress: Progress = no_progress) -> int:
    """Store the events that the outbox does not have; return how many. Run again after a failure, it continues."""
    stored = 0
    try:
        for lot in _lots(read_lines(file)):
            with outbox.writing() as db:
                known = positions_of(db, [exported.event.id for exported in lot])
                new = [exported for exported in lot if exported.event.id not in known]
                if new:
                    _store(db, new)
            stored += len(new)
            progress(stored, plan.count)
    except OutboxError as error:
        raise type(error)(
            f"{error}; {stored} of {plan.count} events are imported, run it again for the rest"
        ) from error
    finally:
        if stored:
            outbox.wake_relay()
    return stored


def _lots(events: Iterable[ExportedEvent]) -> Iterator[list[ExportedEvent]]:
    iterator = iter(events)
    while lot := list(islice(iterator, STEP_EVENTS)):
        yield lot


def _note_incoming(db: Connection, lot: Sequence[ExportedEvent], lines: int) -> None:
    for number, exported in enumerate(lot, lines + 1):
        event, numbers = exported.event, exported.numbers
        of_type = (None, None) if event.type == WITHHELD_TYPE else (event.type, numbers.typesequence)
        row = (number, event.id, event.source, numbers.epoch, numbers.sequence, *of_type, exported.state)
        if not db.execute("INSERT OR IGNORE INTO temp.incoming VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row).rowcount:
            raise EventError(f"line {number} has the id or the number of an earlier line; nothing was imported")


def _about(found: tuple[int, int, str, str | None, str], what: str) -> str:
    line, number, source, type_, epoch = found
    within = f"{type_} of {plain(source)}" if type_ else plain(source)
    return (
        f"line {line}: the number {number} of {within} in epoch {quoted(epoch)} {what}, and an import assigns no "
        "numbers; nothing was imported"
    )


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
        # A stand-in is counted among the events of the type that it replaces.
        counted = [("", numbers.sequence)]
        if event.type != WITHHELD_TYPE:
            counted.append((event.type, numbers.typesequence))
        db.executemany(
            "INSERT INTO numbers (source, epoch, type, last) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (source, epoch, type) DO UPDATE SET last = max(last, excluded.last)",
            [(event.source, numbers.epoch, type_, number) for type_, number in counted],
        )
    insert_rows(db, EVENT_ROW, rows)
    if bodies:
        insert_rows(db, BODY_ROW, bodies)
