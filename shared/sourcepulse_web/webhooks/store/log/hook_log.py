# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The log as the queues of hooks use it: one connection for all, opened again after a failure, changes in groups."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.brokers.file.tables import LogBusyError, LogFile
from sourcepulse.brokers.file.upkeep import obey_unread, scrub
from sourcepulse.errors import BrokerError, BrokerUnavailableError
from sourcepulse_web.bridge.own_log import open_private

#: The time between two checks whether the path still leads to the open file.
PLACE_SECONDS = 0.25


class HookLog:
    """One connection to the log, for one thread at a time.

    After any failure but LogBusyError it is closed, and the next use opens it: `openings` counts that, because what was
    leased before is not ours any more.
    """

    def __init__(self, path: Path, exchange: str, *, private: bool) -> None:
        self.path = path
        self.exchange = exchange
        self.lock = threading.RLock()
        self.openings = 0
        self._private = private
        self._log: LogFile | None = None
        self._batch: Connection | None = None
        self._after: list[Callable[[], None]] = []
        self._obeyed = -1
        self._checked_at = 0.0

    def version(self) -> int:
        """Return a number that differs from the last one if another connection committed."""
        with self.lock, self._failing():
            return self._opened().data_version()

    def create(self) -> None:
        """Create the log if it is missing: its owner's alone, or for its publishers as well if it is a broker."""
        with self.lock:
            if not self.path.exists():
                log = open_private(self.path) if self._private else LogFile(self.path, for_reading=True)
                log.close()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield the connection for statements that only read, of one instant, once all withdrawals are obeyed."""
        with self.lock:
            if self._batch is not None:
                yield self._batch
                return
            with self._failing():
                log = self._opened()
                if log.data_version() != self._obeyed:
                    obey_unread(log)
                    self._obeyed = log.data_version()
                with log.read() as db:
                    db.execute("BEGIN")
                    try:
                        yield db
                    finally:
                        db.execute("ROLLBACK")

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Connection]:
        """Yield the connection in a transaction: that of the outermost `write`, if there is one.

        Not durable, a change survives a kill but perhaps not a power failure: an event comes again, and none is lost.
        """
        with self.lock:
            if self._batch is not None:
                yield self._batch
                return
            self._after = []
            with self._failing():
                log = self._opened()
                with log.write(durable=durable) as db:
                    self._batch = db
                    try:
                        yield db
                    finally:
                        self._batch = None
            after, self._after = self._after, []
            for each in after:
                each()

    def scrub(self) -> None:
        """Empty the write-ahead log of what was removed; where that cannot be done now, the next append does it."""
        with self.lock, suppress(BrokerError):
            if self._batch is None:
                scrub(self._opened())

    def afterwards(self, act: Callable[[], None]) -> None:
        """Call something once the transaction is committed, and not if it is undone."""
        self._after.append(act)

    def close(self) -> None:
        """Close the log; the next call opens it again."""
        with self.lock:
            if self._log is not None:
                self._log.close()
                self._log = None

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except LogBusyError:
            raise
        except BrokerError:
            self.close()
            raise

    def _opened(self) -> LogFile:
        if self._log is None:
            if not self.path.exists():
                raise BrokerUnavailableError(f"there is no log {self.path} yet; its first event creates it")
            self._log = LogFile(self.path, create=False)
            self._obeyed = -1
            self.openings += 1
            self._checked_at = time.monotonic()
        elif time.monotonic() >= self._checked_at + PLACE_SECONDS:
            self._log.check_in_place()
            self._checked_at = time.monotonic()
        return self._log
