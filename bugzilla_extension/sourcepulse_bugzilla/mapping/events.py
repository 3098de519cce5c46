# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make all events of a row, for both streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sourcepulse.events.event import Event
from sourcepulse_bugzilla.errors import RowError
from sourcepulse_bugzilla.mapping.bugs import bug_created, bug_deleted, bug_updated
from sourcepulse_bugzilla.mapping.emitter import Emitter, RowEmitter
from sourcepulse_bugzilla.mapping.parts import attachment_created, attachment_deleted, attachment_updated
from sourcepulse_bugzilla.mapping.rows import Row
from sourcepulse_bugzilla.mapping.things import THING_TYPES, thing_events
from sourcepulse_bugzilla.mapping.views import (
    ATTACHMENT_CREATE,
    ATTACHMENT_DELETE,
    ATTACHMENT_UPDATE,
    BUG_CREATE,
    BUG_DELETE,
    BUG_UPDATE,
    View,
)

_MAPPERS: Mapping[str, Callable[[RowEmitter, View], Iterator[Event]]] = {
    BUG_CREATE: bug_created,
    BUG_UPDATE: bug_updated,
    BUG_DELETE: bug_deleted,
    ATTACHMENT_CREATE: attachment_created,
    ATTACHMENT_UPDATE: attachment_updated,
    ATTACHMENT_DELETE: attachment_deleted,
    **dict.fromkeys(THING_TYPES, thing_events),
}


def events_of(row: Row, emitter: Emitter) -> list[Event]:
    """Return the events of a row, those of the public stream first, in the order of the event contract.

    RowError if one of them cannot be made; then none of them may be published.
    """
    mapper = _MAPPERS.get(row.kind)
    if mapper is None:
        raise RowError("its kind is unknown: upgrade sourcepulse")
    return [event for stream, view in row.views.items() for event in mapper(RowEmitter(emitter, row, stream), view)]
