# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Put a backup in the place of an outbox, with a new epoch, and report what it lacks.

Numbers that were assigned after the backup were sent already, so the restored file must not assign them again: it
counts in a new epoch, and consumers report a reset.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from sourcepulse.errors import (
    NothingThereError,
    OutboxDamagedError,
    OutboxForeignError,
    OutboxLockedError,
    OutboxWriteError,
)
from sourcepulse.operations.copies.access import forget_access, make_for_backup, make_lock_alike
from sourcepulse.operations.copies.backup import MADE_AT, STEP_PAGES, writing_to
from sourcepulse.operations.copies.beside import put_back, unpack
from sourcepulse.operations.copies.new_file import Progress, no_progress
from sourcepulse.outbox.fair_lock import Waiter
from sourcepulse.outbox.files import MODE_MASK, lock_file, open_lock, real_path
from sourcepulse.outbox.outbox import LOCK_WAIT_SECONDS, PENDING
from sourcepulse.outbox.repair import put_in_place
from sourcepulse.outbox.sqlite_file import INITIALISED, MARK_DIGITS, side_files
from sourcepulse.outbox.sqlite_setup import choose_journal
from sourcepulse.outbox.tables import APPLICATION_ID, OUTBOX_FILE, note, set_notes

#: What cannot be compared: there is no outbox, or it cannot be read.
UNKNOWN = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorable:
    """What a backup contains, and what the outbox has that it lacks, by state; None if that cannot be read.

    `sources` has the last number of each source in the newest epoch of the backup.
    """

    backup: Path
    made_at: str | None
    events: int
    pending: int
    sources: tuple[tuple[str, int], ...]
    lacks: dict[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The new epoch, the path of the former outbox, None if there was none, and the mode of the new one."""

    epoch: str
    aside: Path | None
    mode: int


def examine(path: Path, backup: Path) -> Restorable:
    """Read a backup as a whole and compare it with the outbox; nothing is changed.

    OutboxForeignError for a file of another program or a newer version, OutboxDamagedError for a damaged one.
    """
    with _reading(backup) as db:
        problems = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
        if problems != ["ok"]:
            raise OutboxDamagedError(f"the backup {backup} is damaged ({problems[0]}); use an older one")
        (events,) = db.execute("SELECT count(*) FROM events").fetchone()
        (pending,) = db.execute("SELECT count(*) FROM events WHERE state = ?", (PENDING,)).fetchone()
        sources = db.execute(
            "SELECT source, last FROM numbers WHERE type = '' AND epoch = ? ORDER BY source", (note(db, "epoch"),)
        ).fetchall()
        return Restorable(
            backup=backup,
            made_at=note(db, MADE_AT),
            events=events,
            pending=pending,
            sources=tuple((source, int(last)) for source, last in sources),
            lacks=_lacks(path, backup),
        )


def restore(path: Path, backup: Path, *, progress: Progress = no_progress) -> Restored:
    """Replace the outbox by a copy of the backup; the caller holds the relay's lock, if there is an outbox.

    The former file and its companions are kept under other names. Until the new file is complete nothing is replaced.
    """
    path = real_path(path)
    try:
        lock_fd = open_lock(path)
        try:
            held = Waiter(lock_fd).take(time.monotonic() + LOCK_WAIT_SECONDS)
            if held is None:
                raise OutboxLockedError(f"the outbox {path} was locked by another process for {LOCK_WAIT_SECONDS:g} s")
            try:
                _check_unused(path)
                return _restore(path, backup, lock_fd, progress)
            finally:
                os.close(held)
        finally:
            os.close(lock_fd)
    except OSError as error:
        raise OutboxWriteError(f"the outbox {path} cannot be restored: {error}") from error


def _restore(path: Path, backup: Path, lock_fd: int, progress: Progress) -> Restored:
    stamp = f".before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    while path.with_name(path.name + stamp).exists():
        # One of the same second that was killed.
        stamp += "+"
    aside = path.with_name(path.name + stamp) if path.exists() else None
    new = path.with_name(path.name + ".restoring")
    _remove(new)
    try:
        epoch, last, beside = _copy(path, backup, new, progress)
        _empty_log(path)
        # Before the outbox: if this process is killed in between, a source only compares more.
        put_back(path, beside, like=new, aside=stamp)
        put_in_place(path, new, aside)
    finally:
        with suppress(OSError):
            _remove(new)
    # From here on these are the numbers that count; the mark of the former file lies beyond them.
    os.pwrite(lock_fd, INITIALISED + b"%0*d" % (MARK_DIGITS, last), 0)
    make_lock_alike(lock_fd, path)
    return Restored(epoch=epoch, aside=aside, mode=path.stat().st_mode & MODE_MASK)


def _copy(path: Path, backup: Path, new: Path, progress: Progress) -> tuple[str, int, dict[str, str]]:
    """Copy a backup into a new file; return its new epoch, its last position, and the files beside an outbox."""
    epoch = str(uuid4())
    with _reading(backup) as source:
        make_for_backup(new, path, source)
        with closing(sqlite3.connect(new, isolation_level=None)) as db, writing_to(path):
            source.backup(db, pages=STEP_PAGES, progress=lambda _, left, total: progress(total - left, total))
            choose_journal(db, path)
            db.execute("BEGIN")
            beside = unpack(db)
            forget_access(db)
            set_notes(db, {"epoch": epoch, "inode": str(new.stat().st_ino)})
            db.execute("COMMIT")
            (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'").fetchone()
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return epoch, int(last), beside


def _remove(new: Path) -> None:
    for leftover in (new, *side_files(new), lock_file(new)):
        leftover.unlink(missing_ok=True)


def _check_unused(path: Path) -> None:
    """Raise OutboxLockedError if another process has the file open, as far as this user may see that.

    A master would go on from what it knew of the former file, and never look for what the restored one lacks.
    """
    if not path.exists():
        return
    wanted = Path(os.path.realpath(path))
    for entry in Path("/proc").glob("[0-9]*"):
        if entry.name == str(os.getpid()):
            continue
        # Processes of other users, and those that end meanwhile.
        with suppress(OSError):
            for fd in (entry / "fd").iterdir():
                with suppress(OSError):
                    if fd.readlink() == wanted:
                        raise OutboxLockedError(f"the process {entry.name} has the outbox {path} open; stop it first")


def _empty_log(path: Path) -> None:
    """Move what is in the log of the former file into it: a kill between the renames must not separate the two."""
    # A damaged one is kept as it is.
    with suppress(sqlite3.Error):
        if path.exists():
            with closing(sqlite3.connect(path)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that changes nothing, not even beside the file; OutboxError says what is wrong with it."""
    if not path.is_file():
        raise NothingThereError(f"there is no backup at {path}")
    with closing(sqlite3.connect(_uri(path), uri=True, isolation_level=None)) as db:
        try:
            (application_id,) = db.execute("PRAGMA application_id").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if application_id != APPLICATION_ID:
                raise OutboxForeignError(f"{path} is not a backup of an outbox; use the right file")
            if version > len(OUTBOX_FILE.migrations):
                raise OutboxForeignError(
                    f"{path} has format {version}, but this sourcepulse only knows formats up to "
                    f"{len(OUTBOX_FILE.migrations)}: upgrade sourcepulse"
                )
            yield db
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            raise OutboxDamagedError(f"the backup {path} is damaged ({error}); use an older one") from error


def _uri(path: Path) -> str:
    # A file without a log can be read where nothing may be written; SQLite would create the log otherwise.
    immutable = "" if side_files(path)[0].exists() else "&immutable=1"
    return f"file:{quote(os.fspath(path.absolute()))}?mode=ro{immutable}"


def _lacks(path: Path, backup: Path) -> dict[str, int] | None:
    if not path.exists():
        return UNKNOWN
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fspath(path))}?mode=ro", uri=True)) as db:
            db.execute("ATTACH ? AS backup", (_uri(backup),))
            return dict(
                db.execute(
                    "SELECT state, count(*) FROM events e "
                    "WHERE NOT EXISTS (SELECT 1 FROM backup.events b WHERE b.id = e.id) GROUP BY state ORDER BY state"
                )
            )
    except sqlite3.Error:
        return UNKNOWN
