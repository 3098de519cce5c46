# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real event of a type: the newest one in the log, or else a recorded one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from sourcepulse.catalogue import STATUS_SCHEMA
from sourcepulse.catalogue.description import recorded
from sourcepulse.catalogue.own_types import Schemas
from sourcepulse.errors import EventError, SourcePulseError
from sourcepulse.events.event import format_time
from sourcepulse.events.wire import SCHEMA_URN_PREFIX, dataschema, encode

if TYPE_CHECKING:
    from sourcepulse_web.services import Services


#: Our own events have 256 KiB at most.
SHOWN_MAX_BYTES = 1 << 20
_STATUS_URN = SCHEMA_URN_PREFIX + STATUS_SCHEMA


class Shown(NamedTuple):
    """An event to show. One of the log has a position, and the time at which it was appended."""

    event: dict[str, Any]
    key: str
    position: int | None = None
    at: str | None = None


def newest(services: Services, type_: str, own: Schemas) -> Shown | None:
    """Return the newest event of a type that is still public, else a recorded one; None if there is neither."""
    try:
        row = services.log.newest(_is_of(type_))
    except SourcePulseError:
        # Where the log was replaced, the next call opens the new one.
        services.log.close()
        row = None
    if row is not None and len(row.body) <= SHOWN_MAX_BYTES:
        event = _decoded(row.body)
        if event is not None:
            return Shown(event, row.routing_key, row.position, format_time(row.at))
    try:
        known = recorded(type_, own)
        return Shown(json.loads(encode(known)), known.routing_key)
    except EventError:
        return None


def _is_of(type_: str) -> Callable[[str], bool]:
    """Return whether the type of an event is this one, for the states of services any of them."""
    if type_ != STATUS_SCHEMA:
        return lambda found: found == type_
    return lambda found: found.startswith("system.") and dataschema(found) == _STATUS_URN


def _decoded(body: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
