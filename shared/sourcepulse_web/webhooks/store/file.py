# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The file of the hook store: opened for its owner alone, used by several threads, many changes in one commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.errors import NothingThereError
from sourcepulse.outbox.sqlite_file import SqliteFile
from sourcepulse_web.webhooks.errors import HookStoreError, UnknownHookError
from sourcepulse_web.webhooks.store.place import check_place
from sourcepulse_web.webhooks.store.tables import HOOK_STORE

LOCK_WAIT_SECONDS = 5.0
#: The most memory of a connection for pages.
CACHE_KIB = 8_192
#: A larger file is not rewritten, because no process can write to it meanwhile, for about 3 s per 100 MB.
REWRITE_MAX_BYTES = 64 * 1024 * 1024
#: Of `keeper.scrub`: whether the file is to be rewritten as well.
REWRITE = 2
#: How long emptying the write-ahead log waits for readers.
CHECKPOINT_WAIT_SECONDS = 0.2


class StoreFile:
    """One connection to the file; each call is for one thread at a time.

    >>> with file.batch():
    ...     store.attempts.record(attempts)
    ...     store.troubles.remove("chat-room", [17])
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        check_place(path)
        if not create and not path.exists():
            raise NothingThereError(f"there is no hook store {path} yet; `sourcepulse webhook add` creates it")
        self.path = path
        self._lock = threading.RLock()
        self._file = SqliteFile(path, HOOK_STORE, lock_wait_s=LOCK_WAIT_SECONDS, create=create, private=True)
        self._batch: Connection | None = None
        with self._file.read() as db:
            # A secret that is removed leaves no text in free pages.
            db.execute("PRAGMA secure_delete = ON")
            # Attempts are found by hashes, and in SQLite's 2 MiB those of a busy week are recorded at half the speed.
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    @contextmanager
    def batch(self, *, durable: bool = False) -> Iterator[None]:
        """Make all changes within it one transaction, for one sync at most; any error undoes all of them."""
        with self._lock:
            if self._batch is not None:
                yield
                return
            with self._file.write(durable=durable) as db:
                self._batch = db
                try:
                    yield
                finally:
                    self._batch = None

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Yield the connection in a transaction: that of the batch, if there is one."""
        with self._lock:
            if self._batch is not None:
                yield self._batch
                return
            with self._file.write(durable=durable) as db:
                self._batch = db
                try:
                    yield db
                finally:
                    self._batch = None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield the connection for statements that only read, of one instant."""
        with self._lock:
            if self._batch is not None:
                yield self._batch
                return
            with self._file.read() as db:
                db.execute("BEGIN")
                try:
                    yield db
                finally:
                    db.execute("ROLLBACK")

    def data_version(self) -> int:
        """Return a number that differs from the last one if another connection committed."""
        with self._lock:
            return self._file.data_version()

    def scrub(self, *, rewrites: bool = False, wait_s: float = CHECKPOINT_WAIT_SECONDS) -> bool:
        """Empty the write-ahead log, which may hold a removed text; False if a reader is in the way, for now.

        With `rewrites`, a file that is not too large is rewritten first: where SQLite moved rows from page to page
        it leaves the former bytes, which `secure_delete` does not find when the row is deleted later.
        """
        with (
            self._lock,
            # No removal of another process comes between, whose mark would be taken for that of an earlier one.
            self._file.exclusive(),
            closing(sqlite3.connect(self._file.path, timeout=wait_s, isolation_level=None)) as db,
        ):
            if rewrites:
                if self.path.stat().st_size <= REWRITE_MAX_BYTES:
                    # Secrets belong into no temporary file.
                    db.execute("PRAGMA temp_store = MEMORY")
                    db.execute("VACUUM")
                # Behind a reader only the log is left to be emptied, which later calls try without another rewriting.
                db.execute("UPDATE keeper SET scrub = min(scrub, 1)")
            if db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                return False
            db.execute("UPDATE keeper SET scrub = 0 WHERE scrub < ?", (REWRITE,))
            return True

    def scrub_if_due(self, *, rewrites: bool = False, wait_s: float = CHECKPOINT_WAIT_SECONDS) -> None:
        """Do so if something was removed since; a later call tries again what fails."""
        if self._batch is not None:
            # Only what is committed can leave the write-ahead log.
            return
        with self.read() as db:
            (is_due,) = db.execute("SELECT scrub FROM keeper").fetchone()
        if is_due:
            with suppress(HookStoreError):
                self.scrub(rewrites=rewrites and is_due == REWRITE, wait_s=wait_s)

    def problems(self) -> list[str]:
        """Return the problems that SQLite finds in the whole file; empty if it is sound."""
        with self._lock:
            return self._file.problems()

    def close(self) -> None:
        """Close the file; may be called again."""
        with self._lock:
            self._file.close()


def known_number(db: Connection, name: str) -> int | None:
    """Return the number of a hook; None if there is none of this name."""
    row = db.execute("SELECT hook FROM hooks WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def number_of(db: Connection, name: str) -> int:
    """Return the number of a hook; UnknownHookError if there is none of this name."""
    number = known_number(db, name)
    if number is None:
        raise UnknownHookError(f"there is no webhook {name!r}; `sourcepulse webhook list` shows those that there are")
    return number
