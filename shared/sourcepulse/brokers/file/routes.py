# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which queues of the embedded log get a message: by the bindings of now, and by those of its position."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from sourcepulse.events.topics import matches

#: For how many routing keys a router caches the queues.
ROUTER_KEYS_MAX = 10_000

Binding = tuple[int, str, str]


class Router:
    """Maps routing keys to queues, by the bindings at one moment."""

    def __init__(self, version: int, bindings: Sequence[Binding]) -> None:
        self.version = version
        self._bindings = bindings
        self._known: dict[tuple[str, str], tuple[int, ...]] = {}

    @classmethod
    def load(cls, db: sqlite3.Connection, former: Router | None) -> Router:
        """Return the former router if the bindings are still the same, else a new one."""
        version = db.execute("SELECT bindings_version FROM log").fetchone()[0]
        if former is not None and former.version == version:
            return former
        return cls(
            version,
            db.execute("SELECT queue, exchange, pattern FROM bindings WHERE until IS NULL").fetchall(),
        )

    def queues(self, exchange: str, key: str) -> tuple[int, ...]:
        """Return the queues that are bound to a key, each once."""
        found = self._known.get((exchange, key))
        if found is None:
            found = tuple(
                sorted({queue for queue, at, pattern in self._bindings if at == exchange and matches(pattern, key)})
            )
            if len(self._known) >= ROUTER_KEYS_MAX:
                self._known.clear()
            self._known[exchange, key] = found
        return found


class Reach:
    """The bindings of one queue by position: a binding is valid in (after, until]."""

    def __init__(self, version: int, bindings: Iterable[tuple[str, str, int, int | None]]) -> None:
        self.version = version
        self._bindings = tuple(bindings)
        self._known: dict[tuple[str, str], tuple[tuple[int, int | None], ...]] = {}

    @classmethod
    def load(cls, db: sqlite3.Connection, queue: int, former: Reach | None = None) -> Reach:
        """Return the former reach if no bindings changed since, else a new one."""
        version = db.execute("SELECT bindings_version FROM log").fetchone()[0]
        if former is not None and former.version == version:
            return former
        rows = db.execute("SELECT exchange, pattern, after, until FROM bindings WHERE queue = ?", (queue,))
        return cls(version, rows.fetchall())

    def has(self, position: int, exchange: str, key: str) -> bool:
        """Return whether the message at a position goes to the queue."""
        spans = self._known.get((exchange, key))
        if spans is None:
            spans = tuple(
                (after, until)
                for at, pattern, after, until in self._bindings
                if at == exchange and matches(pattern, key)
            )
            if len(self._known) >= ROUTER_KEYS_MAX:
                self._known.clear()
            self._known[exchange, key] = spans
        return any(after < position and (until is None or position <= until) for after, until in spans)
