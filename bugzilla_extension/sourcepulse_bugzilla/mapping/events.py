# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make all events of a row, for both streams; here are those of products, components, versions and the like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.attachments_flags_comments import (
    attachment_created,
    attachment_deleted,
    attachment_updated,
)
from sourcepulse_bugzilla.mapping.bugs import bug_created, bug_deleted, bug_updated
from sourcepulse_bugzilla.mapping.emitter import Emitter, RowEmitter
from sourcepulse_bugzilla.mapping.rows import Row
from sourcepulse_bugzilla.mapping.views import (
    ATTACHMENT_CREATE,
    ATTACHMENT_DELETE,
    ATTACHMENT_UPDATE,
    BUG_CREATE,
    BUG_DELETE,
    BUG_UPDATE,
    THING_CREATE,
    THING_DELETE,
    THING_UPDATE,
    THINGS,
    View,
)

_STATES = {THING_CREATE: "created", THING_UPDATE: "changed", THING_DELETE: "deleted"}
#: The event type of each kind of row: `product.create` -> `bugzilla.product.created.v1`.
_THING_TYPES: Mapping[str, str] = {
    f"{name}.{action}": f"bugzilla.{name}.{state}.v1" for name in THINGS for action, state in _STATES.items()
}


def events_of(row: Row, emitter: Emitter) -> list[Event]:
    """Return the events of a row, those of the public stream first, in the order of the event contract.

    RowError if one of them cannot be made; then none of them may be published.
    """
    mapper = _MAPPERS.get(row.kind)
    if mapper is None:
        raise RowError("its kind is unknown: upgrade sourcepulse")
    return [event for stream, view in row.views.items() for event in mapper(RowEmitter(emitter, row, stream), view)]


def _thing_events(emitter: RowEmitter, view: View) -> Iterator[Event]:
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
        _THING_TYPES[kind],
        members,
        key=[str(thing["id"]), *emitter.activity()],
        words=view["words"],
        subject=f"{name}/{thing['id']}",
    )


_MAPPERS: Mapping[str, Callable[[RowEmitter, View], Iterator[Event]]] = {
    BUG_CREATE: bug_created,
    BUG_UPDATE: bug_updated,
    BUG_DELETE: bug_deleted,
    ATTACHMENT_CREATE: attachment_created,
    ATTACHMENT_UPDATE: attachment_updated,
    ATTACHMENT_DELETE: attachment_deleted,
    **dict.fromkeys(_THING_TYPES, _thing_events),
}
