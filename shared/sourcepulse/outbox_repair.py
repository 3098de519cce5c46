# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Checking an outbox, and saving what can be read of a damaged one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sourcepulse.errors import NothingThereError, OutboxDamagedError
from sourcepulse.outbox import Outbox
from sourcepulse.sqlite_file import side_files

#: What is copied, oldest dependency first; a table that is not named here holds nothing worth saving.
_TABLES = ("numbers", "events", "bodies", "replays", "deliveries", "origins")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """Where the damaged file is now, how many rows were saved, and how many places in it could not be read."""

    aside: Path
    saved: dict[str, int]
    unreadable: int


def problems(outbox: Outbox) -> list[str]:
    """Check the file and the promise of its numbers; an empty list means sound."""
    found = outbox.file_problems()
    with outbox.reading() as db:
        for source, epoch, last, count in db.execute(
            "SELECT n.source, n.epoch, n.last, count(e.position) FROM numbers n LEFT JOIN events e "
            "ON e.source = n.source AND e.epoch = n.epoch WHERE n.type = '' GROUP BY n.source, n.epoch"
        ):
            lowest = db.execute(
                "SELECT min(sequence) FROM events WHERE source = ? AND epoch = ?", (source, epoch)
            ).fetchone()[0]
            # The oldest may have expired; from there on every number must be there.
            if count and last - lowest + 1 != count:
                found.append(f"{source} in epoch {epoch} has {count} events for the numbers {lowest} to {last}")
        (bodiless,) = db.execute(
            "SELECT count(*) FROM events WHERE state != 'delivered' AND position NOT IN (SELECT position FROM bodies)"
        ).fetchone()
    if bodiless:
        found.append(f"{bodiless} events that are not delivered have no payload")
    return found


def repair(path: Path) -> RepairReport:
    """Move a damaged outbox aside and build a new one from every row that can be read.

    The new file has a new epoch, so that consumers take what comes next as a reset, not as a continuation.
    """
    if not path.exists():
        raise NothingThereError(f"there is no outbox at {path}")
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    if aside.exists():
        raise OutboxDamagedError(f"{aside} exists already; wait a second and repair again")
    for old, new in zip([path, *side_files(path)], [aside, *side_files(aside)], strict=True):
        if old.exists():
            old.rename(new)
    saved: dict[str, int] = {}
    unreadable = 0
    with Outbox.open(path) as outbox, closing(sqlite3.connect(aside)) as damaged:
        # With this, SQLite reads a file that is shorter than its header says (pragma.html#pragma_writable_schema).
        damaged.execute("PRAGMA writable_schema = ON")
        for table in _TABLES:
            saved[table] = 0
            with outbox.writing() as db:
                for row in _readable_rows(damaged, table):
                    if row is None:
                        unreadable += 1
                        continue
                    marks = ", ".join("?" * len(row))
                    db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 - our own table names
                    saved[table] += 1
        with outbox.writing() as db:
            lost = db.execute(
                "UPDATE events SET state = 'buried', reason = 'its payload was lost in a damaged outbox' "
                "WHERE state = 'pending' AND position NOT IN (SELECT position FROM bodies)"
            ).rowcount
            db.execute("DELETE FROM bodies WHERE position NOT IN (SELECT position FROM events)")
    return RepairReport(aside=aside, saved=saved, unreadable=unreadable + lost)


def _readable_rows(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...] | None]:
    """Give the rows that can be read, and None for each place where reading broke off."""
    ascending = f"SELECT * FROM {table}"  # noqa: S608 - our own table names
    descending = ascending
    if table in ("events", "bodies", "replays"):
        # A damaged page stops a scan; coming from the other end saves what lies behind it.
        ascending += " ORDER BY rowid"
        descending += " ORDER BY rowid DESC"
    try:
        yield from db.execute(ascending)
        return
    except sqlite3.Error:
        yield None
    if descending == ascending:
        return
    try:
        yield from db.execute(descending)
    except sqlite3.Error:
        yield None
