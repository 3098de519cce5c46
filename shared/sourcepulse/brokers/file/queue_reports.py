# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The queues of the embedded log, exactly as they are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import TYPE_CHECKING

from sourcepulse.brokers.file.admin import queue_statistics_of
from sourcepulse.brokers.file.queue import UNLIMITED
from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.tables import LogFile, text_of
from sourcepulse.brokers.queues import QueueReport
from sourcepulse.errors import NothingThereError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: How many messages are looked at for the oldest one of a queue, which may be bound to few of them.
OLDEST_SCAN_ROWS = 20_000


class LocalQueues:
    """The queues of the log at a URL."""

    def __init__(self, url: BrokerUrl, exchanges: Mapping[str, str]) -> None:
        self._url = url
        self._streams = {exchange: stream for stream, exchange in exchanges.items()}

    def read(self) -> list[QueueReport]:
        """Return the queues by name; NothingThereError if there is no log."""
        path = Path(self._url.path)
        if not path.exists():
            raise NothingThereError(f"there is no log at {path} yet; its first event or consumer creates it")
        with closing(LogFile(path, create=False)) as log, log.read() as db:
            # A read transaction, so that all counts are of one state of the log.
            db.execute("BEGIN")
            queues = db.execute("SELECT queue FROM queues ORDER BY name").fetchall()
            return [self._report(db, path, queue) for (queue,) in queues]

    def _report(self, db: Connection, path: Path, queue: int) -> QueueReport:
        found = queue_statistics_of(db, path, queue)
        limit = db.execute("SELECT max_length FROM queues WHERE queue = ?", (queue,)).fetchone()[0]
        exchanges = db.execute("SELECT DISTINCT exchange FROM bindings WHERE queue = ? AND until IS NULL", (queue,))
        # What exceeds the limit is dropped when a consumer comes.
        excess = max(0, found.pending - limit)
        return QueueReport(
            broker=str(self._url),
            name=found.name,
            durable=found.durable,
            streams=tuple(sorted(self._streams[exchange] for (exchange,) in exchanges if exchange in self._streams)),
            patterns=found.patterns,
            user=None,
            consumers=found.consumers,
            depth=found.pending + found.leased - excess,
            limit=None if limit >= UNLIMITED else limit,
            bytes=None,
            limit_bytes=None,
            oldest_at=_oldest_at(db, queue, excess),
            dropped=found.lost + excess,
            withdrawn=found.withdrawn,
            dead=found.dead,
            last_consumer_at=found.last_used,
        )


def _oldest_at(db: Connection, queue: int, excess: int) -> float | None:
    """Return when the oldest message of a queue was published; None for none, and if it is not found soon."""
    (held,) = db.execute(
        "SELECT min(at) FROM leases JOIN messages USING (position) WHERE queue = ?", (queue,)
    ).fetchone()
    if held is not None:
        return float(held)
    reach = Reach.load(db, queue)
    (cursor,) = db.execute("SELECT cursor FROM queues WHERE queue = ?", (queue,)).fetchone()
    rows = db.execute(
        "SELECT position, at, exchange, routing_key FROM messages WHERE position > ? ORDER BY position LIMIT ?",
        (cursor, OLDEST_SCAN_ROWS),
    )
    with closing(rows):
        for position, at, exchange, key in rows:
            if reach.has(position, exchange, text_of(key)):
                if excess <= 0:
                    return float(at)
                excess -= 1
    return None
