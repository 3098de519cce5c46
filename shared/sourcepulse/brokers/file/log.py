# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The publishers' side of the embedded log: append, count each queue's messages, trim, remove unused queues."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from sourcepulse.brokers import Message
from sourcepulse.brokers.file.dead_consumers import is_alive
from sourcepulse.brokers.file.envelopes import (
    Envelope,
    envelope_of,
    known_positions,
    note_exchanges,
    note_unread,
    read_unread,
    store_envelopes,
)
from sourcepulse.brokers.file.tables import log_end, text_of
from sourcepulse.events.topics import matches

#: How long the log keeps messages, and how many bytes of them; whichever limit is reached first.
KEEP_SECONDS = 7 * 86_400
KEEP_BYTES = 1 << 30
#: The overhead of a message, counted in addition to its body.
ROW_BYTES = 120
#: The fewest old messages that a publisher may remove at a time; otherwise twice as many as it appends.
TRIM_ROWS = 200
#: The time between two sweeps for unused queues.
SWEEP_SECONDS = 5.0
#: A consumer that made no call for this long counts as dead, as with RabbitMQ's consumer_timeout.
LEASE_LIMIT_SECONDS = 30 * 60
#: How many names of expired queues are remembered, in order to notify their consumers.
GONE_QUEUES_MAX = 1_000
#: For how many routing keys a router caches the queues.
ROUTER_KEYS_MAX = 10_000

#: What goes with a message that is trimmed. What it mentions stays until the log is idle, because that has no order.
_TRIMMED = (("messages", "position"), ("envelopes", "position"), ("withdrawals", "caused_by"))

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


def append(
    db: sqlite3.Connection, router: Router, exchange: str, batch: Sequence[Message], now: float, *, once: bool = False
) -> tuple[list[bool], set[int]]:
    """Append a batch in order; return for each message whether a queue is bound to its key, and all these queues.

    With `once`, a message whose source and id the log has is not stored again.
    """
    note_unread(db)
    read_unread(db)
    stored = _numbered(db, batch, once=once)
    db.executemany(
        "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)",
        [
            (position, now, exchange, message.routing_key, message.content_type, message.body)
            for position, _, message in stored
        ],
    )
    store_envelopes(db, [(position, envelope) for position, envelope, _ in stored])
    counts: dict[int, int] = {}
    for _, _, message in stored:
        for queue in router.queues(exchange, message.routing_key):
            counts[queue] = counts.get(queue, 0) + 1
    db.executemany(
        "UPDATE queues SET published = published + ? WHERE queue = ?",
        [(count, queue) for queue, count in counts.items()],
    )
    if stored:
        last = stored[-1][0]
        size = sum(len(message.body) + ROW_BYTES for _, _, message in stored)
        db.execute("UPDATE log SET bytes = bytes + ?, known_end = ?", (size, last))
        note_exchanges(db, {exchange: last})
    return [bool(router.queues(exchange, message.routing_key)) for message in batch], set(counts)


def _numbered(db: sqlite3.Connection, batch: Sequence[Message], *, once: bool) -> list[tuple[int, Envelope, Message]]:
    """Return the messages to store, each with its position."""
    position = log_end(db)
    numbered = []
    seen: set[tuple[str, str]] = set()
    for message in batch:
        envelope = envelope_of(message)
        if once and envelope.source:
            identity = envelope.source, envelope.id
            if identity in seen or known_positions(db, *identity):
                continue
            seen.add(identity)
        position += 1
        numbered.append((position, envelope, message))
    return numbered


def trim(db: sqlite3.Connection, rows: int, now: float, *, keep_bytes: int, keep_seconds: float) -> int:
    """Remove at most `rows` of the oldest messages that exceed the limits and return how many were removed.

    The messages that a queue had not delivered yet are counted as lost there.
    """
    excess = db.execute("SELECT bytes FROM log").fetchone()[0] - keep_bytes
    doomed: list[tuple[int, str, str]] = []
    freed = 0
    for position, at, exchange, key, size in db.execute(
        "SELECT position, at, exchange, routing_key, length(body) FROM messages ORDER BY position LIMIT ?", (rows,)
    ):
        if freed >= excess and at >= now - keep_seconds:
            break
        doomed.append((position, exchange, key))
        freed += size + ROW_BYTES
    if not doomed:
        return 0
    last = doomed[-1][0]
    for queue, cursor, counted_from in db.execute(
        "SELECT queue, cursor, counted_from FROM queues WHERE cursor < ?", (last,)
    ).fetchall():
        reach = Reach.load(db, queue)
        gone = [
            position
            for position, exchange, key in doomed
            if position > cursor and reach.has(position, exchange, text_of(key))
        ]
        db.execute(
            "UPDATE queues SET cursor = ?, lost = lost + ?, taken = taken + ? WHERE queue = ?",
            (last, len(gone), sum(position > counted_from for position in gone), queue),
        )
    for queue, count in db.execute(
        "SELECT queue, count(*) FROM leases WHERE position <= ? GROUP BY queue", (last,)
    ).fetchall():
        db.execute("UPDATE queues SET lost = lost + ? WHERE queue = ?", (count, queue))
        db.execute("DELETE FROM leases WHERE queue = ? AND position <= ?", (queue, last))
    for table, column in _TRIMMED:
        db.execute(f"DELETE FROM {table} WHERE {column} <= ?", (last,))  # noqa: S608 - names from above
    db.execute("UPDATE log SET bytes = bytes - ?, trimmed_until = max(trimmed_until, ?)", (freed, last))
    return len(doomed)


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


def release_dead(db: sqlite3.Connection, log: Path, queue: int, me: int | None, now: float) -> list[str]:
    """Release the leases of the queue's consumers that died or hang, and return their tokens."""
    gone = []
    for consumer, token, seen_at in db.execute(
        "SELECT consumer, token, seen_at FROM consumers WHERE queue = ?", (queue,)
    ).fetchall():
        if consumer != me and (seen_at < now - LEASE_LIMIT_SECONDS or not is_alive(log, token)):
            forget_consumer(db, consumer)
            gone.append(token)
    return gone


def forget_consumer(db: sqlite3.Connection, consumer: int) -> None:
    """Remove a consumer; the messages that it had leased wait for redelivery."""
    db.execute("UPDATE leases SET consumer = NULL WHERE consumer = ?", (consumer,))
    db.execute("DELETE FROM consumers WHERE consumer = ?", (consumer,))


def remove_queue(db: sqlite3.Connection, queue: int) -> None:
    """Remove a queue with its bindings and leases; its dead letters stay."""
    for table in ("bindings", "leases", "consumers", "queues"):
        db.execute(f"DELETE FROM {table} WHERE queue = ?", (queue,))  # noqa: S608 - names from the line above
    db.execute("UPDATE log SET bindings_version = bindings_version + 1")


def remember_gone(db: sqlite3.Connection, name: str, now: float) -> None:
    """Record the name of a durable queue that was removed, so that its consumer is notified."""
    db.execute("INSERT OR REPLACE INTO gone_queues VALUES (?, ?)", (name, now))
    db.execute(
        "DELETE FROM gone_queues WHERE name NOT IN (SELECT name FROM gone_queues ORDER BY gone_at DESC LIMIT ?)",
        (GONE_QUEUES_MAX,),
    )


def sweep(db: sqlite3.Connection, log: Path, now: float) -> None:
    """Remove the queues that were unused for longer than their limit; a queue with a live consumer is in use."""
    db.execute("UPDATE log SET swept_at = ?", (now,))
    for queue, name, durable in db.execute(
        "SELECT queue, name, durable FROM queues WHERE used_at + expires_s < ?", (now,)
    ).fetchall():
        release_dead(db, log, queue, None, now)
        if db.execute("SELECT 1 FROM consumers WHERE queue = ?", (queue,)).fetchone():
            db.execute("UPDATE queues SET used_at = ? WHERE queue = ?", (now, queue))
            continue
        remove_queue(db, queue)
        if durable:
            remember_gone(db, name, now)
