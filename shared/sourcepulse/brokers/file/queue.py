# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The consumers' side of the embedded log: declare a queue, lease messages, bury them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sourcepulse.brokers import SubscriptionSpec
from sourcepulse.brokers.file.log import release_dead
from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.tables import log_end, text_of
from sourcepulse.errors import SubscriptionError
from sourcepulse.events.safe_text import ascii_line
from sourcepulse.events.topics import matches

#: The most messages that one look at the log scans.
SCAN_ROWS = 1_000
#: How many dead letters a queue keeps.
DEAD_LETTERS_MAX = 1_000
#: A limit of a queue that is not reached: of its length, the age of its messages, or the time without a consumer.
UNLIMITED = 1 << 40


@dataclass(frozen=True, slots=True)
class Leased:
    """One message that is leased to a consumer."""

    position: int
    routing_key: str
    content_type: str
    body: bytes
    deliveries: int


@dataclass(frozen=True, slots=True)
class Declared:
    """A queue as its consumer finds it; `interrupted` if it lost messages since that was last reported."""

    queue: int
    created: bool
    interrupted: bool


def declare(db: sqlite3.Connection, log: Path, name: str, spec: SubscriptionSpec, now: float) -> Declared:
    """Create the queue or adapt it to the specification; SubscriptionError if its consumers prevent that."""
    end = log_end(db)
    limits = spec.limits
    row = db.execute("SELECT queue, shared FROM queues WHERE name = ?", (name,)).fetchone()
    interrupted = False
    if row is None:
        start = _start(db, spec.from_start, end)
        queue = db.execute(
            "INSERT INTO queues (name, durable, shared, cursor, counted_from, max_length, message_ttl_s, "
            "expires_s, max_deliveries, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING queue",
            (name, spec.durable, spec.shared, start, end, limits.max_length, limits.message_ttl_s,
             limits.expires_s, limits.max_deliveries, now),
        ).fetchone()[0]  # fmt: skip
        interrupted = db.execute("DELETE FROM gone_queues WHERE name = ?", (name,)).rowcount > 0
    else:
        queue, shared = row
        start = end
        release_dead(db, log, queue, None, now)
        in_use = db.execute("SELECT 1 FROM consumers WHERE queue = ?", (queue,)).fetchone()
        if bool(shared) != spec.shared and in_use:
            kind = "shared" if shared else "not shared"
            raise SubscriptionError(
                f"the queue {name!r} is in use and {kind}; end its consumers before you change that"
            )
        db.execute(
            "UPDATE queues SET shared = ?, max_length = ?, message_ttl_s = ?, expires_s = ?, "
            "max_deliveries = ?, used_at = ? WHERE queue = ?",
            (spec.shared, limits.max_length, limits.message_ttl_s, limits.expires_s, limits.max_deliveries,
             now, queue),
        )  # fmt: skip
        lost, reported, waiting = db.execute(
            "SELECT lost, lost_told, published - taken FROM queues WHERE queue = ?", (queue,)
        ).fetchone()
        interrupted = lost > reported or waiting > limits.max_length
        db.execute("UPDATE queues SET lost_told = lost WHERE queue = ?", (queue,))
    _bind(db, queue, spec.exchange, spec.patterns, after=start, end=end)
    return Declared(queue, row is None, interrupted)


def _start(db: sqlite3.Connection, from_start: bool | float, end: int) -> int:
    """Return the position behind which a new queue begins."""
    if isinstance(from_start, bool):
        return 0 if from_start else end
    # From the end, because that is nearer in most cases and there is no index.
    before = "SELECT position FROM messages WHERE at < ? ORDER BY position DESC LIMIT 1"
    row = db.execute(before, (from_start,)).fetchone()
    return row[0] if row else 0


def _bind(db: sqlite3.Connection, queue: int, exchange: str, patterns: Sequence[str], *, after: int, end: int) -> None:
    wanted = {(exchange, pattern) for pattern in patterns}
    present = set(
        db.execute("SELECT exchange, pattern FROM bindings WHERE queue = ? AND until IS NULL", (queue,)).fetchall()
    )
    # Positions that the cursor has passed need no binding any more.
    db.execute(
        "DELETE FROM bindings WHERE queue = ?1 AND until <= (SELECT cursor FROM queues WHERE queue = ?1)",
        (queue,),
    )
    if wanted == present:
        return
    db.executemany(
        "UPDATE bindings SET until = ? WHERE queue = ? AND exchange = ? AND pattern = ? AND until IS NULL",
        [(end, queue, at, pattern) for at, pattern in present - wanted],
    )
    db.executemany(
        "INSERT INTO bindings VALUES (?, ?, ?, ?, NULL)",
        [(queue, at, pattern, after) for at, pattern in sorted(wanted - present)],
    )
    db.execute("UPDATE log SET bindings_version = bindings_version + 1")


def first_waiting(db: sqlite3.Connection, queue: int, reach: Reach, scanned: int) -> tuple[bool, int]:
    """Return whether a message waits for a queue, and how far the log was scanned; only reads."""
    if db.execute("SELECT 1 FROM leases WHERE queue = ? AND consumer IS NULL LIMIT 1", (queue,)).fetchone():
        return True, scanned
    row = db.execute("SELECT cursor FROM queues WHERE queue = ?", (queue,)).fetchone()
    scanned = max(scanned, row[0] if row else 0)
    for position, exchange, key in db.execute(
        "SELECT position, exchange, routing_key FROM messages WHERE position > ? ORDER BY position LIMIT ?",
        (scanned, SCAN_ROWS),
    ):
        if reach.has(position, exchange, text_of(key)):
            return True, scanned
        scanned = position
    return False, scanned


class Lease(NamedTuple):
    """A position that is leased, and how often it was."""

    position: int
    deliveries: int


def lease(
    db: sqlite3.Connection, queue: int, consumer: int, reach: Reach, scanned: int, room: int, now: float
) -> list[Leased]:
    """Lease at most `room` messages in log order: first those to be redelivered, then those not yet delivered."""
    found = lease_positions(db, queue, consumer, reach, scanned, room, now)
    return [_load(db, position, deliveries) for position, deliveries in found]


def lease_positions(
    db: sqlite3.Connection,
    queue: int,
    consumer: int,
    reach: Reach,
    scanned: int,
    room: int,
    now: float,
    *,
    below: int = 0,
) -> list[Lease]:
    """Lease as `lease` does and return only the positions.

    What is to be redelivered at a position below `below` is leased also where there is no room: it comes before others
    that the consumer holds.
    """
    leased, more = _lease_again(db, queue, consumer, room, below)
    # No newer messages while others wait for redelivery, because they would overtake those.
    room -= len(leased)
    return leased if more else leased + _lease_new(db, queue, consumer, reach, scanned, max(0, room), now)


def _lease_again(db: sqlite3.Connection, queue: int, consumer: int, room: int, below: int) -> tuple[list[Lease], bool]:
    waiting = "SELECT position, deliveries FROM leases WHERE queue = ? AND consumer IS NULL AND position"
    found = db.execute(f"{waiting} < ? ORDER BY position", (queue, below)).fetchall() if below else []
    room = max(0, room - len(found))
    later = db.execute(f"{waiting} >= ? ORDER BY position LIMIT ?", (queue, below, room + 1)).fetchall()
    found += later[:room]
    # `deliveries` counts leases, not events that were handed over; the consumer counts those against max_deliveries.
    db.executemany(
        "UPDATE leases SET consumer = ?, deliveries = deliveries + 1 WHERE queue = ? AND position = ?",
        [(consumer, queue, position) for position, _ in found],
    )
    return [Lease(position, deliveries + 1) for position, deliveries in found], len(later) > room


def _lease_new(
    db: sqlite3.Connection, queue: int, consumer: int, reach: Reach, scanned: int, room: int, now: float
) -> list[Lease]:
    cursor, counted_from, waiting, max_length, ttl = db.execute(
        "SELECT cursor, counted_from, published - taken, max_length, message_ttl_s FROM queues WHERE queue = ?",
        (queue,),
    ).fetchone()
    excess = waiting - max_length
    position = start = max(cursor, scanned)
    lost = taken = 0
    leased: list[Lease] = []
    rows = db.execute(
        "SELECT position, at, exchange, routing_key FROM messages WHERE position > ? ORDER BY position LIMIT ?",
        (start, SCAN_ROWS),
    )
    # Read row by row, because there may be room for a few messages while a thousand wait.
    with closing(rows):
        for here, at, exchange, key in rows:
            if reach.has(here, exchange, text_of(key)):
                counted = here > counted_from
                if excess > 0 or at < now - ttl:
                    lost += 1
                    excess -= counted
                elif len(leased) >= room:
                    break
                else:
                    leased.append(Lease(here, 1))
                taken += counted
            position = here
    db.executemany("INSERT INTO leases VALUES (?, ?, ?, 1)", [(queue, item.position, consumer) for item in leased])
    if position > cursor:
        db.execute(
            "UPDATE queues SET cursor = ?, taken = taken + ?, lost = lost + ?, used_at = ? WHERE queue = ?",
            (position, taken, lost, now, queue),
        )
    return leased


def load_again(db: sqlite3.Connection, leased: Iterable[Leased]) -> list[Leased]:
    """Return leased messages as the log has them now, without those that were trimmed, which counts them as lost."""
    is_kept = "SELECT 1 FROM messages WHERE position = ?"
    return [
        _load(db, item.position, item.deliveries) for item in leased if db.execute(is_kept, (item.position,)).fetchone()
    ]


def _load(db: sqlite3.Connection, position: int, deliveries: int) -> Leased:
    key, content_type, body = db.execute(
        "SELECT routing_key, content_type, body FROM messages WHERE position = ?", (position,)
    ).fetchone()
    raw = body if isinstance(body, bytes) else text_of(body).encode()
    return Leased(position, text_of(key), ascii_line(text_of(content_type)), raw, deliveries)


def bury(db: sqlite3.Connection, queue: int, position: int, reason: str, now: float) -> None:
    """Move a leased message to the queue's dead letters."""
    db.execute(
        "INSERT INTO dead_letters (queue, position, at, exchange, routing_key, content_type, body, deliveries, "
        "dead_at, reason) SELECT name, position, at, exchange, routing_key, content_type, body, deliveries, ?, ? "
        "FROM leases JOIN messages USING (position) JOIN queues USING (queue) WHERE queue = ? AND position = ?",
        (now, reason, queue, position),
    )
    db.execute("DELETE FROM leases WHERE queue = ? AND position = ?", (queue, position))
    db.execute(
        "DELETE FROM dead_letters WHERE queue = (SELECT name FROM queues WHERE queue = ?1) AND letter NOT IN "
        "(SELECT letter FROM dead_letters WHERE queue = (SELECT name FROM queues WHERE queue = ?1) "
        "ORDER BY letter DESC LIMIT ?2)",
        (queue, DEAD_LETTERS_MAX),
    )


def lease_delivered(db: sqlite3.Connection, queue: int, positions: Sequence[int], now: float) -> int:
    """Return delivered messages to their queue, to be leased in log order before newer ones; how many were returned.

    Those that the log has no longer, that are still to be delivered, or that were withdrawn are left out.
    """
    note_use(db, queue, now)
    # The first scan of a position behind the cursor leases it, which a lease from here would prevent.
    return db.execute(
        "INSERT OR IGNORE INTO leases SELECT ?1, m.position, NULL, 0 FROM json_each(?2) AS asked "
        "CROSS JOIN messages AS m ON m.position = asked.value CROSS JOIN envelopes AS e ON e.position = asked.value "
        "WHERE e.withdrawn = 0 AND m.position <= (SELECT cursor FROM queues WHERE queue = ?1)",
        (queue, json.dumps(list(positions))),
    ).rowcount


def note_use(db: sqlite3.Connection, queue: int, now: float) -> None:
    """Record that something was returned to a queue; a consumer of many queues finds this one by it."""
    db.execute("UPDATE queues SET used_at = ? WHERE queue = ?", (now, queue))


def beyond_reach(db: sqlite3.Connection, queue: int, after: int) -> list[int]:
    """Return what a queue's present patterns match behind a position, but are bound too late for; only reads.

    Not before the cursor: what was passed there is returned by `lease_delivered`.
    """
    start = max(after, _cursor_of(db, queue)[0])
    late = "FROM bindings WHERE queue = ? AND until IS NULL AND after > ?"
    patterns = db.execute(f"SELECT exchange, pattern {late}", (queue, start)).fetchall()
    if not patterns:
        return []
    reach = Reach.load(db, queue)
    known: dict[tuple[str, str], bool] = {}
    found = []
    for position, exchange, key in db.execute(
        "SELECT position, exchange, routing_key FROM messages WHERE position > ? ORDER BY position", (start,)
    ):
        is_late = known.get((exchange, key))
        if is_late is None:
            name = text_of(key)
            is_late = any(at == exchange and matches(pattern, name) for at, pattern in patterns)
            known[exchange, key] = is_late
        if is_late and not reach.has(position, exchange, text_of(key)):
            found.append(position)
    return found


def widen(db: sqlite3.Connection, queue: int, after: int, beyond: Sequence[int]) -> int:
    """Bind a queue's present patterns from an earlier position on, and return how many more messages that reaches.

    `beyond` is what `beyond_reach` returned; the bindings must be the same since, because nothing is scanned here.
    """
    cursor, counted_from = _cursor_of(db, queue)
    start = max(cursor, after)
    more = [position for position in beyond if position > start]
    late = db.execute(
        "UPDATE bindings SET after = ? WHERE queue = ? AND until IS NULL AND after > ?", (start, queue, start)
    ).rowcount
    if late:
        counted = sum(position > counted_from for position in more)
        db.execute("UPDATE queues SET published = published + ? WHERE queue = ?", (counted, queue))
        db.execute("UPDATE log SET bindings_version = bindings_version + 1")
    return len(more)


def _cursor_of(db: sqlite3.Connection, queue: int) -> tuple[int, int]:
    """Return the cursor of a queue, and the position up to which nothing is counted."""
    cursor, counted_from = db.execute("SELECT cursor, counted_from FROM queues WHERE queue = ?", (queue,)).fetchone()
    return cursor, counted_from
