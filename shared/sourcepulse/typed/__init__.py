# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The data of events with types that a type checker knows: `push = data_as(event, HgPush)`.

The types of each family are in a module of its own, `sourcepulse.typed.hg` and so on; `generate` makes them from
the schemas.
"""

from __future__ import annotations

from typing import TypeVar, cast

from sourcepulse.errors import EventError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import SCHEMA_URN_PREFIX, dataschema

#: Every service may beat; its data is that of the relay's.
HEARTBEAT = "SystemRelayHeartbeat"

T = TypeVar("T")


def data_as(event: Event, shape: type[T]) -> T:
    """Return the data of an event as the typed dictionary of its type.

    EventError if the event is of another type. The data itself is not looked at: it is what the publisher's schema
    says, and `sourcepulse.catalogue.check` checks that.
    """
    name = shape_name(event.type)
    if name != shape.__name__:
        raise EventError(f"the data of a {event.type} is a {name}, not a {shape.__name__}")
    return cast(T, event.data)


def shape_name(type_: str) -> str:
    """Name the typed dictionary of an event type: `hg.push.v1` -> `HgPush`, a second version `HgPushV2`."""
    if type_.startswith("system.") and type_.endswith(".heartbeat.v1"):
        return HEARTBEAT
    name, _, version = dataschema(type_).removeprefix(SCHEMA_URN_PREFIX).rpartition(".v")
    words = name.replace("_", ".").replace("-", ".").split(".")
    return "".join(word.capitalize() for word in words) + ("" if version == "1" else f"V{version}")
