# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of products, components, versions, milestones and keywords."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.mapping.emitter import RowEmitter
from sourcepulse_bugzilla.mapping.views import THING_CREATE, THING_DELETE, THING_UPDATE, THINGS, View

_STATES = {THING_CREATE: "created", THING_UPDATE: "changed", THING_DELETE: "deleted"}
#: The event type of each kind of row: `product.create` -> `bugzilla.product.created.v1`.
THING_TYPES: Mapping[str, str] = {
    f"{name}.{action}": f"bugzilla.{name}.{state}.v1" for name in THINGS for action, state in _STATES.items()
}


def thing_events(emitter: RowEmitter, view: View) -> Iterator[Event]:
    """Yield the event of a product, component, version, milestone or keyword; none if none of its changes remains."""
    kind, thing = emitter.row.kind, view["thing"]
    name, _, action = kind.partition(".")
    members = {name: thing}
    if action == THING_UPDATE:
        if not view["changes"]:
            return
        members["changes"] = view["changes"]
    # The key has the words before the change, because consumers are bound to the old name.
    yield emitter.event(
        THING_TYPES[kind],
        members,
        key=[str(thing["id"]), *emitter.activity()],
        words=view["words"],
        subject=f"{name}/{thing['id']}",
    )
