# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The publishers' side of the embedded log: append, count each queue's messages, trim, remove unused queues."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from sourcepulse.brokers import Message
from sourcepulse.brokers.file.dead_consumers import is_alive
from sourcepulse.brokers.file.envelopes import (
    Envelope,
    envelope_of,
    is_stand_in,
    known_positions,
    note_exchanges,
    note_unread,
    read_unread,
    store_envelopes,
)
from sourcepulse.brokers.file.routes import Router
from sourcepulse.brokers.file.tables import log_end, text_of
from sourcepulse.brokers.file.withdrawal.blanking import has_stand_in, obey, obey_late

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

#: What goes with a message that is trimmed.
_TRIMMED = (
    ("messages", "position"),
    ("envelopes", "position"),
    ("mentions", "position"),
    ("withdrawals", "caused_by"),
)


def append(
    db: sqlite3.Connection, router: Router, exchange: str, batch: Sequence[Message], now: float, *, once: bool = False
) -> tuple[list[bool], set[int]]:
    """Append a batch in order; return for each message whether a queue is bound to its key, and all these queues.

    With `once`, a message whose source and id the log has is not stored again, unless it withdraws what the log has.
    """
    note_unread(db)
    obey_late(db, read_unread(db))
    stored = _numbered(db, batch, once=once)
    db.executemany(
        "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?)",
        [
            (position, now, exchange, message.routing_key, message.content_type, message.body)
            for position, _, message in stored
        ],
    )
    store_envelopes(db, [(position, envelope, message.body) for position, envelope, message in stored])
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
    obey(db, [(position, envelope) for position, envelope, _ in stored])
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
            known = known_positions(db, *identity)
            withdraws = known and is_stand_in(envelope.type) and not has_stand_in(db, *identity, message.routing_key)
            if identity in seen or (known and not withdraws):
                continue
            seen.add(identity)
        position += 1
        numbered.append((position, envelope, message))
    return numbered


def trim(
    db: sqlite3.Connection,
    rows: int,
    now: float,
    *,
    keep_bytes: int,
    keep_seconds: float,
    router: Router | None = None,
) -> int:
    """Remove at most `rows` of the oldest messages that exceed the limits and return how many were removed.

    The messages that a queue had not delivered yet are counted as lost there. A router that was loaded before spares
    reading the bindings.
    """
    size, trimmed = db.execute("SELECT bytes, trimmed_until FROM log").fetchone()
    doomed: list[tuple[int, str, str]] = []
    freed = 0
    for position, at, exchange, key, length in db.execute(
        "SELECT position, at, exchange, routing_key, length(body) FROM messages WHERE position > ? "
        "ORDER BY position LIMIT ?",
        (trimmed, rows),
    ):
        if freed >= size - keep_bytes and at >= now - keep_seconds:
            break
        doomed.append((position, exchange, key))
        freed += length + ROW_BYTES
    if doomed:
        last = doomed[-1][0]
        _pass_over(db, doomed, router)
        _remove(db, trimmed + 1, last)
        db.execute("UPDATE log SET bytes = bytes - ?, trimmed_until = ?", (freed, last))
    return len(doomed) + _trim_restored(db, rows, trimmed, now - keep_seconds)


def _trim_restored(db: sqlite3.Connection, rows: int, trimmed: int, since: float) -> int:
    """Remove the former dead letters that were brought back long ago, among what was trimmed."""
    old = db.execute(
        "SELECT position, length(body) FROM messages WHERE position <= ? AND at < ? ORDER BY position LIMIT ?",
        (trimmed, since, rows),
    ).fetchall()
    for position, length in old:
        _remove(db, position, position)
        db.execute("UPDATE log SET bytes = bytes - ?", (length + ROW_BYTES,))
    return len(old)


def _pass_over(db: sqlite3.Connection, doomed: Sequence[tuple[int, str, str]], router: Router | None) -> None:
    """Move the cursors of the queues behind messages that are removed."""
    last = doomed[-1][0]
    behind = db.execute("SELECT queue, cursor, counted_from FROM queues WHERE cursor < ?", (last,)).fetchall()
    if not behind:
        return
    gone: dict[int, list[int]] = {queue: [] for queue, _, _ in behind}
    router = Router.load(db, router)
    for position, exchange, key in doomed:
        for queue in {span.queue for span in router.spans(exchange, text_of(key)) if span.has(position)}:
            if queue in gone:
                gone[queue].append(position)
    for queue, cursor, counted_from in behind:
        lost = [position for position in gone[queue] if position > cursor]
        db.execute(
            "UPDATE queues SET cursor = ?, lost = lost + ?, taken = taken + ? WHERE queue = ?",
            (last, len(lost), sum(position > counted_from for position in lost), queue),
        )


def _remove(db: sqlite3.Connection, first: int, last: int) -> None:
    """Remove a range of messages with their leases and all that is known of them."""
    # Queue by queue, because there is no index by position alone, and consumers may hold very many.
    for queue, count in db.execute(
        "SELECT queue, count(*) FROM queues CROSS JOIN leases USING (queue) WHERE position BETWEEN ? AND ? "
        "GROUP BY queue",
        (first, last),
    ).fetchall():
        db.execute("UPDATE queues SET lost = lost + ? WHERE queue = ?", (count, queue))
        db.execute("DELETE FROM leases WHERE queue = ? AND position BETWEEN ? AND ?", (queue, first, last))
    for table, column in _TRIMMED:
        db.execute(f"DELETE FROM {table} WHERE {column} BETWEEN ? AND ?", (first, last))  # noqa: S608 - names from above


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
    # A consumer has one queue, and only by its queue are leases found without reading those of all others.
    db.execute(
        "UPDATE leases SET consumer = NULL WHERE queue = (SELECT queue FROM consumers WHERE consumer = ?1) "
        "AND consumer = ?1",
        (consumer,),
    )
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
