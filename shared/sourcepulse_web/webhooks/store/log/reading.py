# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is read of the log for hooks: an event, those that wait, those set aside, figures, what matches topics.

Each function reads in a transaction of the caller.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from sqlite3 import Connection

from sourcepulse.brokers.file.envelopes import bytes_of, read_envelope
from sourcepulse.brokers.file.tables import log_end, text_of
from sourcepulse.events.topics import matches
from sourcepulse_web.webhooks.errors import QueueMissingError
from sourcepulse_web.webhooks.hook import queue_of
from sourcepulse_web.webhooks.store.records import Held, Loaded, Matches, SetAside

#: How many of the last messages are looked at for those that match.
MATCHES_ROWS = 200_000


def queue_number(db: Connection, name: str) -> int:
    """Return the number of a hook's queue; QueueMissingError if the log has none."""
    row = db.execute("SELECT queue FROM queues WHERE name = ?", (queue_of(name),)).fetchone()
    if row is None:
        raise QueueMissingError(f"the log has no queue {queue_of(name)}; the sender declares it again")
    return int(row[0])


def held_at(db: Connection, positions: Sequence[int]) -> list[Held]:
    """Return the events at some positions, lowest first."""
    rows = db.execute(
        "SELECT m.position, e.source, e.id, e.type, m.routing_key, m.at FROM json_each(?) AS asked "
        "CROSS JOIN messages AS m ON m.position = asked.value CROSS JOIN envelopes AS e ON e.position = asked.value "
        "ORDER BY m.position",
        (json.dumps(positions),),
    )
    return [Held(position, source, id_, type_, text_of(key), at) for position, source, id_, type_, key, at in rows]


def loaded_at(db: Connection, position: int) -> Loaded | None:
    """Return the event at a position as the log has it now; None if it was trimmed."""
    row = db.execute(
        "SELECT body, routing_key, content_type, type, withdrawn FROM messages JOIN envelopes USING (position) "
        "WHERE position = ?",
        (position,),
    ).fetchone()
    if row is None:
        return None
    body, key, content_type, type_, withdrawn = row
    return Loaded(bytes_of(body), text_of(key), text_of(content_type), type_, withdrawn != 0)


def set_aside_of(db: Connection, name: str, letter: int | None = None) -> list[SetAside]:
    """Return the events of a hook that were set aside, or one of them, oldest first."""
    rows = db.execute(
        "SELECT letter, dead_letters.position, dead_letters.at, dead_letters.routing_key, dead_at, reason, "
        "dead_letters.body FROM dead_letters WHERE queue = ? AND (?2 IS NULL OR letter = ?2) ORDER BY letter",
        (queue_of(name), letter),
    ).fetchall()
    found = []
    for number, position, at, key, dead_at, reason, body in rows:
        envelope = read_envelope(bytes_of(body))
        found.append(
            SetAside(
                number, position, envelope.source, envelope.id, envelope.type, text_of(key), at, dead_at,
                text_of(reason), envelope.type.startswith("system.event.withheld."),
            )
        )  # fmt: skip
    return found


def position_before(db: Connection, at: float) -> int:
    """Return the position behind which all was appended at or after a time; where the clock went back, also less."""
    # From the end, because that is nearer in most cases and there is no index.
    row = db.execute(
        "SELECT position FROM messages WHERE at < ? AND position > (SELECT trimmed_until FROM log) "
        "ORDER BY position DESC LIMIT 1",
        (at,),
    ).fetchone()
    if row is not None:
        return int(row[0])
    return int(db.execute("SELECT trimmed_until FROM log").fetchone()[0])


def matches_since(db: Connection, exchange: str, topics: Sequence[str], since: float) -> Matches:
    """Return how many of the last events of an exchange have a key that matches one of the topics."""
    end = log_end(db)
    start = position_before(db, since)
    bounded = max(start, end - MATCHES_ROWS)
    keys = db.execute(
        "SELECT routing_key, count(*) FROM messages WHERE position > ? AND exchange = ? GROUP BY routing_key",
        (bounded, exchange),
    )
    count = sum(number for key, number in keys if any(matches(topic, text_of(key)) for topic in topics))
    return Matches(count, more=bounded > start)


def withdrawals_after(db: Connection, after: int) -> tuple[str, int, list[tuple[str, str]]]:
    """Return the token of the log, its end, and the source and id of each event that was withdrawn after a position."""
    (token,) = db.execute("SELECT token FROM log").fetchone()
    rows = db.execute("SELECT DISTINCT source, id FROM withdrawals WHERE caused_by > ?", (after,)).fetchall()
    return token, log_end(db), rows
