# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the embedded log looks up of a message: source, id, type and subject, in a table beside the messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from sqlite3 import Connection
from typing import Any, NamedTuple

from sourcepulse.brokers import Message
from sourcepulse.brokers.file.tables import log_end, text_of
from sourcepulse.brokers.file.withdrawal.mentions import mentioned

#: How many messages of a log of format 1 get their envelopes with each commit.
UNREAD_ROWS = 500
#: The values of `withdrawn` beside 0: replaced by a stand-in here, and appended as one.
WITHDRAWN = 1
CAME_WITHDRAWN = 2
#: Events of these sources name bugs.
NAMES_BUGS = "bugzilla://"
#: SQLite counts in 64 bits with a sign.
_HASH_BYTES = 8


class Envelope(NamedTuple):
    """The attributes of an event by which it is found; the source is empty for what is not an event."""

    source: str
    id: str
    type: str
    subject: str | None


def hash_of(*words: str) -> int:
    """Return an integer to look up words by; who finds something compares the words themselves."""
    digest = blake2b("\0".join(words).encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest, "big", signed=True)


def envelope_of(message: Message) -> Envelope:
    """Return what the sender declared, or what the body says: a subject that is missing may have been forgotten."""
    if message.source and message.subject is not None:
        return Envelope(message.source, message.id, message.type, message.subject)
    found = read_envelope(message.body)
    if found.source:
        return found
    return Envelope(message.source, message.id, message.type, message.subject)


def read_envelope(body: bytes) -> Envelope:
    """Return the envelope of a body in either format, as far as it can be read."""
    return _envelope(attributes_of(body))


def _envelope(members: Mapping[str, Any]) -> Envelope:
    source, id_, type_, subject = (members.get(name) for name in Envelope._fields)
    if not (isinstance(source, str) and isinstance(id_, str)):
        return Envelope("", "", "", None)
    found = Envelope(
        source, id_, type_ if isinstance(type_, str) else "", subject if isinstance(subject, str) else None
    )
    try:
        "".join([source, id_, found.type, found.subject or ""]).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair, which no text of SQLite can hold and no consumer accepts.
        return Envelope("", "", "", None)
    return found


def is_stand_in(type_: str) -> bool:
    """Return whether events of a type stand in for withheld ones."""
    return type_.startswith("system.event.withheld.")


def attributes_of(body: bytes) -> dict[str, Any]:
    """Return the attributes of an event in either format; empty if the body is something else."""
    document = _document(body)
    meta = document.get("_meta")
    return meta if isinstance(meta, dict) else document


def data_of(body: bytes) -> dict[str, Any] | None:
    """Return the data of an event in either format; None if they cannot be read."""
    document = _document(body)
    data = document.get("payload" if "_meta" in document else "data")
    return data if isinstance(data, dict) else None


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def store_envelopes(db: Connection, messages: Iterable[tuple[int, Envelope, bytes]]) -> None:
    """Write the envelopes of the messages at these positions."""
    messages = list(messages)
    rows: list[tuple[object, ...]] = []
    for position, envelope, _ in messages:
        source, id_, type_, subject = envelope
        if not source:
            rows.append((position, "", "", type_, subject, None, None, 0))
            continue
        withdrawn = CAME_WITHDRAWN if is_stand_in(type_) else 0
        about = hash_of(source, subject) if subject and source.startswith(NAMES_BUGS) else None
        rows.append((position, source, id_, type_, subject, hash_of(source, id_), about, withdrawn))
    db.executemany("INSERT OR REPLACE INTO envelopes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    db.executemany(
        "INSERT OR IGNORE INTO mentions VALUES (?, ?)",
        [
            (position, hash_of(envelope.source, f"bug/{number}"))
            for position, envelope, body in messages
            if envelope.source.startswith(NAMES_BUGS)
            for number in mentioned(data_of(body) or {})
        ],
    )


def note_unread(db: Connection) -> None:
    """Mark what a program of format 1, which had the log open, appended behind the last known message."""
    end = log_end(db)
    (known,) = db.execute("SELECT known_end FROM log").fetchone()
    if end > known:
        db.execute("INSERT INTO unread VALUES (?, ?)", (known + 1, end))
        db.execute("UPDATE log SET known_end = ?", (end,))


def read_unread(db: Connection, limit: int = UNREAD_ROWS) -> list[tuple[int, Envelope]]:
    """Read and store the envelopes of the oldest messages that have none, and return them."""
    read: list[tuple[int, Envelope, bytes]] = []
    for first, last in db.execute("SELECT first, last FROM unread ORDER BY first").fetchall():
        room = limit - len(read)
        rows = db.execute(
            "SELECT position, exchange, body FROM messages WHERE position BETWEEN ? AND ? ORDER BY position LIMIT ?",
            (first, last, room),
        ).fetchall()
        read += [(position, read_envelope(raw := bytes_of(body)), raw) for position, _, body in rows]
        note_exchanges(db, {text_of(exchange): position for position, exchange, _ in rows})
        db.execute("DELETE FROM unread WHERE first = ?", (first,))
        if len(rows) == room:
            db.execute("INSERT INTO unread SELECT ?1, ?2 WHERE ?1 <= ?2", (read[-1][0] + 1, last))
            break
    store_envelopes(db, read)
    return [(position, envelope) for position, envelope, _ in read]


def note_exchanges(db: Connection, last: dict[str, int]) -> None:
    """Record the position of the last message of each exchange."""
    db.executemany(
        "INSERT INTO exchanges VALUES (?, ?) ON CONFLICT (exchange) DO UPDATE SET last = max(last, excluded.last)",
        list(last.items()),
    )


def known_positions(db: Connection, source: str, id_: str) -> list[int]:
    """Return where the log has an event, oldest first."""
    return [
        position
        for (position,) in db.execute(
            "SELECT position FROM envelopes WHERE ident = ? AND source = ? AND id = ? ORDER BY position",
            (hash_of(source, id_), source, id_),
        )
    ]


def bytes_of(body: object) -> bytes:
    """Return a stored body as bytes, even if another program stored text."""
    return body if isinstance(body, bytes) else text_of(body).encode()
