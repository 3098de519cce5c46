# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Counts how much SQLite does in each write transaction of this process, because publishers wait for its end."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

#: SQLite reports after so many steps of its virtual machine.
STEPS_EACH = 50


class WriteMeter:
    """Counts in each connection that is opened from now on.

    >>> meter = WriteMeter(monkeypatch)
    >>> queues = HookQueues(log, EXCHANGE)
    >>> queues.settle("chat-room", [17])
    >>> max(meter.steps)
    250
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        #: Of each write transaction that ended, in order.
        self.steps: list[int] = []
        self._connect = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", self._opened)

    def _opened(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        db = self._connect(*arguments, **options)
        since_begin: int | None = None

        def trace(statement: str) -> None:
            nonlocal since_begin
            if statement.startswith("BEGIN IMMEDIATE"):
                since_begin = 0
            elif statement.startswith(("COMMIT", "ROLLBACK")) and since_begin is not None:
                self.steps.append(since_begin)
                since_begin = None

        def count() -> int:
            nonlocal since_begin
            if since_begin is not None:
                since_begin += STEPS_EACH
            return 0

        db.set_trace_callback(trace)
        db.set_progress_handler(count, STEPS_EACH)
        return db
