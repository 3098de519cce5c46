# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events as bytes and back: structured CloudEvents 1.0 JSON, and the classic Pulse envelope."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from sourcepulse.errors import DecodeError, EventError, quoted
from sourcepulse.events.event import SEQUENCE_MAX, Event, Numbers, to_json
from sourcepulse.events.topics import KEY_CUT_BYTES, KEY_CUT_MARK, KEY_MAX_BYTES

CONTENT_TYPE = "application/cloudevents+json"
PULSE_CONTENT_TYPE = "application/json"

#: A larger body is not parsed; our publishers send at most EVENT_MAX_BYTES.
BODY_MAX_BYTES = 16 * 1024 * 1024

#: A number is written with so many digits, so that texts sort like numbers.
SEQUENCE_DIGITS = 20

SPEC_VERSION = "1.0"
_NUMBERS = ("epoch", "sequence", "typesequence")
DATA_CONTENT_TYPE = "application/json"
PULSE_SERIALIZER = "json"
SCHEMA_URN_PREFIX = "urn:sourcepulse:"

# Not compiled here, because the hook runs at every push and needs none of them; re caches them on first use.
_SURROGATE_ESCAPE = r"\\u[dD][89a-fA-F]"
_STATUS = r"system\.[^.]+\.(?!heartbeat\.)[^.]+(\.v[0-9]+)"
_WITHHELD = "system.event.withheld."
#: They look like system.<service>.<state>, but they are not a status: these events have schemas of their own.
_NO_STATUS = (
    _WITHHELD,
    "system.queue.overgrown.",
    "system.queue.dropped.",
    "system.webhook.failing.",
    "system.webhook.refused.",
    "system.webhook.parked.",
    "system.webhook.resumed.",
    "system.webhook.disabled.",
    "system.webhook.test.",
)


def dataschema(type_: str) -> str:
    """Return the URN of the JSON Schema of a type's `data`; all states of services share one schema."""
    status = re.fullmatch(_STATUS, type_) if type_.startswith("system.") else None
    if status and not type_.startswith(_NO_STATUS):
        return f"{SCHEMA_URN_PREFIX}system.status{status[1]}"
    return SCHEMA_URN_PREFIX + type_


def encode(event: Event) -> bytes:
    """Write an event as structured CloudEvents 1.0 JSON, compact UTF-8.

    The rules are those of the CloudEvents specification 1.0.2 and of its JSON event format. EventError if
    the event contains what JSON or UTF-8 cannot express (NaN, a lone surrogate, a value of another type).
    """
    envelope: dict[str, Any] = {
        "specversion": SPEC_VERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
    }
    if event.subject is not None:
        envelope["subject"] = event.subject
    envelope["time"] = event.time
    envelope["datacontenttype"] = DATA_CONTENT_TYPE
    envelope["dataschema"] = dataschema(event.type)
    _add_numbers(envelope, event)
    envelope["data"] = _plain(event.data)
    return _dump(envelope, event)


def encode_pulse(event: Event, *, exchange: str, sent: str) -> bytes:
    """Write an event in the envelope of Mozilla's Pulse: `{"_meta": {...}, "payload": data}`.

    `_meta` begins with the four members that Pulse consumers know (MozillaPulse 1.3), followed by the event's own
    attributes, so that `decode` returns the same event. `sent` is RFC 3339.
    """
    meta: dict[str, Any] = {
        "exchange": exchange,
        "routing_key": event.routing_key,
        "serializer": PULSE_SERIALIZER,
        "sent": sent,
        "id": event.id,
        "source": event.source,
        "type": event.type,
    }
    if event.subject is not None:
        meta["subject"] = event.subject
    meta["time"] = event.time
    _add_numbers(meta, event)
    return _dump({"_meta": meta, "payload": _plain(event.data)}, event)


def decode(body: bytes, *, routing_key: str) -> Event:
    """Return the event from the bytes of `encode` or `encode_pulse`; `routing_key` is that of the delivered message.

    Unknown attributes are ignored, as CloudEvents allows. Every defect is a DecodeError that says what is wrong and
    holds the bytes.
    """
    try:
        document = _parse(body)
        if "specversion" in document:
            attributes, data = _open_cloudevent(document)
        elif "_meta" in document:
            attributes, data = _open_pulse(document)
        else:
            raise _DefectError("it has neither 'specversion' (CloudEvents) nor '_meta' (Pulse)")
        event = Event(
            type=_text(attributes, "type"),
            source=_text(attributes, "source"),
            subject=_optional_text(attributes, "subject"),
            time=_text(attributes, "time"),
            data=data,
            id=_text(attributes, "id"),
            routing_key=routing_key,
            numbers=_numbers(attributes),
            replayed=_replayed(attributes),
        )
        _check_key(event)
        return event
    except (_DefectError, EventError) as error:
        raise DecodeError(f"the message is not an event of sourcepulse: {error}", body) from None


class _DefectError(ValueError):
    """A defect of a message; `decode` adds the bytes."""


def _add_numbers(members: dict[str, Any], event: Event) -> None:
    if event.numbers is not None:
        members["epoch"] = event.numbers.epoch
        members["sequence"] = f"{event.numbers.sequence:020d}"
        members["typesequence"] = f"{event.numbers.typesequence:020d}"
    if event.replayed:
        members["replayed"] = True


def _plain(data: Any) -> Any:
    return data if type(data) is dict else dict(data)


def _dump(envelope: dict[str, Any], event: Event) -> bytes:
    try:
        body = to_json(envelope).encode()
    except UnicodeEncodeError:
        reason = "a text contains half of a surrogate pair, which UTF-8 cannot encode"
    except RecursionError:
        reason = "its data is nested too deeply"
    except (TypeError, ValueError) as error:
        reason = str(error)
    else:
        if len(body) <= BODY_MAX_BYTES:
            return body
        reason = f"it takes {len(body)} bytes, more than {BODY_MAX_BYTES}"
    raise EventError(f"the event {event.id} ({event.type}) cannot be written: {reason}")


def _parse(body: bytes) -> dict[str, Any]:
    if len(body) > BODY_MAX_BYTES:
        raise _DefectError(f"it has {len(body)} bytes, more than {BODY_MAX_BYTES}")
    try:
        text = body.decode()
        document = _from_json(text)
        if re.search(_SURROGATE_ESCAPE, text):
            # Only an escape can produce half a pair; whole pairs are decoded to one character.
            to_json(document).encode()
    except _DefectError:
        raise
    except UnicodeDecodeError as error:
        raise _DefectError(f"it is not UTF-8 (byte {error.start})") from None
    except UnicodeEncodeError:
        raise _DefectError("a text contains half of a surrogate pair") from None
    except RecursionError:
        raise _DefectError("it is nested too deeply") from None
    except ValueError as error:
        raise _DefectError(f"it is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _DefectError(f"it is not a JSON object but {_kind(document)}")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # RFC 8259 section 4 leaves repeated names open, so two readers could see two different events.
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DefectError(f"the member {quoted(twice)} occurs twice")
    return members


def _refuse_constant(word: str) -> NoReturn:
    raise _DefectError(f"{word} is not a JSON value")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _DefectError(f"the number {quoted(text)} is out of range")
    return number


#: Reads JSON as it is received. (json.loads would make a new decoder each time.)
_from_json = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite).decode


def _open_cloudevent(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    _expect(document, "specversion", SPEC_VERSION)
    _expect(document, "datacontenttype", DATA_CONTENT_TYPE)
    schema = _text(document, "dataschema")
    if not schema.startswith(SCHEMA_URN_PREFIX):
        raise _DefectError(f"its dataschema {quoted(schema)} does not begin with {SCHEMA_URN_PREFIX!r}")
    return document, _object(document, "data")


def _open_pulse(document: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    meta = _object(document, "_meta")
    missing = [name for name in ("id", "source", "type", "time") if name not in meta]
    if missing:
        raise _DefectError(f"it is a Pulse message from another program (_meta has no {missing[0]!r})")
    _expect(meta, "serializer", PULSE_SERIALIZER)
    for name in ("exchange", "routing_key", "sent"):
        _text(meta, name)
    return meta, _object(document, "payload")


def _numbers(attributes: dict[str, Any]) -> Numbers | None:
    present = [name for name in _NUMBERS if attributes.get(name) is not None]
    if not present:
        return None
    if len(present) < len(_NUMBERS):
        raise _DefectError(f"it has {' and '.join(present)}, but {', '.join(_NUMBERS)} go together")
    return Numbers(
        epoch=_text(attributes, "epoch"),
        sequence=_sequence(attributes, "sequence"),
        typesequence=_sequence(attributes, "typesequence"),
    )


def _sequence(attributes: dict[str, Any], name: str) -> int:
    text = _text(attributes, name)
    if len(text) != SEQUENCE_DIGITS or not (text.isascii() and text.isdigit()):
        raise _DefectError(f"its {name} {quoted(text)} is not 20 decimal digits")
    number = int(text)
    if number > SEQUENCE_MAX:
        raise _DefectError(f"its {name} {text} is higher than {SEQUENCE_MAX}")
    return number


def _replayed(attributes: dict[str, Any]) -> bool:
    value = attributes.get("replayed")
    if value is None:
        # In the JSON event format of CloudEvents, null means that an attribute is not set.
        return False
    if not isinstance(value, bool):
        raise _DefectError(f"its replayed is not a boolean but {_kind(value)}")
    return value


def _expect(members: dict[str, Any], name: str, expected: str) -> None:
    value = _text(members, name)
    if value != expected:
        raise _DefectError(f"its {name} is {quoted(value)}, not {expected!r}")


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if type(value) is str:
        return value
    if value is None:
        raise _DefectError(f"it has no {name}")
    raise _DefectError(f"its {name} is not a string but {_kind(value)}")


def _optional_text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise _DefectError(f"its {name} is not a string but {_kind(value)}")
    return value


def _object(members: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in members:
        raise _DefectError(f"it has no {name}")
    value = members[name]
    if not isinstance(value, dict):
        raise _DefectError(f"its {name} is not an object but {_kind(value)}")
    return value


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _check_key(event: Event) -> None:
    """Refuse an event under the key of another type, because brokers grant the right to publish by the key."""
    key, type_ = event.routing_key, event.type
    if len(key) > KEY_MAX_BYTES:
        raise _DefectError(f"its routing key {quoted(key)} has more than {KEY_MAX_BYTES} characters")
    if type_.startswith(_WITHHELD):
        # It stands in for an event of another type, under the key of that event; Event checks the syntax of a type.
        type_ = _text(event.data, "type")
    words = type_.rpartition(".")[0]
    begins = key.startswith(words) and key[len(words) : len(words) + 1] in ("", ".")
    is_cut = len(words) > KEY_CUT_BYTES and key.startswith(words[:KEY_CUT_BYTES] + KEY_CUT_MARK)
    if not words or not (begins or is_cut):
        raise _DefectError(f"its routing key {quoted(key)} does not belong to its type {quoted(type_)}")
