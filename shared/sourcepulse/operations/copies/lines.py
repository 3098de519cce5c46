# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the lines of an export, and refuse every line that could not have been one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple

from sourcepulse.errors import DecodeError, EventError, quoted
from sourcepulse.events.event import SEQUENCE_MAX, Event, Numbers, format_time, stream_of
from sourcepulse.events.wire import BODY_MAX_BYTES, decode
from sourcepulse.outbox.outbox import DELIVERED, PENDING
from sourcepulse.outbox.queries import STATES

#: The outbox can still count to the next one.
NUMBER_MAX = SEQUENCE_MAX - 1
#: JSON writes a byte of a body as at most six characters, and the rest of a line is small.
LINE_MAX_BYTES = 6 * BODY_MAX_BYTES + 64 * 1024

_TEXTS = ("id", "stream", "source", "type", "time", "routing_key", "epoch", "state", "stored_at")
_TEXTS_OR_NULL = ("subject", "reason", "settled_at", "body")
_NUMBERS = ("sequence", "typesequence")
_NONE = " is not a line of `outbox export`"
_NOTHING = "; nothing was imported"
#: These say where the event was, which does not matter elsewhere.
_IGNORED = ("position", "bytes")


class ExportedEvent(NamedTuple):
    """One line: the event as it was stored, and its bytes, None if they have expired; times are seconds since 1970."""

    event: Event
    numbers: Numbers
    state: str
    reason: str | None
    stored_at: float
    settled_at: float | None
    body: bytes | None


def read_lines(file: BinaryIO) -> Iterator[ExportedEvent]:
    """Yield the event of each line; EventError names the number of the first line that is not one."""
    number = 0
    while line := file.readline(LINE_MAX_BYTES + 1):
        number += 1
        try:
            yield _read(line)
        except UnicodeEncodeError:
            raise EventError(f"line {number}{_NONE}: a text contains half of a surrogate pair{_NOTHING}") from None
        except (EventError, DecodeError, ValueError, RecursionError, OverflowError) as error:
            raise EventError(f"line {number}{_NONE}: {error}{_NOTHING}") from None


def _read(line: bytes) -> ExportedEvent:
    if len(line) > LINE_MAX_BYTES:
        raise EventError(f"it has more than {LINE_MAX_BYTES} bytes")
    if not line.endswith(b"\n"):
        raise EventError("it is cut off")
    row = json.loads(line.decode())
    _check_members(row)
    numbers = Numbers(row["epoch"], row["sequence"], row["typesequence"])
    body = None if row["body"] is None else row["body"].encode()
    if body is None:
        if row["state"] != DELIVERED:
            raise EventError(f"a {row['state']} event has a body")
        event = _without_body(row).numbered(numbers)
    else:
        event = decode(body, routing_key=row["routing_key"])
        _check_same(event, row, numbers)
    return ExportedEvent(
        event=event,
        numbers=numbers,
        state=row["state"],
        reason=row["reason"],
        stored_at=_seconds(row["stored_at"]),
        settled_at=None if row["settled_at"] is None else _seconds(row["settled_at"]),
        body=body,
    )


def _check_members(row: Any) -> None:
    if not isinstance(row, dict):
        raise EventError("it is not an object")
    wanted = {*_TEXTS, *_TEXTS_OR_NULL, *_NUMBERS, *_IGNORED}
    if missing := wanted - row.keys():
        raise EventError(f"it lacks {', '.join(sorted(missing))}")
    if unknown := row.keys() - wanted:
        raise EventError(f"it has {', '.join(map(quoted, sorted(unknown)))}, which this version does not know")
    for name in _TEXTS + _TEXTS_OR_NULL:
        if not isinstance(row[name], str) and not (name in _TEXTS_OR_NULL and row[name] is None):
            raise EventError(f"{name} is not a text")
        if row[name] is not None:
            # What UTF-8 cannot encode, SQLite cannot store.
            row[name].encode()
    for name in _NUMBERS:
        if type(row[name]) is not int or not 1 <= row[name] <= NUMBER_MAX:
            raise EventError(f"{name} is not a number from 1 to {NUMBER_MAX}")
    if row["typesequence"] > row["sequence"]:
        raise EventError("typesequence is higher than sequence, which counts the events of every type")
    if row["state"] not in STATES:
        raise EventError(f"state is none of {', '.join(STATES)}")
    if row["stream"] != (stream := stream_of(row["source"])):
        raise EventError(f"an event of {quoted(row['source'])} belongs to the stream {stream}")
    if row["state"] == PENDING and row["settled_at"] is not None:
        raise EventError("a pending event has no time in settled_at")


def _without_body(row: dict[str, Any]) -> Event:
    return Event(
        type=row["type"],
        source=row["source"],
        subject=row["subject"],
        time=row["time"],
        data={},
        id=row["id"],
        routing_key=row["routing_key"],
    )


def _check_same(event: Event, row: dict[str, Any], numbers: Numbers) -> None:
    for name in ("id", "source", "type", "subject", "time"):
        if getattr(event, name) != row[name]:
            raise EventError(f"its {name} is not that of its body")
    if event.numbers != numbers:
        raise EventError("its epoch or a number is not that of its body")


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise EventError(f"the time {quoted(text)} has no zone")
    seconds = moment.timestamp()
    # In another zone it may lie outside of the years that can be listed.
    format_time(seconds)
    return seconds
