# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read an outbox for people and monitors: lists, single events, statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from sqlite3 import Connection, Cursor
from typing import Any, NamedTuple

from sourcepulse.errors import NothingThereError
from sourcepulse.events.event import PUBLIC, RESTRICTED, format_time, stream_of
from sourcepulse.events.topics import matches
from sourcepulse.outbox.delivery_state import failures_by_reason, is_sent, last_reason, rate, unroutable_since
from sourcepulse.outbox.outbox import BURIED, DELIVERED, PENDING, Outbox
from sourcepulse.outbox.problems import PROBLEMS, collect_errors, metrics_errors
from sourcepulse.outbox.tables import kept, note, notes

STATES = (PENDING, DELIVERED, BURIED)

_COLUMNS = (
    "e.position, e.id, e.stream, e.source, e.type, e.subject, e.time, e.routing_key, e.epoch, e.sequence, "
    "e.typesequence, e.state, e.reason, e.stored_at, e.settled_at, length(b.body) AS bytes"
)
_NUMBERS = "SELECT source, epoch, last FROM numbers WHERE type = '' ORDER BY source, epoch"

#: How many buried events are looked at for the last confirmed number of their source.
BURIED_MAX = 10_000
#: The periods over which the rate of delivery is reported.
RATE_SECONDS = (60, 300)
#: The figures of a stream that was never delivered, in the order of the query.
_NO_DELIVERY = (None, 0, 0, 0, 0, None, None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A filter for events; each member that is set narrows it.

    `since` and `until` limit the time of storing, in seconds since 1970; `topic` is a routing pattern; `after` is a
    position.
    """

    state: str | None = None
    source: str | None = None
    type: str | None = None
    topic: str | None = None
    ids: Sequence[str] = ()
    since: float | None = None
    until: float | None = None
    stored: bool | None = None
    after: int | None = None


def rows(outbox: Outbox, selection: Selection, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Return events in the order of storing, each as `outbox list --json` prints it."""
    where, values = _conditions(selection)
    found: list[dict[str, Any]] = []
    with outbox.reading() as db:
        query = f"SELECT {_COLUMNS} FROM events e LEFT JOIN bodies b USING (position) {where} ORDER BY e.position"  # noqa: S608 - made of constants
        for row in _rows(db.execute(query, values)):
            if selection.topic is not None and not matches(selection.topic, row["routing_key"]):
                continue
            found.append(row)
            if limit is not None and len(found) >= limit:
                break
    return found


def find(outbox: Outbox, name: str) -> dict[str, Any]:
    """Return one event by its id, an id prefix, or its position; NothingThereError if there is none."""
    found: list[dict[str, Any]] = []
    with outbox.reading() as db:
        query = f"SELECT {_COLUMNS} FROM events e LEFT JOIN bodies b USING (position) WHERE "  # noqa: S608 - made of constants
        if name.isascii() and name.isdecimal() and len(name) < 19:
            found = list(_rows(db.execute(query + "e.position = ?", (int(name),))))
        if not found and name:
            found = list(_rows(db.execute(query + "e.id >= ? AND e.id < ? LIMIT 2", (name, name + "g"))))
    if not found:
        raise NothingThereError(f"the outbox {outbox.path} has no event {name!r}")
    if len(found) > 1:
        raise NothingThereError(f"several ids begin with {name!r}; use more characters of the id")
    return found[0]


def body(outbox: Outbox, position: int) -> bytes:
    """Return an event's bytes as sent; NothingThereError if they have expired."""
    with outbox.reading() as db:
        row = db.execute("SELECT body FROM bodies WHERE position = ?", (position,)).fetchone()
        why = db.execute("SELECT reason FROM events WHERE position = ?", (position,)).fetchone()
    if row is None:
        reason = f"is missing: {why[0]}" if why and why[0] else "has expired"
        raise NothingThereError(f"the payload of the event at position {position} {reason}")
    return bytes(row[0])


def last_events(outbox: Outbox, source: str, *, limit: int, limit_bytes: int) -> list[tuple[int, str, bytes]]:
    """Return position, routing key and bytes of the newest events of a source, oldest first, within both limits."""
    found: list[tuple[int, str, bytes]] = []
    left = limit_bytes
    with outbox.reading() as db:
        for position, routing_key, raw in db.execute(
            "SELECT e.position, e.routing_key, b.body FROM events e JOIN bodies b USING (position) "
            "WHERE e.source = ? ORDER BY e.position DESC LIMIT ?",
            (source, limit),
        ):
            left -= len(raw)
            if left < 0:
                break
            found.append((position, routing_key, bytes(raw)))
    return found[::-1]


def figures(outbox: Outbox) -> dict[str, Any]:
    """Return the state of the whole outbox as `status --json` prints it."""
    with outbox.reading() as db:
        epoch = note(db, "epoch")
        problems = [_problem(*row) for row in notes(db, PROBLEMS).items()]
        # Read before what is pending: a number that is assigned meanwhile must not count as confirmed.
        numbers = db.execute(_NUMBERS).fetchall()
        unsent = _Unsent(_pending(db), *_buried(db), outbox.now())
        streams = {stream: _stream_figures(db, stream, unsent) for stream in (PUBLIC, RESTRICTED)}
        sources = [_source_figures(source, its, last, unsent) for source, its, last in numbers]
        origins = [
            {
                "kind": kind,
                "location": location,
                "last_seen_at": format_time(seen),
                "last_report": json.loads(report) if report else None,
            }
            for kind, location, seen, report in db.execute(
                "SELECT kind, location, last_seen_at, last_report FROM origins ORDER BY kind, location"
            )
        ]
        errors = {"collect_errors": collect_errors(db), "metrics_file_errors": metrics_errors(db)}
        (replays,) = db.execute("SELECT count(*) FROM replays").fetchone()
        payloads, payload_bytes = kept(db)
    return {
        "outbox": str(outbox.path),
        "epoch": epoch,
        "problems": problems,
        "streams": streams,
        "replays_requested": replays,
        "payloads_kept": payloads,
        "payload_bytes_kept": payload_bytes,
        "sources": sources,
        "origins": origins,
        **errors,
    }


class _Pending(NamedTuple):
    """The pending events of a source in an epoch: how many, when the oldest was stored, and its number."""

    number: int
    since: float
    sequence: int


class _Unsent(NamedTuple):
    """What is pending and how much is buried, by source and epoch, at a time."""

    pending: Mapping[tuple[str, str], _Pending]
    buried: Mapping[tuple[str, str], int]
    #: The source, the epoch and the number of each of the last buried events.
    buried_numbers: Set[tuple[str, str, int]]
    now: float

    def age_s(self, since: float | None) -> int | None:
        return None if since is None else max(0, round(self.now - since))


def _pending(db: Connection) -> dict[tuple[str, str], _Pending]:
    """Read what is pending; of most events only the index is read."""
    found: dict[tuple[str, str], _Pending] = {}
    for source, count, first, last in db.execute(
        "SELECT source, count(*), min(position), max(position) FROM events WHERE state = 'pending' "
        "GROUP BY stream, source"
    ).fetchall():
        row = "SELECT epoch, stored_at, sequence FROM events WHERE position = ?"
        oldest, newest = (db.execute(row, (position,)).fetchone() for position in (first, last))
        if oldest[0] == newest[0]:
            found[source, oldest[0]] = _Pending(count, oldest[1], oldest[2])
            continue
        # Events of a former epoch wait since a repair.
        for epoch, number, since, sequence in db.execute(
            "SELECT epoch, count(*), min(stored_at), min(sequence) FROM events "
            "WHERE state = 'pending' AND stream = ? AND source = ? GROUP BY epoch",
            (stream_of(source), source),
        ):
            found[source, epoch] = _Pending(number, since, sequence)
    return found


def _buried(db: Connection) -> tuple[dict[tuple[str, str], int], set[tuple[str, str, int]]]:
    """Read how many events of each source are buried, and the numbers of the last ones."""
    query = "SELECT source, epoch, count(*) FROM events WHERE state = 'buried' GROUP BY source, epoch"
    counts = {(source, epoch): count for source, epoch, count in db.execute(query)}
    last = "SELECT source, epoch, sequence FROM events WHERE state = 'buried' ORDER BY position DESC LIMIT ?"
    return counts, set(db.execute(last, (BURIED_MAX,)))


def _source_figures(source: str, epoch: str, last: int, unsent: _Unsent) -> dict[str, Any]:
    pending = unsent.pending.get((source, epoch))
    confirmed = last if pending is None else max(0, min(last, pending.sequence - 1))
    while (source, epoch, confirmed) in unsent.buried_numbers:
        confirmed -= 1
    return {
        "source": source,
        "stream": stream_of(source),
        "epoch": epoch,
        "sequence": last,
        "confirmed": confirmed,
        "pending": 0 if pending is None else pending.number,
        "oldest_pending_age_s": unsent.age_s(None if pending is None else pending.since),
        "buried": unsent.buried.get((source, epoch), 0),
    }


def _stream_figures(db: Connection, stream: str, unsent: _Unsent) -> dict[str, Any]:
    pending = [each for (source, _), each in unsent.pending.items() if stream_of(source) == stream]
    buried = [number for (source, _), number in unsent.buried.items() if stream_of(source) == stream]
    row = db.execute(
        "SELECT broker, delivered, unroutable, replayed, failures, next_attempt_at, last_error, last_error_at, "
        "last_delivery_at FROM deliveries WHERE stream = ?",
        (stream,),
    ).fetchone()
    broker, delivered, unroutable, replayed, failures, next_at, error, error_at, delivery_at = row or _NO_DELIVERY
    return {
        "broker": broker,
        "is_sent": is_sent(db, stream),
        "pending": sum(each.number for each in pending),
        "oldest_pending_age_s": unsent.age_s(min((each.since for each in pending), default=None)),
        "buried": sum(buried),
        "delivered": delivered,
        **{f"rate_{period_s}s": rate(db, stream, delivered, unsent.now, period_s) for period_s in RATE_SECONDS},
        "unroutable": unroutable,
        "unroutable_since": _moment(unroutable_since(db, stream)),
        "replayed": replayed,
        "failures": failures,
        "next_attempt_at": _moment(next_at),
        "last_error": error,
        "last_error_reason": last_reason(db, stream),
        "last_error_at": _moment(error_at),
        "last_delivery_at": _moment(delivery_at),
        "failures_by_reason": failures_by_reason(db, stream),
    }


def count_buried(db: Connection, stream: str) -> int:
    """Return how many events of a stream are buried."""
    (buried,) = db.execute("SELECT count(*) FROM events WHERE state = 'buried' AND stream = ?", (stream,)).fetchone()
    return int(buried)


def _problem(key: str, value: str) -> dict[str, Any]:
    problem = json.loads(value)
    name = key.removeprefix(PROBLEMS).partition(" ")[0]
    return {"name": name, "message": problem["message"], "since": format_time(problem["since"])}


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(seconds)


def _conditions(selection: Selection) -> tuple[str, list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for condition, value in (
        ("e.state = ?", selection.state),
        ("e.source = ?", selection.source),
        ("e.stored_at >= ?", selection.since),
        ("e.stored_at <= ?", selection.until),
        ("e.position > ?", selection.after),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if selection.type is not None:
        # A type without a version matches all versions.
        versioned = selection.type.rpartition(".v")[2].isdecimal()
        conditions.append("e.type = ?" if versioned else "(e.type = ? OR e.type GLOB ? || '.v[0-9]*')")
        values.extend([selection.type] * (1 if versioned else 2))
    if selection.ids:
        conditions.append(f"e.id IN ({', '.join('?' * len(selection.ids))})")
        values.extend(selection.ids)
    if selection.stored is not None:
        conditions.append(f"b.body IS {'NOT ' if selection.stored else ''}NULL")
    return ("WHERE " + " AND ".join(conditions) if conditions else ""), values


def _rows(cursor: Cursor) -> Iterator[dict[str, Any]]:
    names = [column[0] for column in cursor.description]
    for values in cursor:
        row = dict(zip(names, values, strict=True))
        yield row | {"stored_at": format_time(row["stored_at"]), "settled_at": _moment(row["settled_at"])}
