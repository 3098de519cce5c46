# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is read of the log for hooks: an event, those that wait, those set aside, figures, what matches topics.

Each function reads in a transaction of the caller.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import inf
from sqlite3 import Connection

from sourcepulse.brokers.file.envelopes import bytes_of, is_stand_in, read_envelope
from sourcepulse.brokers.file.queue import UNLIMITED
from sourcepulse.brokers.file.reader import Row
from sourcepulse.brokers.file.routes import PatternTree, Span
from sourcepulse.brokers.file.tables import log_end, text_of
from sourcepulse.brokers.file.upkeep import is_unread
from sourcepulse.brokers.file.withdrawal.decision import hides_bug
from sourcepulse_web.webhooks.errors import QueueMissingError
from sourcepulse_web.webhooks.hook import QUEUE_PREFIX, queue_of
from sourcepulse_web.webhooks.store.records import Held, Loaded, Matches, Recalled, SetAside, Withdrawn

#: How many of the last messages are looked at for those that match.
MATCHES_ROWS = 200_000
#: How many leases are looked at for those of one source.
RECALL_ROWS = 5_000
#: What the subject of an event about a bug begins with.
BUG_SUBJECT = "bug/"


def queue_number(db: Connection, name: str) -> int:
    """Return the number of a hook's queue; QueueMissingError if the log has none."""
    row = db.execute("SELECT queue FROM queues WHERE name = ?", (queue_of(name),)).fetchone()
    if row is None:
        raise QueueMissingError(f"the log has no queue {queue_of(name)}; the sender declares it again")
    return int(row[0])


def topics_of(db: Connection, name: str) -> tuple[str, ...] | None:
    """Return the patterns to which a hook's queue is bound, by name; None if the log has no such queue."""
    row = db.execute("SELECT queue FROM queues WHERE name = ?", (queue_of(name),)).fetchone()
    if row is None:
        return None
    patterns = db.execute(
        "SELECT DISTINCT pattern FROM bindings WHERE queue = ? AND until IS NULL ORDER BY pattern", row
    )
    return tuple(text_of(pattern) for (pattern,) in patterns)


def unused_names(db: Connection, before: float) -> set[str]:
    """Return the hooks whose queues no process used since a time."""
    rows = db.execute(
        "SELECT name FROM queues WHERE substr(name, 1, ?) = ? AND expires_s = ? AND used_at < ?",
        (len(QUEUE_PREFIX), QUEUE_PREFIX, UNLIMITED, before),
    )
    return {text_of(name).removeprefix(QUEUE_PREFIX) for (name,) in rows}


def held_at(db: Connection, positions: Sequence[int]) -> list[Held]:
    """Return the events at some positions, lowest first."""
    rows = db.execute(
        "SELECT m.position, e.source, e.id, e.type, m.routing_key, m.at FROM json_each(?) AS asked "
        "CROSS JOIN messages AS m ON m.position = asked.value CROSS JOIN envelopes AS e ON e.position = asked.value "
        "ORDER BY m.position",
        (json.dumps(positions),),
    )
    return [Held(position, source, id_, type_, text_of(key), at) for position, source, id_, type_, key, at in rows]


def recalled(db: Connection, queue: int, consumer: int, source: str, first: int, room: int) -> Recalled:
    """Return at most `room` events of a source that are leased to a consumer, from a position on."""
    rows = db.execute(
        "SELECT l.position, e.source FROM leases AS l CROSS JOIN envelopes AS e ON e.position = l.position "
        "WHERE l.queue = ? AND l.consumer = ? AND l.position >= ? ORDER BY l.position LIMIT ?",
        (queue, consumer, first, RECALL_ROWS),
    ).fetchall()
    found = [position for position, its in rows if its == source]
    if len(found) > room:
        return Recalled(held_at(db, found[:room]), found[room])
    return Recalled(held_at(db, found), rows[-1][0] + 1 if len(rows) == RECALL_ROWS else None)


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
                text_of(reason), is_stand_in(envelope.type),
            )
        )  # fmt: skip
    return found


def rows_at(db: Connection, positions: Sequence[int]) -> Iterator[Row]:
    """Yield the events at some positions, as far as the log has them; stand-ins of both kinds are withdrawn."""
    rows = db.execute(
        "SELECT m.position, m.at, m.routing_key, m.content_type, m.body, e.source, e.id, e.type, e.subject, "
        "e.withdrawn FROM json_each(?) AS asked CROSS JOIN messages AS m ON m.position = asked.value "
        "CROSS JOIN envelopes AS e ON e.position = asked.value",
        (json.dumps(positions),),
    )
    for position, at, key, content_type, body, source, id_, type_, subject, withdrawn in rows:
        yield Row(
            position, at, text_of(key), type_, source, subject, id_, text_of(content_type), bytes_of(body),
            withdrawn != 0 or is_stand_in(type_),
        )  # fmt: skip


def letters_at(db: Connection, name: str, letters: Sequence[int]) -> Iterator[tuple[int, Row]]:
    """Yield events that a hook has set aside, with their letters: they are kept also when the log removed them."""
    rows = db.execute(
        "SELECT letter, position, at, routing_key, content_type, body FROM dead_letters WHERE queue = ? "
        "AND letter IN (SELECT value FROM json_each(?))",
        (queue_of(name), json.dumps(letters)),
    )
    for letter, position, at, key, content_type, body in rows:
        raw = bytes_of(body)
        source, id_, type_, subject = read_envelope(raw)
        withdrawn = not source or is_stand_in(type_)
        yield (
            letter,
            Row(position, at, text_of(key), type_, source, subject, id_, text_of(content_type), raw, withdrawn),
        )


def oldest_at(db: Connection) -> float:
    """Return when the oldest event was appended that is there, also of those set aside; infinite without any."""
    rows = db.execute(
        "SELECT (SELECT at FROM messages ORDER BY position LIMIT 1) UNION ALL SELECT min(at) FROM dead_letters"
    ).fetchall()
    return min((at for (at,) in rows if at is not None), default=inf)


def position_before(db: Connection, at: float, floor: int = 0) -> int:
    """Return the last position, above a floor, that was appended before a time; else the floor or the trimmed end."""
    # From the end, because that is nearer in most cases and there is no index.
    first = "max(?, (SELECT trimmed_until FROM log))"
    row = db.execute(
        f"SELECT position FROM messages WHERE at < ? AND position > {first} ORDER BY position DESC LIMIT 1",  # noqa: S608 - from above
        (at, floor),
    ).fetchone()
    return int((row or db.execute(f"SELECT {first}", (floor,)).fetchone())[0])


def matches_since(db: Connection, exchange: str, topics: Sequence[str], since: float) -> Matches:
    """Return how many of the last events of an exchange would be POSTed to a hook of these topics.

    What was withdrawn is not counted, because even its number says something of what is not public any more; nor is
    what the log has not read yet.
    """
    floor = log_end(db) - MATCHES_ROWS
    start = position_before(db, since, floor)
    tree = PatternTree()
    for topic in topics:
        tree.add(topic, Span(0, 0, None))
    keys = db.execute(
        "SELECT m.routing_key, e.type, count(*) FROM messages AS m JOIN envelopes AS e USING (position) "
        "WHERE m.position > ? AND m.exchange = ? AND e.withdrawn = 0 GROUP BY m.routing_key, e.type",
        (start, exchange),
    )
    count = sum(number for key, type_, number in keys if not is_stand_in(type_) and tree.find(text_of(key)))
    (trimmed,) = db.execute("SELECT trimmed_until FROM log").fetchone()
    return Matches(count, more=start == floor > trimmed)


def withdrawn_since(db: Connection, token: str, after: int) -> Withdrawn:
    """Return what was withdrawn behind a position; all of it if the token is that of another log."""
    own, known_end = db.execute("SELECT token, known_end FROM log").fetchone()
    if own != token:
        after = 0
    if is_unread(db):
        # Nothing is known of some messages, for now.
        return Withdrawn(own, after, (), ())
    events = db.execute("SELECT DISTINCT source, id FROM withdrawals WHERE caused_by > ?", (after,)).fetchall()
    bugs = [
        (source, subject.removeprefix(BUG_SUBJECT))
        for source, subject, type_ in db.execute(
            "SELECT source, subject, type FROM envelopes WHERE position > ? AND withdrawn = 0 AND subject LIKE 'bug/%'",
            (after,),
        )
        if hides_bug(type_)
    ]
    return Withdrawn(own, known_end, tuple(events), tuple(bugs))
