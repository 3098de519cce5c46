# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which queues of hooks have news: each message of the log is looked at once for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from sqlite3 import Connection

from sourcepulse.brokers.file.routes import Router
from sourcepulse.brokers.file.tables import text_of

#: With more new messages than this at once, each queue is scanned by itself.
ROWS_MAX = 5_000


class Watch:
    """What changed in the log since the last refresh, by queue; `seen` is the position up to which messages were read.

    A queue also has news when something was redelivered, which shows by the time of its last use.
    """

    def __init__(self) -> None:
        self.version = -1
        self.seen = 0
        #: Queue -> the position of its first new message; 0 where it must be scanned from its cursor.
        self.news: dict[int, int] = {}
        #: The queue of each name, and the consumer of each queue that came first.
        self.queues: dict[str, int] = {}
        self.first: dict[int, int] = {}
        self.consumers: set[int] = set()
        self._router: Router | None = None
        self._used: dict[int, float] = {}

    @property
    def bindings_version(self) -> int:
        """The version of the bindings by which messages were matched."""
        return -1 if self._router is None else self._router.version

    def refresh(self, db: Connection, version: int) -> None:
        """Read what is new, in a transaction of the caller; `version` is that of the log before it began."""
        rows = db.execute("SELECT queue, consumer FROM consumers ORDER BY consumer DESC").fetchall()
        self.first = dict(rows)
        self.consumers = {consumer for _, consumer in rows}
        queues = db.execute("SELECT name, queue, used_at FROM queues").fetchall()
        self.queues = {name: queue for name, queue, _ in queues}
        used = {queue: used_at for _, queue, used_at in queues}
        self.mark(queue for queue, used_at in used.items() if self._used.get(queue) != used_at)
        self._used = used
        router = Router.load(db, self._router)
        if router is not self._router:
            self._router = router
            self._pass_all(db, used)
        elif not self._read(db, router):
            self._pass_all(db, used)
        self.version = version

    def mark(self, queues: Iterable[int]) -> None:
        """Note that queues must be scanned."""
        for queue in queues:
            self.news[queue] = 0

    def used(self, queue: int, at: float) -> None:
        """Note that this process itself used a queue, which is no news."""
        self._used[queue] = at

    def _pass_all(self, db: Connection, queues: Iterable[int]) -> None:
        self.mark(queues)
        # Not the end of the log, where there may be no message.
        self.seen = db.execute("SELECT coalesce(max(position), 0) FROM messages").fetchone()[0]

    def _read(self, db: Connection, router: Router) -> bool:
        rows = db.execute(
            "SELECT position, exchange, routing_key FROM messages WHERE position > ? ORDER BY position LIMIT ?",
            (self.seen, ROWS_MAX),
        )
        count = 0
        with closing(rows):
            for position, exchange, key in rows:
                for queue in router.queues(exchange, text_of(key)):
                    self.news.setdefault(queue, position)
                self.seen = position
                count += 1
        return count < ROWS_MAX
