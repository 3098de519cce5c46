# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The epoch of an outbox, the numbers that count in it, and the rows that carry them.

A copied or restored file begins a new epoch, so that a consumer sees a reset where it would otherwise see an old number
with a new event.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sourcepulse.events.event import Numbers
from sourcepulse.outbox.tables import set_notes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from sqlite3 import Connection

    from sourcepulse.events.event import Event
    from sourcepulse.outbox.sqlite_file import SqliteFile

#: What `insert_rows` inserts into.
EVENT_ROW = (
    "events (position, id, stream, source, type, subject, time, routing_key, epoch, sequence, typesequence, "
    "state, reason, stored_at, settled_at)"
)
BODY_ROW = "bodies (position, body)"
#: Every SQLite allows at least this many values in one statement.
VALUES_AT_ONCE = 500

_EPOCH = """
SELECT (SELECT value FROM meta WHERE name = 'epoch'), (SELECT value FROM meta WHERE name = 'inode'),
    coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'), 0)
"""


def current_epoch(db: Connection, file: SqliteFile) -> tuple[str, int]:
    """Return the epoch of this file and the last position in it; a copy or a restored backup gets a new epoch.

    A copy has another inode. A backup that was written over the file, or got the same inode again, does not, but it
    lacks the last position, which is recorded beside the file.
    """
    inode = str(os.stat(file.path).st_ino)  # noqa: PTH116 - path.stat() takes twice as long
    # One statement, because each costs every transaction as much as storing an event.
    epoch, known_inode, last = db.execute(_EPOCH).fetchone()
    if known_inode == inode and file.mark() <= last:
        return str(epoch), int(last)
    # Imported here because it is needed once in the life of a file.
    from uuid import uuid4

    epoch = str(uuid4())
    set_notes(db, {"epoch": epoch, "inode": inode})
    return epoch, int(last)


def next_numbers(db: Connection, epoch: str, events: Iterable[Event]) -> list[Numbers]:
    """Assign each event the next numbers of its source and of its type in it; the type '' stands for the whole source.

    RETURNING would be shorter, but for each statement with it SQLite builds a temporary table.
    """
    last: dict[tuple[str, str, str], int] = {}
    assigned = []
    for event in events:
        whole, typed = (event.source, epoch, ""), (event.source, epoch, event.type)
        for key in (whole, typed):
            if key not in last:
                row = db.execute("SELECT last FROM numbers WHERE source = ? AND epoch = ? AND type = ?", key).fetchone()
                last[key] = int(row[0]) if row else 0
            last[key] += 1
        assigned.append(Numbers(epoch, last[whole], last[typed]))
    db.executemany(
        "INSERT INTO numbers (source, epoch, type, last) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (source, epoch, type) DO UPDATE SET last = excluded.last",
        [(*key, number) for key, number in last.items()],
    )
    return assigned


def positions_of(db: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return the positions of those of the ids whose events the outbox has or had."""
    found: dict[str, int] = {}
    for start in range(0, len(ids), VALUES_AT_ONCE):
        part = ids[start : start + VALUES_AT_ONCE]
        marks = ",".join("?" * len(part))
        found.update(db.execute(f"SELECT id, position FROM events WHERE id IN ({marks})", part).fetchall())  # noqa: S608
    return found


def insert_rows(db: Connection, into: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows into a table and its columns, many in a statement.

    sqlite3 releases the interpreter at each row of executemany, and a busy other thread then keeps it for 5 ms.
    """
    width = len(rows[0])
    at_once = VALUES_AT_ONCE // width
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        marks = ",".join([f"({','.join('?' * width)})"] * len(part))
        db.execute(f"INSERT INTO {into} VALUES {marks}", [value for row in part for value in row])  # noqa: S608
