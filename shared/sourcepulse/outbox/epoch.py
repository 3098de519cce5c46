# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The epoch of an outbox, and the numbers that count in it; a copied or restored file begins a new one.

So a consumer sees a reset where it would otherwise see an old number with a new event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sourcepulse.outbox.tables import set_notes

if TYPE_CHECKING:
    from sqlite3 import Connection

    from sourcepulse.outbox.sqlite_file import SqliteFile


def current_epoch(db: Connection, file: SqliteFile) -> str:
    """Return the epoch of this file; a copy or a restored backup gets a new one.

    A copy has another inode. A backup that was written over the file, or got the same inode again, does not, but it
    lacks the last position, which is recorded beside the file.
    """
    inode = str(file.path.stat().st_ino)
    known = dict(db.execute("SELECT name, value FROM meta WHERE name IN ('epoch', 'inode')"))
    (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'").fetchone()
    if known.get("inode") == inode and file.mark() <= last:
        return str(known["epoch"])
    # Imported here because it is needed once in the life of a file.
    from uuid import uuid4

    epoch = str(uuid4())
    set_notes(db, {"epoch": epoch, "inode": inode})
    return epoch


def next_number(db: Connection, source: str, epoch: str, type_: str) -> int:
    """Assign the next number of a type of a source; the type '' stands for the whole source."""
    (number,) = db.execute(
        "INSERT INTO numbers (source, epoch, type, last) VALUES (?, ?, ?, 1) "
        "ON CONFLICT (source, epoch, type) DO UPDATE SET last = last + 1 RETURNING last",
        (source, epoch, type_),
    ).fetchone()
    return int(number)
