# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What waits for each hook, in figures; cheap enough to be asked for 200 hooks by each page and each scrape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from sqlite3 import Connection
from typing import NamedTuple

from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.tables import text_of
from sourcepulse_web.webhooks.hook import queue_of
from sourcepulse_web.webhooks.store.records import Figures

#: How many messages are looked at for the oldest one that waits; an answer is kept for the next time.
SCAN_ROWS = 20_000


class _Queue(NamedTuple):
    queue: int
    cursor: int
    counted_from: int
    waiting: int
    lost: int


class _Oldest(NamedTuple):
    position: int
    at: float


class Counter:
    """Counts what waits, and remembers where the oldest one was found, which stays so while the cursor does."""

    def __init__(self) -> None:
        self._reaches: dict[int, Reach] = {}
        #: Queue -> cursor, version of the bindings, and the first message behind it.
        self._first: dict[int, tuple[int, int, _Oldest]] = {}

    def figures(self, db: Connection, names: Sequence[str]) -> dict[str, Figures]:
        """Return the figures of some hooks by name, in a transaction of the caller."""
        by_queue = {queue_of(name): name for name in names}
        queues = {
            name: _Queue(*others)
            for name, *others in db.execute(
                "SELECT name, queue, cursor, counted_from, published - taken, lost FROM queues "
                "WHERE name IN (SELECT value FROM json_each(?))",
                (json.dumps(list(by_queue)),),
            )
        }
        dead = dict(
            db.execute(
                "SELECT queue, count(*) FROM dead_letters WHERE queue IN (SELECT value FROM json_each(?)) "
                "GROUP BY queue",
                (json.dumps(list(by_queue)),),
            ).fetchall()
        )
        return {
            name: self._one(db, queues[queue], dead.get(queue, 0))
            if queue in queues
            else Figures(set_aside=dead.get(queue, 0), is_declared=False)
            for queue, name in by_queue.items()
        }

    def _one(self, db: Connection, queue: _Queue, dead: int) -> Figures:
        leased, first = db.execute(
            "SELECT count(*), min(position) FROM leases WHERE queue = ?", (queue.queue,)
        ).fetchone()
        waiting = max(0, queue.waiting)
        if queue.cursor < queue.counted_from:
            reach = self._reach(db, queue.queue)
            early = db.execute(
                "SELECT position, exchange, routing_key FROM messages WHERE position > ? AND position <= ?",
                (queue.cursor, queue.counted_from),
            )
            waiting += sum(reach.has(position, exchange, text_of(key)) for position, exchange, key in early)
        oldest: _Oldest | None = None
        if first is not None:
            row = db.execute("SELECT position, at FROM messages WHERE position = ?", (first,)).fetchone()
            oldest = None if row is None else _Oldest(*row)
        elif waiting:
            oldest = self._oldest(db, queue)
        position, at = (None, None) if oldest is None else oldest
        return Figures(waiting + leased, at, dead, queue.lost, oldest=position)

    def _oldest(self, db: Connection, queue: _Queue) -> _Oldest | None:
        reach = self._reach(db, queue.queue)
        known = self._first.get(queue.queue)
        if known is not None and known[:2] == (queue.cursor, reach.version):
            return known[2]
        rows = db.execute(
            "SELECT position, at, exchange, routing_key FROM messages WHERE position > ? ORDER BY position LIMIT ?",
            (queue.cursor, SCAN_ROWS),
        )
        with closing(rows):
            for position, at, exchange, key in rows:
                if reach.has(position, exchange, text_of(key)):
                    oldest = _Oldest(position, float(at))
                    self._first[queue.queue] = queue.cursor, reach.version, oldest
                    return oldest
        return None

    def _reach(self, db: Connection, queue: int) -> Reach:
        reach = self._reaches[queue] = Reach.load(db, queue, self._reaches.get(queue))
        return reach
