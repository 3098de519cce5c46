# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Replaces withdrawn events of the log by stand-ins, in the transaction that stores what withdraws them.

A stand-in is what the check before publishing makes of an event: `system.event.withheld.v1` with the id, the key and
the numbers, so that no reader sees a gap. What `decision.py` decides is done here to messages, queues, dead letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from sqlite3 import Connection

from sourcepulse.brokers.file.envelopes import (
    NAMES_BUGS,
    Envelope,
    attributes_of,
    bytes_of,
    data_of,
    hash_of,
    is_stand_in,
    known_positions,
    read_envelope,
    read_unread,
)
from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.tables import log_end, set_log_end, text_of
from sourcepulse.brokers.file.withdrawal.decision import Cause, cause_of, is_withdrawn, may_withdraw
from sourcepulse.brokers.file.withdrawal.mentions import without
from sourcepulse.errors import DecodeError, EventError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode, encode, encode_pulse
from sourcepulse.outbox.outbox import WITHHELD_TYPE

#: How many messages without an envelope are read at a time before something is withdrawn.
_UNREAD_ROWS = 2_000
_BUG_SUBJECT = "bug/"


def obey(db: Connection, stored: Sequence[tuple[int, Envelope]]) -> None:
    """Withdraw what messages that were just stored withdraw, by position."""
    causes = [each for each in stored if may_withdraw(each[1].type)]
    if causes:
        (unread,) = db.execute("SELECT min(first) FROM unread").fetchone()
        if unread is not None and any(position > unread for position, _ in causes):
            # What was stored by a program of format 1 has to be found as well.
            while more := read_unread(db, _UNREAD_ROWS):
                causes += [each for each in more if may_withdraw(each[1].type)]
        # Also for what was trimmed a moment ago.
        db.execute("UPDATE log SET scrub = 1")
    for position, envelope in sorted(causes):
        _obey_one(db, position, envelope)
    some = db.execute("SELECT 1 FROM envelopes WHERE withdrawn > 0 LIMIT 1").fetchone() is not None
    for position, envelope in stored:
        if envelope.source and not is_stand_in(envelope.type):
            # What was withdrawn stays so, however often it comes again.
            again = some and has_stand_in(db, envelope.source, envelope.id, _family_at(db, position))
            if again or (envelope.source.startswith(NAMES_BUGS) and _is_late(db, position, envelope)):
                _blank(db, position, [position])


def obey_late(db: Connection, read: Sequence[tuple[int, Envelope]]) -> None:
    """Withdraw what messages of a program of format 1 withdraw, which others may have passed by already.

    A position of its own, which has no message, notes that, so that every reader hears of it.
    """
    counted = "SELECT withdrawals FROM log"
    before = db.execute(counted).fetchone()
    obey(db, read)
    if db.execute(counted).fetchone() == before:
        return
    end = log_end(db) + 1
    set_log_end(db, end)
    db.execute("UPDATE log SET known_end = ?", (end,))
    noted = "UPDATE OR REPLACE withdrawals SET caused_by = ? WHERE caused_by BETWEEN ? AND ?"
    db.execute(noted, (end, read[0][0], read[-1][0]))


def has_stand_in(db: Connection, source: str, id_: str, key: str) -> bool:
    """Return whether the log has an event as a stand-in, because it was withdrawn here or before it came.

    One under the key of another family does not count, because brokers grant the right to publish by the key.
    """
    found = db.execute(
        "SELECT position FROM envelopes WHERE ident = ? AND source = ? AND id = ? AND withdrawn > 0",
        (hash_of(source, id_), source, id_),
    ).fetchall()
    return any(_family_at(db, position) == _family(key) for (position,) in found)


def _obey_one(db: Connection, position: int, envelope: Envelope) -> None:
    body, key = db.execute("SELECT body, routing_key FROM messages WHERE position = ?", (position,)).fetchone()
    cause = cause_of(envelope, data_of(bytes_of(body)))
    if cause is None:
        return
    family = _family(key)
    letters = _letters(db, family)
    if cause.id is not None:
        copies = [
            each
            for each in known_positions(db, cause.source, cause.id)
            if each < position and _family_at(db, each) == family
        ]
        same = [letter for letter, found, _, _ in letters if (found.source, found.id) == (cause.source, cause.id)]
        subjects = {found.subject for letter, found, _, _ in letters if letter in same}
        subjects |= {_envelope_at(db, each)[0].subject for each in copies}
        _blank(db, position, copies)
        _blank_letters(db, same)
        if not cause.and_subject:
            return
        cause = Cause(cause.source, frozenset(each for each in subjects if each))
    about = [each for subject in sorted(cause.subjects) for each in _about(db, cause.source, subject, position)]
    _blank(
        db, position, [*(each for each in about if _is_withdrawn(db, cause, each)), *_nameless(db, family, position)]
    )
    _blank_letters(
        db,
        [
            letter
            for letter, found, _, body in letters
            if not found.source
            or (
                found.source == cause.source
                and found.subject in cause.subjects
                and is_withdrawn(cause, found.type, data_of(body))
            )
        ],
    )
    if cause.is_whole_bug:
        for subject in sorted(cause.subjects):
            _unname(db, position, cause.source, subject, letters)


def _is_late(db: Connection, position: int, envelope: Envelope) -> bool:
    """Return whether an event comes after a notice that withdraws it, although it was sent before: a dead letter."""
    if envelope.subject is None:
        return False
    notices = db.execute(
        "SELECT position, type FROM envelopes WHERE about = ? AND withdrawn = 0 AND position < ?",
        (hash_of(envelope.source, envelope.subject), position),
    )
    for other in [other for other, type_ in notices if may_withdraw(text_of(type_))]:
        notice, body = _envelope_at(db, other)
        cause = cause_of(notice, data_of(body))
        _, own = _envelope_at(db, position)
        if (
            cause is not None
            and cause.source == envelope.source
            and envelope.subject in cause.subjects
            and _was_before(own, body)
            and is_withdrawn(cause, envelope.type, data_of(own))
        ):
            return True
    return False


def _was_before(body: bytes, other: bytes) -> bool:
    """Return whether an event has a lower number than another one of its source; in doubt it has.

    Numbers of two epochs say nothing, so there the times count.
    """
    first, second = attributes_of(body), attributes_of(other)
    # Numbers have 20 digits.
    own, others = first.get("sequence"), second.get("sequence")
    if first.get("epoch") == second.get("epoch") and isinstance(own, str) and isinstance(others, str):
        return own < others
    at, hidden_at = _seconds(first.get("time")), _seconds(second.get("time"))
    return at is None or hidden_at is None or at <= hidden_at


def _seconds(time: object) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp() if isinstance(time, str) else None
    except ValueError:
        return None


def _envelope_at(db: Connection, position: int) -> tuple[Envelope, bytes]:
    source, id_, type_, subject, body = db.execute(
        "SELECT source, id, type, subject, body FROM envelopes JOIN messages USING (position) WHERE position = ?",
        (position,),
    ).fetchone()
    return Envelope(source, id_, type_, subject), bytes_of(body)


def _about(db: Connection, source: str, subject: str, before: int) -> list[int]:
    # What is about something else than bugs is seldom withdrawn, so that no index has it.
    is_indexed, value = ("about = ?", hash_of(source, subject)) if source.startswith(NAMES_BUGS) else ("?", 1)
    rows = db.execute(
        f"SELECT position FROM envelopes WHERE {is_indexed} AND source = ? AND subject = ? AND position < ? "  # noqa: S608 - from above
        "ORDER BY position",
        (value, source, subject, before),
    )
    return [position for (position,) in rows]


def _nameless(db: Connection, family: str, before: int) -> list[int]:
    """Return the messages of a family that cannot be read: they may be about anything."""
    rows = db.execute(
        "SELECT position FROM envelopes JOIN messages USING (position) "
        "WHERE ident IS NULL AND withdrawn <> 1 AND position < ? AND (routing_key = ? OR routing_key LIKE ? || '.%')",
        (before, family, family),
    )
    return [position for (position,) in rows]


def _family_at(db: Connection, position: int) -> str:
    row = db.execute("SELECT routing_key FROM messages WHERE position = ?", (position,)).fetchone()
    return "" if row is None else _family(row[0])


def _family(key: object) -> str:
    return text_of(key).partition(".")[0]


def _is_withdrawn(db: Connection, cause: Cause, position: int) -> bool:
    envelope, body = _envelope_at(db, position)
    return is_withdrawn(cause, envelope.type, data_of(body))


def _blank(db: Connection, caused_by: int, positions: Iterable[int]) -> None:
    """Replace messages by stand-ins, and count them in the queues that would have delivered them."""
    blanked = []
    for position in positions:
        row = db.execute(
            "SELECT routing_key, body, source, id, type FROM messages JOIN envelopes USING (position) "
            "WHERE position = ? AND withdrawn <> 1",
            (position,),
        ).fetchone()
        if row is None:
            continue
        key, body, source, id_, type_ = row
        raw = stand_in(bytes_of(body), text_of(key))
        if raw == body:
            # It came as a stand-in that names nothing.
            continue
        _replace(db, position, bytes_of(body), raw)
        db.execute(
            "UPDATE envelopes SET type = ?, subject = NULL, about = NULL, withdrawn = 1 WHERE position = ?",
            (WITHHELD_TYPE if raw else type_, position),
        )
        db.execute("INSERT OR IGNORE INTO withdrawals VALUES (?, ?, ?, ?)", (caused_by, position, source, id_))
        blanked.append(position)
    if blanked:
        db.execute("UPDATE log SET withdrawals = withdrawals + ?", (len(blanked),))
        _count(db, blanked)


def stand_in(body: bytes, key: str) -> bytes:
    """Return what is kept of a withdrawn event, in the format it had; nothing if it cannot be read."""
    try:
        event = decode(body, routing_key=key)
        inner = event.data.get("type") if is_stand_in(event.type) else event.type
        return _again(event._replace(type=WITHHELD_TYPE, subject=None, data={"type": inner}), body)
    except (DecodeError, EventError):
        return b""


def _again(event: Event, former: bytes) -> bytes:
    """Write an event in the format of its former bytes."""
    meta = attributes_of(former)
    if "serializer" in meta:
        return encode_pulse(event, exchange=meta["exchange"], sent=meta["sent"])
    return encode(event)


def _replace(db: Connection, position: int, former: bytes, body: bytes) -> None:
    db.execute("UPDATE messages SET body = ? WHERE position = ?", (body, position))
    db.execute("UPDATE log SET bytes = bytes + ?, scrub = 1", (len(body) - len(former),))


def _count(db: Connection, positions: Sequence[int]) -> None:
    for queue, cursor in db.execute("SELECT queue, cursor FROM queues").fetchall():
        reach = Reach.load(db, queue)
        count = 0
        for position in positions:
            exchange, key = db.execute(
                "SELECT exchange, routing_key FROM messages WHERE position = ?", (position,)
            ).fetchone()
            waits = position > cursor and reach.has(position, exchange, text_of(key))
            held = "SELECT 1 FROM leases WHERE queue = ? AND position = ?"
            count += bool(waits or db.execute(held, (queue, position)).fetchone())
        db.execute("UPDATE queues SET withdrawn = withdrawn + ? WHERE queue = ?", (count, queue))


Letter = tuple[int, Envelope, str, bytes]


def _letters(db: Connection, family: str) -> list[Letter]:
    """Return the dead letters of a family, which outlive their messages."""
    rows = db.execute(
        "SELECT letter, routing_key, body FROM dead_letters WHERE routing_key = ? OR routing_key LIKE ? || '.%'",
        (family, family),
    ).fetchall()
    return [(letter, read_envelope(raw := bytes_of(body)), text_of(key), raw) for letter, key, body in rows]


def _blank_letters(db: Connection, letters: Iterable[int]) -> None:
    for letter in letters:
        queue, key, body = db.execute(
            "SELECT queue, routing_key, body FROM dead_letters WHERE letter = ?", (letter,)
        ).fetchone()
        raw = stand_in(bytes_of(body), text_of(key))
        if raw != body:
            # The reason may quote the event.
            db.execute("UPDATE dead_letters SET body = ?, reason = ? WHERE letter = ?", (raw, _REASON, letter))
            db.execute("UPDATE queues SET withdrawn = withdrawn + 1 WHERE name = ?", (queue,))
            db.execute("UPDATE log SET scrub = 1")


_REASON = "its content was withdrawn"


def _unname(db: Connection, caused_by: int, source: str, subject: str, letters: Sequence[Letter]) -> None:
    """Remove the number of a bug that is withdrawn from the events of other bugs."""
    number = subject.removeprefix(_BUG_SUBJECT)
    if number == subject or not number.isascii() or not number.isdigit():
        return
    rows = db.execute(
        "SELECT position, routing_key, body FROM mentions JOIN envelopes USING (position) "
        "JOIN messages USING (position) "
        "WHERE mentions.about = ? AND source = ? AND withdrawn = 0 AND position < ? ORDER BY position",
        (hash_of(source, subject), source, caused_by),
    ).fetchall()
    for position, key, body in rows:
        raw = _reduced(bytes_of(body), text_of(key), int(number))
        if raw is None:
            _blank(db, caused_by, [position])
        else:
            _replace(db, position, bytes_of(body), raw)
    for letter, found, key, body in letters:
        if found.source == source and found.subject != subject:
            raw = _reduced(body, key, int(number))
            if raw is None:
                _blank_letters(db, [letter])
            elif raw != body:
                db.execute("UPDATE dead_letters SET body = ? WHERE letter = ?", (raw, letter))
                db.execute("UPDATE log SET scrub = 1")


def _reduced(body: bytes, key: str, bug: int) -> bytes | None:
    """Return an event without the number of a bug; None if it cannot be sent without."""
    try:
        event = decode(body, routing_key=key)
        data = without(event.data, bug)
        return None if data is None else _again(event._replace(data=data), body)
    except (DecodeError, EventError):
        return None
