# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board's tables in the log's file: kept up with the log, trimmed with it, made again from it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sourcepulse.brokers.file.reader import LogReader, Withdrawal
from sourcepulse.brokers.file.tables import LogFile
from sourcepulse.brokers.file.upkeep import scrub
from sourcepulse.errors import BrokerError, BrokerRefusedUsError, BrokerUnavailableError
from sourcepulse_web.board.fact import UnreadableError, read_fact
from sourcepulse_web.board.reduce import reduce
from sourcepulse_web.board.reduce.withdraw import withdrawn
from sourcepulse_web.board.store import Put, Store, storable
from sourcepulse_web.board.tables import REDUCER_VERSION, TABLES, scripts

#: Rows reduced in one transaction, so that publishers and other gateways wait for milliseconds.
BATCH_ROWS = 200
BATCH_BYTES = 1 << 20
#: These outlive the log: the last state of each tree, and the builders' places.
LASTING = ("trees", "places")

logger = logging.getLogger(__name__)


class Keeper:
    """One connection for the tables and one for the log; in one thread.

    Several gateways may keep the board of one log: each batch of rows is reduced by the first that comes to it.
    """

    def __init__(self, path: Path, exchange: str) -> None:
        self._path = path
        self._reader = LogReader(path, exchange)
        self._file: LogFile | None = None
        self._seen_version = -1
        self._must_scrub = False
        #: How often the file was opened; another file has other pushes at the same positions.
        self.opened = 0
        #: How many events were passed over since then, because they are not as the contract has them.
        self.unreadable = 0

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """Yield the rows of one instant, in which nothing is left that the log withdrew."""
        with self._closed_on_failure():
            opened = self.opened
            file = self._opened()
            version = file.data_version()
            if opened != self.opened:
                self._catch_up(file)
            elif version != self._seen_version:
                with file.read() as db:
                    behind = db.execute(
                        "SELECT 1 FROM withdrawals WHERE caused_by > (SELECT value FROM board_state "
                        "WHERE name = 'position') LIMIT 1"
                    ).fetchone()
                if behind:
                    self._catch_up(file)
            self._seen_version = version
            with file.read() as db:
                db.execute("BEGIN")
                try:
                    self._check_version(db)
                    yield Store(db)
                finally:
                    db.execute("ROLLBACK")

    def catch_up(self) -> int:
        """Reduce all that was appended, and return the position that was reached."""
        with self._closed_on_failure():
            return self._catch_up(self._opened())

    def rebuild(self) -> None:
        """Make the tables again from the log."""
        with self._closed_on_failure():
            file = self._opened()
            with file.write(durable=False) as db:
                self._clear(db)
            self._catch_up(file)

    def since(self) -> float | None:
        """Return when the oldest event that the log has was appended, in seconds since 1970."""
        rows = self._reader.read(self._reader.bounds().oldest - 1, limit=1)
        return rows[0].at if rows else None

    def close(self) -> None:
        self._reader.close()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _catch_up(self, file: LogFile) -> int:
        while True:
            with file.write(durable=False) as db:
                reached, more = self._reduce_batch(db)
            if not more:
                break
        if self._must_scrub:
            self._must_scrub = False
            # Otherwise the next append does it.
            with suppress(BrokerError):
                scrub(file)
        return reached

    def _reduce_batch(self, db: sqlite3.Connection) -> tuple[int, bool]:
        """Reduce the next rows; return the position reached and whether there may be more."""
        version = int(_state(db, "version") or 0)
        position = int(_state(db, "position") or 0)
        if version > REDUCER_VERSION:
            return position, False
        # Nobody appends meanwhile, because this transaction holds the lock of the writers.
        bounds = self._reader.bounds()
        rows = self._reader.read(position, limit=BATCH_ROWS, max_bytes=BATCH_BYTES)
        reached = rows[-1].position if rows else max(position, bounds.end)
        store = Store(db)
        for row in rows:
            fact = read_fact(row)
            if fact is not None:
                try:
                    store.write(storable(reduce(store, fact)))
                except (UnreadableError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
                    # The last two are of values that cannot be searched for.
                    self.unreadable += 1
                    logger.warning("the board passes over the event at position %d: %.300s", row.position, error)
        for each in self._withdrawals(position, reached):
            store.write(withdrawn(store, each.position, each.caused_by))
            self._must_scrub = True
        if self._must_scrub:
            # The file has the tables as they were, until its journal is emptied again.
            db.execute("UPDATE log SET scrub = 1")
        if bounds.oldest > int(_state(db, "oldest") or 0):
            _trim(db, bounds.oldest)
        if reached > position:
            _set_state(db, "position", reached)
        return reached, bool(rows)

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
        _set_state(db, "position", 0)
        _set_state(db, "oldest", 0)
        _set_state(db, "version", REDUCER_VERSION)

    def _opened(self) -> LogFile:
        if self._file is None:
            file = LogFile(self._path)
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
            self._file = file
            self.opened += 1
        else:
            self._file.check_in_place()
        return self._file

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
        except BrokerUnavailableError:
            self.close()
            raise


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'board_state'").fetchone() is not None


def _drop(db: sqlite3.Connection) -> None:
    for table in TABLES:
        if table not in LASTING:
            db.execute(f"DROP TABLE IF EXISTS board_{table}")


def _trim(db: sqlite3.Connection, oldest: int) -> None:
    """Remove what comes from events that the log no longer has."""
    for table, columns in TABLES.items():
        column = next((each for each in ("position", "push") if each in columns), None)
        if column is not None:
            db.execute(f"DELETE FROM board_{table} WHERE {column} < ?", (oldest,))  # noqa: S608
    _set_state(db, "oldest", oldest)


def _state(db: sqlite3.Connection, name: str) -> int | None:
    row = db.execute("SELECT value FROM board_state WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def _set_state(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute("INSERT OR REPLACE INTO board_state VALUES (?, ?)", (name, value))
