# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tests that owners ask for: asked by one process, sent by the sender, the answer read by the first."""

from __future__ import annotations

from dataclasses import replace

from sourcepulse.errors import NothingThereError
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.store.attempts import read_attempt, write_attempts
from sourcepulse_web.webhooks.store.file import StoreFile, number_of
from sourcepulse_web.webhooks.store.records import AskedTest

#: How long a test and its answer are kept.
KEEP_SECONDS = 86_400.0
#: How many tests of a hook may wait for the sender; asking once more returns the last one.
ASKED_MAX = 5


class Tests:
    """The tests of all hooks."""

    #: pytest collects no class of this name.
    __test__ = False

    def __init__(self, file: StoreFile) -> None:
        self._file = file

    def ask(self, name: str, now: float) -> int:
        """Ask for a test and return its number."""
        with self._file.write(durable=False) as db:
            hook = number_of(db, name)
            waiting = db.execute(
                "SELECT number FROM tests WHERE hook = ? AND attempt IS NULL ORDER BY number", (hook,)
            ).fetchall()
            if len(waiting) >= ASKED_MAX:
                return int(waiting[-1][0])
            row = db.execute(
                "INSERT INTO tests (hook, asked_at) VALUES (?, ?) RETURNING number", (hook, now)
            ).fetchone()
        return int(row[0])

    def drop(self, number: int) -> None:
        """Remove a test that is not to be sent."""
        with self._file.write(durable=False) as db:
            db.execute("DELETE FROM tests WHERE number = ? AND attempt IS NULL", (number,))

    def asked(self) -> list[AskedTest]:
        """Return the tests that were not sent yet, oldest first."""
        with self._file.read() as db:
            rows = db.execute(
                "SELECT number, name, asked_at FROM tests JOIN hooks USING (hook) WHERE attempt IS NULL ORDER BY number"
            ).fetchall()
        return [AskedTest(*row) for row in rows]

    def end(self, number: int, attempt: Attempt) -> None:
        """Record what came of a test; does nothing if it is not there any more."""
        with self._file.write(durable=False) as db:
            row = db.execute("SELECT hook FROM tests WHERE number = ? AND attempt IS NULL", (number,)).fetchone()
            if row is not None:
                (stored,) = write_attempts(db, [replace(attempt, position=0)])
                db.execute("UPDATE tests SET attempt = ? WHERE number = ?", (stored, number))

    def result(self, number: int) -> Attempt | None:
        """Return what came of a test, None while it waits for the sender; NothingThereError for an unknown number."""
        with self._file.read() as db:
            row = db.execute("SELECT attempt FROM tests WHERE number = ?", (number,)).fetchone()
            if row is None:
                raise NothingThereError(f"there is no test {number} any more; ask for another one")
            return None if row[0] is None else read_attempt(db, row[0])

    def trim(self, now: float) -> None:
        """Remove old tests."""
        with self._file.write(durable=False) as db:
            db.execute("DELETE FROM tests WHERE asked_at < ?", (now - KEEP_SECONDS,))
