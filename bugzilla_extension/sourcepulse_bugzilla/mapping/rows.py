# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read a row of Bugzilla's outbox table: its payload, and what each stream may contain of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.views import View, check_view

#: The payload version that this code reads.
PAYLOAD_VERSION = 1
REASON_MAX_CHARS = 120

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Row(NamedTuple):
    """One row: what happened, when, and what each stream may contain of it.

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
    payload = _payload(raw["payload"])
    if payload.get("v") != PAYLOAD_VERSION:
        raise RowError(f"its payload is not of version {PAYLOAD_VERSION}: upgrade sourcepulse")
    if "thin" in payload and "views" not in payload:
        raise RowError(_no_facts(payload["thin"]))
    return Row(
        id=raw.get("id"),
        kind=raw["kind"],
        bug_id=raw["bug_id"],
        at=payload["at"],
        activity=payload.get("activity"),
        activities=tuple(raw.get("activities", payload.get("activities", ()))),
        transaction=payload.get("transaction"),
        recovered=payload.get("recovered") is True or raw.get("recovered") is True,
        views=_views(raw["kind"], payload.get("views")),
    )


def _no_facts(reason: Any) -> str:
    # drain.pl and the hooks remove values of the row from the reason.
    known = f": {reason[:REASON_MAX_CHARS]}" if isinstance(reason, str) and reason else ""
    return f"it contains no facts, and they could not be read from the database{known}"


def _views(kind: str, raw: Any) -> dict[str, View]:
    if not isinstance(raw, dict):
        raise RowError("its payload has no views")
    if raw.keys() - {PUBLIC, RESTRICTED}:
        raise RowError("its payload has a view for a stream that does not exist")
    return {stream: check_view(kind, stream, raw[stream]) for stream in (PUBLIC, RESTRICTED) if stream in raw}


def _payload(text: str) -> dict[str, Any]:
    try:
        payload = json.loads(text, parse_float=_finite_number, parse_constant=_finite_number)
    except (ValueError, RecursionError):
        raise RowError("its payload is not the JSON that was written: it is damaged or cut off") from None
    if not isinstance(payload, dict):
        raise RowError("its payload is not a JSON object")
    if "\\ud" in text or "\\uD" in text or not text.isascii():
        return {name: _whole_texts(item) for name, item in payload.items()}
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


def _finite_number(text: str) -> int | float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    # Perl writes large numbers with an exponent.
    return int(number) if number.is_integer() else number
