# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An outbox that is only read: nothing is created beside it, and an older format is not upgraded."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sourcepulse.errors import NothingThereError, OutboxError, OutboxForeignError
from sourcepulse.outbox.files import lock_file
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.sqlite_file import INITIALISED, SqliteFile, side_files
from sourcepulse.outbox.tables import OUTBOX_FILE

#: A file that changes while it is read is read again; after its second change a log is beside it.
ATTEMPTS = 4
#: SQLite's answers if a crash left something that the next writer must bring to an end.
_UNFINISHED = frozenset(
    {sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_READONLY_CANTINIT}
)

_T = TypeVar("_T")


def read_outbox(path: Path, read: Callable[[Outbox], _T], *, lock_wait_s: float) -> _T:
    """Return what `read` returns of an outbox; raises like `Outbox.open`, and like `read`."""
    for attempt in range(ATTEMPTS):
        before = _signature(path)
        is_last = attempt == ATTEMPTS - 1
        try:
            file = _ReadOnlyFile(path, OUTBOX_FILE, lock_wait_s=lock_wait_s, create=False)
            with Outbox(file, time.time) as outbox:
                found = read(outbox)
        except OutboxError:
            # It may be the trace of a change.
            if is_last or _signature(path) == before:
                raise
            continue
        if not file.is_static or is_last or _signature(path) == before:
            return found
    raise AssertionError("the last attempt returns or raises")


class _ReadOnlyFile(SqliteFile):
    """A connection that cannot write.

    Without a write-ahead log, or a journal, no process uses the file: then SQLite reads it as one that does not change,
    because otherwise it would create files beside it.
    """

    is_static = False

    def _open(self, create: bool) -> None:  # noqa: ARG002 - nothing is created
        if not self.path.exists():
            raise NothingThereError(f"there is no {self.kind.name} at {self.path}")
        if self.path.stat().st_size == 0:
            if _was_initialised(self.path):
                self._damaged("is empty although it held data")
            self._foreign("is empty; the next event that is stored makes its tables")
        self.is_static = not any(os.path.lexists(file) for file in side_files(self.path))
        how = "?mode=ro&immutable=1" if self.is_static else "?mode=ro"
        self._db = sqlite3.connect(
            self.path.absolute().as_uri() + how,
            uri=True,
            timeout=self.lock_wait_s,
            isolation_level=None,
            check_same_thread=False,
        )
        status = self.path.stat()
        self._identity = status.st_dev, status.st_ino
        application_id, version = self._header(self._db)
        latest = len(self.kind.migrations)
        if application_id != self.kind.application_id:
            self._foreign(f"belongs to another program (application id {application_id:#x}); use the right file")
        if version > latest:
            self._foreign(
                f"has format {version}, but this sourcepulse only knows formats up to {latest}: upgrade sourcepulse"
            )
        if version < latest:
            self._foreign(f"has the older format {version}, which the next event or the relay upgrades to {latest}")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with super()._translated():
            try:
                yield
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in _UNFINISHED:
                    raise
                raise OutboxForeignError(
                    f"{self._name} was left in the middle of a write; the next event or the relay brings it to an end"
                ) from error


def _was_initialised(path: Path) -> bool:
    try:
        return lock_file(path).read_bytes().startswith(INITIALISED)
    except OSError:
        return False


def _signature(path: Path) -> object:
    """Return what differs if the file was written to."""
    try:
        status = path.stat()
    except OSError:
        return None
    there = [os.path.lexists(file) for file in side_files(Path(os.path.realpath(path)))]
    return status.st_ino, status.st_size, status.st_mtime_ns, there
