# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read a row of Bugzilla's outbox table: everything is checked before an event is made of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.views import KINDS, View, read_view

#: The payload version that this code reads.
PAYLOAD_VERSION = 1
#: The extension stores at most two MiB, and recovered rows are no larger.
PAYLOAD_MAX_CHARACTERS = 16 * 1024 * 1024

_TRANSACTION = re.compile("[0-9a-f]{32}")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row, checked: what happened, when, and what each stream may contain of it.

    `id` is None for recovered rows. `activity` is the last `bugs_activity.id` of the update, `activities` are all those
    that a recovered row stands for. `transaction` is the same in all rows of one transaction; None if it is
    unknown. Times are seconds since 1970.
    """

    id: int | None
    kind: str
    bug_id: int
    at: int
    activity: int | None
    activities: tuple[int, ...]
    transaction: str | None
    recovered: bool
    views: Mapping[str, View]


def read_row(raw: Mapping[str, Any]) -> Row:
    """Read a row as drain.pl returns it; RowError describes the defect, without values of the row."""
    kind, bug_id = raw.get("kind"), _number(raw, "bug_id")
    if not isinstance(kind, str) or kind not in KINDS:
        raise RowError("its kind is unknown: upgrade sourcepulse")
    payload = _payload(raw.get("payload"))
    if payload.get("v") != PAYLOAD_VERSION:
        raise RowError(f"its payload is not of version {PAYLOAD_VERSION}: upgrade sourcepulse")
    if "thin" in payload and "views" not in payload:
        raise RowError("it contains no facts, and they could not be read from the database")
    return Row(
        id=_number(raw, "id") if "id" in raw else None,
        kind=kind,
        bug_id=bug_id,
        at=_number(payload, "at"),
        activity=_number_or_none(payload, "activity"),
        activities=_activities(raw.get("activities", payload.get("activities", []))),
        transaction=_transaction(payload.get("transaction")),
        recovered=payload.get("recovered") is True or raw.get("recovered") is True,
        views=_views(kind, bug_id, payload.get("views")),
    )


def _views(kind: str, bug_id: int, raw: Any) -> dict[str, View]:
    if not isinstance(raw, dict):
        raise RowError("its payload has no views")
    if raw.keys() - {PUBLIC, RESTRICTED}:
        raise RowError("its payload has a view for a stream that does not exist")
    return {stream: read_view(kind, bug_id, stream, raw[stream]) for stream in (PUBLIC, RESTRICTED) if stream in raw}


def _payload(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise RowError("its payload is not a text")
    if len(text) > PAYLOAD_MAX_CHARACTERS:
        raise RowError(f"its payload has {len(text)} characters, more than {PAYLOAD_MAX_CHARACTERS}")
    try:
        payload = json.loads(text, parse_constant=_refuse, parse_float=_plain_number)
        if "\\ud" in text or "\\uD" in text or not text.isascii():
            payload = _whole_texts(payload)
    except (ValueError, RecursionError):
        raise RowError("its payload is not the JSON that was written: it is damaged or cut off") from None
    if not isinstance(payload, dict):
        raise RowError("its payload is not a JSON object")
    return payload


def _whole_texts(value: Any) -> Any:
    """Replace halves of surrogate pairs, which UTF-8 cannot encode, as every bad byte is replaced."""
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole_texts(item) for item in value]
    if isinstance(value, dict):
        return {_whole_texts(name): _whole_texts(item) for name, item in value.items()}
    return value


def _plain_number(text: str) -> int | float:
    # Perl writes large numbers with an exponent.
    number = float(text)
    if math.isinf(number):
        raise ValueError
    return int(number) if number.is_integer() else number


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _number(members: Mapping[str, Any], name: str) -> int:
    value = members.get(name)
    if type(value) is not int:
        raise RowError(f"its {name} is not a whole number")
    return value


def _number_or_none(members: Mapping[str, Any], name: str) -> int | None:
    return None if members.get(name) is None else _number(members, name)


def _transaction(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and _TRANSACTION.fullmatch(value)):
        raise RowError("its transaction is not 32 hex digits")
    return value


def _activities(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise RowError("its activities are not a list of whole numbers")
    return tuple(values)
