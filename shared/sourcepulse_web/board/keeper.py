# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board's tables in the log's file: kept up with the log, trimmed with it, made again from it."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sourcepulse.brokers.file.reader import LogReader, Row, Withdrawal
from sourcepulse.brokers.file.tables import LOCK_WAIT_SECONDS, LogBusyError, LogFile
from sourcepulse.brokers.file.upkeep import obey_unread, scrub
from sourcepulse.errors import (
    BrokerError,
    BrokerRefusedUsError,
    BrokerUnavailableError,
    NothingThereError,
    SourcePulseError,
)
from sourcepulse_web.board.fact import read_fact
from sourcepulse_web.board.reduce import REDUCERS, reduce
from sourcepulse_web.board.reduce.withdraw import withdrawn
from sourcepulse_web.board.store import Put, Store, storable
from sourcepulse_web.board.tables import REDUCER_VERSION, TABLES, scripts

#: Rows reduced in one transaction, so that publishers and other gateways wait for milliseconds.
BATCH_ROWS = 200
BATCH_BYTES = 1 << 20
#: A slice waits no longer for the lock of the writers, because nothing is served meanwhile.
SLICE_LOCK_WAIT_SECONDS = 0.05
#: Pushes that left with the trimmed log and that a tree remembers, so that open pages hear of them.
GONE_MAX = 200
#: These outlive the log: the last state of each tree, and the builders' places.
LASTING = ("trees", "places")
#: Failures of the file, but for ProgrammingError, which is of a value that cannot be searched for.
_TROUBLE = (SourcePulseError, sqlite3.DatabaseError)

logger = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How far the log is reduced: up to `position`, of the messages from `oldest` to `end`."""

    position: int
    oldest: int
    end: int

    @property
    def percent(self) -> int:
        return max(0, min(99, 100 * (self.position - self.oldest + 1) // max(1, self.end - self.oldest + 1)))


class Keeper:
    """One connection for the tables and one for the log; in one thread.

    Several gateways may keep the board of one log: each batch of rows is reduced by the first that comes to it.
    With `slice_s`, one call reads the log for about so long, and the next call goes on; a log that another program has
    locked is then LogBusyError at once.
    """

    def __init__(self, path: Path, exchange: str, slice_s: float | None = None) -> None:
        self._path = path
        self._slice_s = slice_s
        self._lock_wait_s = LOCK_WAIT_SECONDS if slice_s is None else SLICE_LOCK_WAIT_SECONDS
        self._reader = LogReader(path, exchange, obeys=False)
        self._file: LogFile | None = None
        self._seen_version = -1
        self._must_scrub = False
        #: How often the file was opened; another file has other pushes at the same positions.
        self.opened = 0
        #: How many events were passed over since the start, because they are not as the contract has them.
        self.unreadable = 0
        #: Whether nothing of the log was left when it was read last.
        self.is_level = False
        #: How often something was left.
        self.pauses = 1

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """Yield the rows of one instant, in which nothing is left that the log withdrew."""
        with self._closed_on_failure():
            opened = self.opened
            file = self._opened()
            version = file.data_version()
            if opened != self.opened:
                self._read_on(file, self._slice_s)
            if opened != self.opened or version != self._seen_version:
                self._withdraw_ahead(file)
            self._seen_version = version
            with file.read() as db:
                db.execute("BEGIN")
                try:
                    self._check_version(db)
                    yield Store(db)
                finally:
                    db.execute("ROLLBACK")

    def read_on(self) -> bool:
        """Reduce what was appended, for one slice; return whether nothing is left."""
        return self._read_for(self._slice_s)

    def withdraw(self) -> None:
        """Remove what is no longer public, also where the events before it are not reduced yet."""
        with self._closed_on_failure():
            self._withdraw_ahead(self._opened())

    def catch_up(self) -> None:
        """Reduce all that was appended."""
        self._read_for(None)

    def progress(self) -> Progress:
        """Return how far the log is reduced, by any gateway."""
        with self._closed_on_failure():
            with self._opened().read() as db:
                position = int(_state(db, "position") or 0)
            return Progress(position, *self._reader.bounds())

    def rebuild(self) -> None:
        """Make the tables again from the log."""
        with self._closed_on_failure():
            file = self._opened()
            with file.write(durable=False) as db:
                self._clear(db)
            self._read_on(file, None)

    def since(self) -> float | None:
        """Return when the oldest event that the log has was appended, in seconds since 1970."""
        rows = self._reader.read(self._reader.bounds().oldest - 1, limit=1)
        return rows[0].at if rows else None

    def came_at(self, position: int) -> float | None:
        """Return when the event at a position was appended; None if the log does not have it any more."""
        rows = self._reader.read(position - 1, limit=1) if position else []
        return rows[0].at if rows and rows[0].position == position else None

    def close(self) -> None:
        self._reader.close()
        if self._file is not None:
            self._file.close()
            self._file = None
            self.is_level = False
            self.pauses += 1

    def _read_for(self, seconds: float | None) -> bool:
        with self._closed_on_failure():
            file = self._opened()
            self._read_on(file, seconds)
            self._withdraw_ahead(file)
            return self.is_level

    def _read_on(self, file: LogFile, seconds: float | None) -> None:
        until = None if seconds is None else time.perf_counter() + seconds
        self.is_level = False
        while not self.is_level:
            try:
                # Not under the lock of the writers, which this needs itself.
                obey_unread(file)
                with file.write(durable=False) as db:
                    self.is_level = not self._reduce_batch(db, until)
            except LogBusyError:
                self.pauses += 1
                raise
            if until is not None and time.perf_counter() >= until:
                break
        self.pauses += not self.is_level
        self._scrub(file)

    def _scrub(self, file: LogFile) -> None:
        if self._must_scrub:
            self._must_scrub = False
            # Otherwise the next append does it.
            with suppress(BrokerError):
                scrub(file)

    def _withdraw_ahead(self, file: LogFile) -> None:
        """Remove what an event withdrew that is not reduced yet, so that nothing of it is sent meanwhile."""
        ahead = (
            "SELECT 1 FROM withdrawals WHERE caused_by > (SELECT max(value) FROM board_state "
            "WHERE name IN ('position', 'withdrawn')) LIMIT 1"
        )
        with file.read() as db:
            if db.execute(ahead).fetchone() is None:
                return
        with file.write(durable=False) as db:
            position = int(_state(db, "position") or 0)
            done = max(position, int(_state(db, "withdrawn") or 0))
            end = self._reader.bounds().end
            store = Store(db)
            for each in self._withdrawals(done, end):
                if each.position <= position:
                    store.write(withdrawn(store, each.position, each.caused_by))
                    self._must_scrub = True
            if self._must_scrub:
                db.execute("UPDATE log SET scrub = 1")
            _set_state(db, "withdrawn", end)
        self._scrub(file)

    def _reduce_batch(self, db: sqlite3.Connection, until: float | None) -> bool:
        """Reduce the next rows, none after a time of `perf_counter`; return whether there may be more."""
        version = int(_state(db, "version") or 0)
        position = int(_state(db, "position") or 0)
        if version > REDUCER_VERSION:
            return False
        # No program appends meanwhile, because this transaction holds the lock of the writers.
        bounds = self._reader.bounds()
        rows = self._reader.read(position, limit=BATCH_ROWS, max_bytes=BATCH_BYTES)
        reached = position if rows else max(position, bounds.end)
        store = Store(db)
        for row in rows:
            self._reduce(store, row)
            reached = row.position
            if until is not None and time.perf_counter() >= until:
                break
        for each in self._withdrawals(position, reached):
            store.write(withdrawn(store, each.position, each.caused_by))
            self._must_scrub = True
        if self._must_scrub:
            # The file has the tables as they were, until its journal is emptied again.
            db.execute("UPDATE log SET scrub = 1")
        if bounds.oldest > int(_state(db, "oldest") or 0):
            # What follows the position is sent with the next event, where there is none now.
            _trim(store, db, bounds.oldest, reached if rows else reached + 1)
        if reached > position:
            _set_state(db, "position", reached)
        return bool(rows)

    def _reduce(self, store: Store, row: Row) -> None:
        try:
            fact = read_fact(row, REDUCERS)
            if fact is not None:
                store.write(storable(reduce(store, fact)))
        except Exception as error:
            # An odd event must not stop the board for good; with the file's own trouble the batch is undone.
            if isinstance(error, _TROUBLE) and not isinstance(error, sqlite3.ProgrammingError):
                raise
            self.unreadable += 1
            logger.warning("the board passes over the event at position %d: %.300s", row.position, error)

    def _withdrawals(self, after: int, until: int) -> Iterator[Withdrawal]:
        while found := self._reader.withdrawals(after, until):
            yield from found
            after = found[-1].caused_by

    def _clear(self, db: sqlite3.Connection) -> None:
        """Empty the tables, but for what the log cannot bring back."""
        store = Store(db)
        oldest = self._reader.bounds().oldest
        for table in TABLES:
            if table not in LASTING:
                store.clear(table)
        for tree in store.all("trees"):
            tree["epochs"] = {epoch: at for epoch, at in tree["epochs"].items() if at < oldest}
            if tree["state"] is not None and tree["state"]["position"] >= oldest:
                tree["state"] = None
            store.write([Put("trees", tree["repo"], tree)])
        for name in ("position", "oldest", "withdrawn"):
            _set_state(db, name, 0)
        _set_state(db, "version", REDUCER_VERSION)

    def _opened(self) -> LogFile:
        if self._file is None:
            # A log that was moved away must not get an empty one in its place: publishers create it.
            try:
                file = LogFile(self._path, create=False, lock_wait_s=self._lock_wait_s)
            except NothingThereError as error:
                raise BrokerUnavailableError(str(error)) from None
            try:
                self._prepare(file)
            except BaseException:
                file.close()
                raise
            self._file = file
            self.opened += 1
        else:
            self._file.check_in_place()
        return self._file

    def _prepare(self, file: LogFile) -> None:
        with file.read() as db:
            # What the board reads is its own, so no text needs the care that those of others need.
            db.text_factory = str
        with file.write(durable=False) as db:
            version = int(_state(db, "version") or 0) if _has_tables(db) else 0
            if 0 < version < REDUCER_VERSION:
                logger.info("the board of %s is made again, because it is of an older sourcepulse", self._path)
                _drop(db)
            if version < REDUCER_VERSION:
                for statement in scripts():
                    db.execute(statement)
                self._clear(db)

    def _check_version(self, db: sqlite3.Connection) -> None:
        if int(_state(db, "version") or 0) != REDUCER_VERSION:
            raise BrokerRefusedUsError(
                f"the board in {self._path} is of another sourcepulse; restart this gateway with the newest version"
            )

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        """Close the file if it is gone or replaced, so that the next call opens what is there."""
        try:
            yield
        except LogBusyError:
            raise
        except BrokerUnavailableError:
            self.close()
            raise


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'board_state'").fetchone() is not None


def _drop(db: sqlite3.Connection) -> None:
    for table in TABLES:
        if table not in LASTING:
            db.execute(f"DROP TABLE IF EXISTS board_{table}")


def _trim(store: Store, db: sqlite3.Connection, oldest: int, changed: int) -> None:
    """Remove what comes from events that the log no longer has, as a change of that position."""
    gone: dict[str, list[list[int]]] = {}
    for position, repo in store.pushes_before(oldest):
        gone.setdefault(repo, []).append([position, changed])
    for table, columns in TABLES.items():
        column = next((each for each in ("position", "push") if each in columns), None)
        if column is not None:
            db.execute(f"DELETE FROM board_{table} WHERE {column} < ?", (oldest,))  # noqa: S608
    for repo, pushes in gone.items():
        tree = store.get("trees", repo)
        if tree is not None:
            tree["gone"] = [*tree.get("gone", ()), *pushes][-GONE_MAX:]
            store.write([Put("trees", repo, {**tree, "changed": max(tree["changed"], changed)})])
    _set_state(db, "oldest", oldest)


def _state(db: sqlite3.Connection, name: str) -> int | None:
    row = db.execute("SELECT value FROM board_state WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def _set_state(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute("INSERT OR REPLACE INTO board_state VALUES (?, ?)", (name, value))
