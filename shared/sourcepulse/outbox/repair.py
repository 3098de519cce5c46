# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Check an outbox, and save what can be read of a damaged one."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sourcepulse.errors import (
    NothingThereError,
    OutboxDamagedError,
    OutboxError,
    OutboxForeignError,
    OutboxLockedError,
    OutboxWriteError,
)
from sourcepulse.outbox.fair_lock import Waiter
from sourcepulse.outbox.files import lock_file, open_lock, open_shared, real_path
from sourcepulse.outbox.outbox import LOCK_WAIT_SECONDS, Outbox
from sourcepulse.outbox.retention import DAY_SECONDS, ID_KEEP_DAYS
from sourcepulse.outbox.sqlite_file import side_files

#: The tables to copy, in order of dependency; `meta` without the epoch, because the new file gets its own.
_TABLES = ("meta", "numbers", "events", "bodies", "replays", "deliveries", "origins")
#: Those that take the time.
_LARGE_TABLES = ("events", "bodies")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """The new path of the damaged file, how many rows were saved, and how many places in it could not be read."""

    aside: Path
    saved: dict[str, int]
    unreadable: int
    #: Delivered events that can no longer be replayed, because their payloads are lost.
    payloads_lost: int


def problems(outbox: Outbox) -> list[str]:
    """Return the problems of the file and of its numbers; an empty list means that it is sound."""
    found = outbox.file_problems()
    with outbox.reading() as db:
        # An id may have expired while neighbours that were buried or settled late are still there.
        expired = outbox.now() - ID_KEEP_DAYS * DAY_SECONDS
        for source, epoch, number, following in db.execute(
            "SELECT source, epoch, sequence, following FROM (SELECT e.source, e.epoch, e.sequence, e.stored_at, "
            "lead(e.sequence, 1, n.last + 1) OVER (PARTITION BY e.source, e.epoch ORDER BY e.sequence) AS following "
            "FROM events e JOIN numbers n ON n.source = e.source AND n.epoch = e.epoch AND n.type = '') "
            "WHERE following != sequence + 1 AND (stored_at >= ? OR following <= sequence)",
            (expired,),
        ):
            found.append(f"{source} in epoch {epoch} has no event between the numbers {number} and {following}")
        (bodiless,) = db.execute(
            "SELECT count(*) FROM events WHERE state != 'delivered' AND position NOT IN (SELECT position FROM bodies)"
        ).fetchone()
    if bodiless:
        found.append(f"{bodiless} undelivered events have no payload")
    return found


def check_needs_repair(path: Path) -> list[str]:
    """Return what is wrong with a file; OutboxError if it is sound or foreign.

    A repair of such a file would needlessly begin a new epoch.
    """
    try:
        with Outbox.open(path, create=False) as outbox:
            found = problems(outbox)
    except OutboxForeignError:
        raise
    except OutboxDamagedError as error:
        return [str(error)]
    if not found:
        raise OutboxError(
            f"the outbox {path} is sound; a repair would only begin a new epoch, which every consumer sees as a reset. "
            "Use --force to repair it anyway"
        )
    return found


def repair(path: Path, *, progress: Callable[[int, int], object] = lambda _done, _total: None) -> RepairReport:
    """Move a damaged outbox aside and build a new one from every row that can be read.

    The new file has a new epoch, so that consumers see a reset, not a continuation. It replaces the old one when it is
    complete; until then no process can write to either. OutboxLockedError if another process keeps the lock,
    OutboxWriteError if the disk is full.
    """
    if not path.exists():
        raise NothingThereError(f"there is no outbox at {path}")
    path = real_path(path)
    try:
        lock_fd = open_lock(path)
        try:
            held = Waiter(lock_fd).take(time.monotonic() + LOCK_WAIT_SECONDS)
            if held is None:
                raise OutboxLockedError(f"the outbox {path} was locked by another process for {LOCK_WAIT_SECONDS:g} s")
            try:
                return _rebuild(path, progress)
            finally:
                os.close(held)
        finally:
            os.close(lock_fd)
    except OSError as error:
        raise OutboxWriteError(f"the outbox {path} cannot be repaired: {error}") from error


def _rebuild(path: Path, progress: Callable[[int, int], object]) -> RepairReport:
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    if aside.exists():
        raise OutboxDamagedError(f"{aside} already exists; wait a second and repair again")
    new = path.with_name(path.name + ".repairing")
    # Remove what a killed repair left behind.
    for leftover in (new, *side_files(new), lock_file(new)):
        leftover.unlink(missing_ok=True)
    # The same users may read it as before, whatever the mode of the folder.
    os.close(open_shared(new, like=path))
    saved: dict[str, int] = {}
    unreadable = 0
    with Outbox.open(new) as outbox, closing(sqlite3.connect(path)) as damaged:
        # With this, SQLite reads a file that is shorter than its header says (pragma.html#pragma_writable_schema).
        damaged.execute("PRAGMA writable_schema = ON")
        total = _last_position(damaged) * len(_LARGE_TABLES)
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
                    progress(sum(saved.get(large, 0) for large in _LARGE_TABLES), total)
        with outbox.writing() as db:
            lost = db.execute(
                "UPDATE events SET state = 'buried', reason = 'its payload was lost in a damaged outbox' "
                "WHERE state = 'pending' AND position NOT IN (SELECT position FROM bodies)"
            ).rowcount
            db.execute("DELETE FROM bodies WHERE position NOT IN (SELECT position FROM events)")
            payloads_lost = 0
            if unreadable:
                # Which of them had already expired is no longer known.
                payloads_lost = db.execute(
                    "UPDATE events SET reason = ? WHERE state = 'delivered' "
                    "AND position NOT IN (SELECT position FROM bodies)",
                    (f"its payload expired, or was lost in the repair of {aside.name}",),
                ).rowcount
    lock_file(new).unlink()
    put_in_place(path, new, aside)
    return RepairReport(aside=aside, saved=saved, unreadable=unreadable + lost, payloads_lost=payloads_lost)


def _last_position(damaged: sqlite3.Connection) -> int:
    with suppress(sqlite3.Error):
        (last,) = damaged.execute("SELECT coalesce(max(position), 0) FROM events").fetchone()
        return int(last)
    return 0


def put_in_place(path: Path, new: Path, aside: Path | None) -> None:
    """Move a complete new file to the place of an outbox, whose own file is kept as `aside`; raises OSError.

    The caller holds the writers' lock.
    """
    if aside is not None:
        aside.hardlink_to(path)
    for number, old in enumerate(side_files(path)):
        # The log of the former file would be applied to the new one.
        if old.exists():
            old.rename(side_files(aside)[number]) if aside is not None else old.unlink()
    new.replace(path)


def _readable_rows(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...] | None]:
    """Yield the readable rows, and None for each place where reading failed."""
    ascending = f"SELECT * FROM {table}"  # noqa: S608 - our own table names
    if table == "meta":
        ascending += " WHERE name NOT IN ('epoch', 'inode')"
    descending = ascending
    if table in ("events", "bodies", "replays"):
        # A damaged page stops a scan; a scan from the other end saves the rows after it.
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
