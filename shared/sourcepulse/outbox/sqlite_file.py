# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A SQLite file that several processes and users share: writers use a fair lock, and every wait is bounded.

Without `from __future__ import annotations`: a named tuple would compile each string annotation at every push.
"""

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from sourcepulse.errors import NothingThereError, SourcePulseError
from sourcepulse.outbox.files import is_disk_full, open_lock, real_path, try_lock

if TYPE_CHECKING:
    from sourcepulse.outbox.fair_lock import Waiter

#: Between two attempts to get the lock, which is held for about a millisecond at a time.
LOCK_POLL_SECONDS = 0.002
#: A writer that polled for this long queues up. Sooner, most of many writers would queue up, and half of all waits
#: would be ten times as long.
POLL_LIMIT_SECONDS = 0.04
#: SQLite's busy timeout is set in steps of this, always to a lower step, so that a call seldom sets it twice.
WAIT_STEP_MS = 20
#: For files that no other user may read either.
PRIVATE_MODE = 0o600
#: A journal that grew during a long read shrinks to this at the next opportunity.
WAL_KEEP_BYTES = 4 * 1024 * 1024
#: Written to the lock file once the tables exist, so that a file truncated to nothing is not mistaken for a new one.
INITIALISED = b"1"
#: The mark follows it in this many digits.
MARK_DIGITS = 20

_SIDE_FILES = ("-wal", "-shm", "-journal")


class FileKind(NamedTuple):
    """A kind of file: its name in messages, its application id, its tables, its errors, its repair.

    `migrations[n]` is the script from version n to n + 1; an empty file has version 0. `replaced`, if set, is raised
    when the path no longer leads to the opened file; `foreign` (default: `damaged`) if the file is not one of ours.
    """

    name: str
    application_id: int
    migrations: Sequence[str]
    locked: type[SourcePulseError]
    damaged: type[SourcePulseError]
    unwritable: type[SourcePulseError]
    repair: str
    replaced: type[SourcePulseError] | None = None
    foreign: type[SourcePulseError] | None = None


class SqliteFile:
    """One process's connection to a shared SQLite file.

    WAL with synchronous=FULL, or a rollback journal where the file system cannot share memory. Each write
    takes a `flock` on a side file first, because SQLite's own busy handler is unfair and stalls several writers for
    seconds. All waits of one call together last at most `lock_wait_s` seconds.
    """

    def __init__(self, path: Path, kind: FileKind, *, lock_wait_s: float, create: bool, private: bool = False) -> None:
        self.path = path
        #: The mode of a new file; None to follow its directory.
        self._mode = PRIVATE_MODE if private else None
        self.kind = kind
        self.lock_wait_s = lock_wait_s
        self._identity = (0, 0)
        self._deadline = time.monotonic() + lock_wait_s
        #: SQLite's current busy timeout.
        self._wait_ms = -1
        self._durable: bool | None = None
        self._lock_fd = -1
        self._waiter: Waiter | None = None
        self._db: sqlite3.Connection | None = None
        try:
            with self._translated():
                self.path = real_path(path)
                self._open(create)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection and the lock; may be called again."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    @contextmanager
    def read(self, *, check_place: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield the connection for statements that only read.

        `check_place=False` skips the check for a replaced file, if a `write` follows soon.
        """
        self._start_waiting()
        with self._translated():
            if check_place:
                self._check_place()
            yield self._connection

    def data_version(self) -> int:
        """Return a number that differs from the last one if another connection committed; cheaper than `read`."""
        try:
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            self._raise_named(error)

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield the connection inside one transaction, committed at the end, rolled back on any exception.

        `durable=False` skips the sync: the transaction survives a killed process, but not a power failure.
        """
        self._start_waiting()
        with self._translated(), self._locked():
            self._check_place()
            db = self._connection
            if durable is not self._durable:
                db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._begin(db)
            try:
                yield db
                self._limit_waiting(db)
                db.execute("COMMIT")
            except BaseException:
                # On a full disk SQLite may have rolled back by itself.
                with suppress(sqlite3.Error):
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                raise

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection under the writers' lock, outside any transaction."""
        self._start_waiting()
        with self._translated(), self._locked():
            self._check_place()
            yield self._connection

    def problems(self) -> list[str]:
        """Return the problems that SQLite finds in the whole file; empty if it is sound."""
        with self.read() as db:
            rows = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
        return [] if rows == ["ok"] else rows

    def mark(self) -> int:
        """Return the number that `set_mark` recorded beside the file, 0 if there is none."""
        kept = os.pread(self._lock_fd, MARK_DIGITS, len(INITIALISED))
        return int(kept) if len(kept) == MARK_DIGITS and kept.isdigit() else 0

    def set_mark(self, number: int) -> None:
        """Record a number beside the file, where restoring an older copy of the file does not change it."""
        # The transaction is already committed and must not be reported as failed.
        with suppress(OSError):
            os.pwrite(self._lock_fd, INITIALISED + b"%0*d" % (MARK_DIGITS, number), 0)

    def _check_place(self) -> None:
        """Raise if the path no longer leads to the open file, because no other process would read it."""
        if self.kind.replaced is None or self._db is None:
            return
        try:
            if _identity(self.path) == self._identity:
                return
        except FileNotFoundError:
            pass
        raise self.kind.replaced(f"{self._name} was removed or replaced while it was open")

    @property
    def _name(self) -> str:
        return f"the {self.kind.name} {self.path}"

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise self.kind.unwritable(f"{self._name} is closed")
        return self._db

    def _open(self, create: bool) -> None:
        if not self.path.exists():
            if not create:
                raise NothingThereError(f"there is no {self.kind.name} at {self.path}")
            # Imported here and below because it is needed once in the life of a file.
            from sourcepulse.outbox.sqlite_setup import create_empty

            create_empty(self.path, self.kind, self._mode)
        self._lock_fd = open_lock(self.path)
        if self.path.stat().st_size == 0 and os.pread(self._lock_fd, 1, 0) == INITIALISED:
            self._damaged("is empty although it held data")
        # With isolation_level None, this class controls BEGIN and COMMIT.
        self._db = sqlite3.connect(self.path, timeout=self.lock_wait_s, isolation_level=None, check_same_thread=False)
        self._identity = _identity(self.path)
        self._limit_waiting(self._db)
        self._db.execute(f"PRAGMA journal_size_limit = {WAL_KEEP_BYTES}")
        application_id, version = self._header(self._db)
        latest = len(self.kind.migrations)
        if application_id not in (0, self.kind.application_id) or (application_id == 0 and version != 0):
            self._foreign(f"belongs to another program (application id {application_id:#x}); use the right file")
        if version > latest:
            self._foreign(
                f"has format {version}, but this sourcepulse only knows formats up to {latest}: upgrade sourcepulse"
            )
        if version < latest:
            self._migrate(self._db)

    @staticmethod
    def _header(db: sqlite3.Connection) -> tuple[int, int]:
        # In one transaction, because another process may be making the tables right now.
        # On a full disk none is active afterwards; `with` respects that.
        with db:
            db.execute("BEGIN")
            return (
                db.execute("PRAGMA application_id").fetchone()[0],
                db.execute("PRAGMA user_version").fetchone()[0],
            )

    def _migrate(self, db: sqlite3.Connection) -> None:
        from sourcepulse.outbox.sqlite_setup import choose_journal, make_tables

        with self._locked():
            # Another process may have been first.
            application_id, version = self._header(db)
            if application_id == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._foreign("is a database of another program; use the right file")
            if version == 0:
                choose_journal(db, self.path)
            self._begin(db)
            make_tables(db, self.kind, self.path, version)
            os.pwrite(self._lock_fd, INITIALISED, 0)

    def _begin(self, db: sqlite3.Connection) -> None:
        self._limit_waiting(db)
        db.execute("BEGIN IMMEDIATE")

    def _start_waiting(self) -> None:
        self._deadline = time.monotonic() + self.lock_wait_s
        self._limit_waiting(self._connection)

    def _limit_waiting(self, db: sqlite3.Connection) -> None:
        remaining_ms = max(0, round((self._deadline - time.monotonic()) * 1000))
        remaining_ms -= (remaining_ms - 1) % WAIT_STEP_MS + 1 if remaining_ms > WAIT_STEP_MS else 0
        # The PRAGMA costs as much as a small query.
        if remaining_ms != self._wait_ms:
            db.execute(f"PRAGMA busy_timeout = {remaining_ms}")
            self._wait_ms = remaining_ms

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fd = self._take_lock()
        try:
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
            if fd != self._lock_fd:
                os.close(fd)

    def _take_lock(self) -> int:
        """Acquire the lock and return the descriptor that holds it."""
        # Most waits end within milliseconds, and queueing makes each longer, so only an overtaken writer queues up.
        poll_until = min(self._deadline, time.monotonic() + POLL_LIMIT_SECONDS)
        while True:
            if try_lock(self._lock_fd):
                return self._lock_fd
            if time.monotonic() >= poll_until:
                if time.monotonic() >= self._deadline:
                    break
                if (fd := self._queue_up()) is not None:
                    return fd
            time.sleep(LOCK_POLL_SECONDS)
        raise self.kind.locked(self._locked_text())

    def _queue_up(self) -> int | None:
        # Imported here, so that only a writer that has to wait pays for threads.
        from sourcepulse.outbox.fair_lock import Waiter

        try:
            if self._waiter is None or self._waiter.over:
                # Otherwise continue in the place that an earlier call queued for before it timed out.
                self._waiter = Waiter(self._lock_fd)
        except OSError:
            # Without /proc, or without a thread, the lock is polled until the deadline.
            return None
        return self._waiter.take(self._deadline)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate errors of SQLite and the system into those of this kind of file."""
        try:
            yield
        except sqlite3.Error as error:
            self._raise_named(error)
        except OSError as error:
            raise self.kind.unwritable(f"{self._name} cannot be used: {_reason(error)}") from error

    def _raise_named(self, error: sqlite3.Error) -> NoReturn:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise self.kind.locked(self._locked_text()) from error
        # Without room for its -shm file, SQLite reports an I/O error.
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and is_disk_full(self.path)):
            raise self.kind.unwritable(f"the disk of {self._name} is full; nothing was stored") from error
        if code in (
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_IOERR,
        ):
            raise self.kind.unwritable(
                f"{self._name} cannot be written by this user ({error}); "
                "check owner and mode of the file, of its -wal and -shm files and of their directory"
            ) from error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._damaged(f"is damaged ({error})", error)
        raise self.kind.damaged(f"{self._name} cannot be used: {error}; {self.kind.repair}") from error

    def _damaged(self, what: str, cause: BaseException | None = None) -> NoReturn:
        raise self.kind.damaged(f"{self._name} {what}; {self.kind.repair}") from cause

    def _foreign(self, what: str) -> NoReturn:
        raise (self.kind.foreign or self.kind.damaged)(f"{self._name} {what}")

    def _locked_text(self) -> str:
        return f"{self._name} was locked by another process for {self.lock_wait_s:g} s"


def side_files(path: Path) -> list[Path]:
    """Return the paths of the files that SQLite keeps beside a database."""
    return [path.with_name(path.name + suffix) for suffix in _SIDE_FILES]


def _identity(path: Path) -> tuple[int, int]:
    return (status := os.stat(path)).st_dev, status.st_ino  # noqa: PTH116 - path.stat() takes twice as long


def _reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return f"{error.strerror or error} ({error.filename})" if error.filename else str(error.strerror or error)
