# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Copy an outbox into one file while writers and a relay continue."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sourcepulse.errors import OutboxDamagedError, OutboxError, OutboxWriteError
from sourcepulse.events.event import format_time
from sourcepulse.operations.copies.access import record_access
from sourcepulse.operations.copies.beside import pack, read_beside
from sourcepulse.operations.copies.new_file import Progress, new_file, no_progress
from sourcepulse.outbox.outbox import PENDING, Outbox
from sourcepulse.outbox.tables import OUTBOX_FILE, remove_notes, set_notes

#: What one step copies, 8 MiB with SQLite's usual pages; the bar moves after each.
STEP_PAGES = 2_048

#: The row of the table `meta` in a backup: when it was made.
MADE_AT = "backup made at"
#: Without this row, whatever file system the file is restored to, it begins a new epoch.
_INODE = "inode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup that was written and verified."""

    path: Path
    bytes: int
    events: int
    pending: int
    made_at: str


def backup(outbox: Outbox, target: Path, *, force: bool = False, progress: Progress = no_progress) -> Backup:
    """Write the state of this instant into a new file of mode 0600, verify it, and return what is in it.

    Where the outbox has a write-ahead log, no writer waits meanwhile, and the log grows by what is written. On a
    network file system without one, writers wait. ConfigError if the target exists and `force` is not set,
    OutboxWriteError if it cannot be written, OutboxDamagedError if the outbox is damaged; then there is no target.
    """
    made_at = format_time(outbox.now())
    with new_file(target, force=force, apart_from=outbox.path) as part:
        # Read before the outbox: marks that are older than the events only make a source compare more.
        beside = read_beside(outbox.path)
        with closing(sqlite3.connect(part, isolation_level=None)) as copy, _reporting_damage(outbox):
            expected = _copy(outbox, copy, target, progress)
            with writing_to(target):
                copy.execute("BEGIN")
                remove_notes(copy, [_INODE])
                set_notes(copy, {MADE_AT: made_at})
                record_access(copy, outbox.path)
                pack(copy, beside)
                copy.execute("COMMIT")
                found = [row[0] for row in copy.execute("PRAGMA integrity_check(20)")]
                counted = _counts(copy)
                copy.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if found != ["ok"]:
            raise _damaged(outbox, found[0])
        if counted != expected:
            raise OutboxError(f"the backup has {counted[0]} of {expected[0]} events, so it was removed; try again")
        size = part.stat().st_size
    return Backup(path=target, bytes=size, events=counted[0], pending=counted[1], made_at=made_at)


def _copy(outbox: Outbox, copy: sqlite3.Connection, target: Path, progress: Progress) -> tuple[int, int]:
    with outbox.reading() as db:
        # A transaction fixes the instant: otherwise each commit of a writer would begin the copy again.
        db.execute("BEGIN")
        try:
            expected = _counts(db)
            with writing_to(target):
                db.backup(copy, pages=STEP_PAGES, progress=lambda _, left, total: progress(total - left, total))
        finally:
            db.execute("ROLLBACK")
    return expected


@contextmanager
def _reporting_damage(outbox: Outbox) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _damaged(outbox, str(error)) from error


def _damaged(outbox: Outbox, what: str) -> OutboxDamagedError:
    return OutboxDamagedError(
        f"the outbox {outbox.path} is damaged ({what}), so its backup was removed; {OUTBOX_FILE.repair}"
    )


@contextmanager
def writing_to(target: Path) -> Iterator[None]:
    """Raise OutboxWriteError for an error of SQLite that is not damage of the file it reads."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        raise OutboxWriteError(f"{target} cannot be written: {error}") from error


def _counts(db: sqlite3.Connection) -> tuple[int, int]:
    (events,) = db.execute("SELECT count(*) FROM events").fetchone()
    (pending,) = db.execute("SELECT count(*) FROM events WHERE state = ?", (PENDING,)).fetchone()
    return events, pending
