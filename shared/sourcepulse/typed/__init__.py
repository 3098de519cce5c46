# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Types for the data of events, for type checkers: `push = data_as(event, HgPush)`.

Each family of types has a module, such as `sourcepulse.typed.hg`, which `generate` writes from the schemas.
"""

from __future__ import annotations

from typing import TypeVar, cast

from sourcepulse.errors import EventError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import SCHEMA_URN_PREFIX, dataschema

#: The heartbeats of all services have the same data as the relay's.
HEARTBEAT = "SystemRelayHeartbeat"

T = TypeVar("T")


def data_as(event: Event, shape: type[T]) -> T:
    """Return the data of an event as the typed dictionary of its type.

        push = data_as(event, HgPush)

    The data itself is not checked; `sourcepulse.catalogue.check` compares it with the schema. Raises EventError if
    the event is of another type.
    """
    name = shape_name(event.type)
    if name != shape.__name__:
        raise EventError(f"the data of a {event.type} is a {name}, not a {shape.__name__}")
    return cast(T, event.data)


def shape_name(type_: str) -> str:
    """Return the class name for an event type: `hg.push.v1` -> `HgPush`, a second version `HgPushV2`."""
    if type_.startswith("system.") and type_.endswith(".heartbeat.v1"):
        return HEARTBEAT
    name, _, version = dataschema(type_).removeprefix(SCHEMA_URN_PREFIX).rpartition(".v")
    words = name.replace("_", ".").replace("-", ".").split(".")
    return "".join(word.capitalize() for word in words) + ("" if version == "1" else f"V{version}")
