# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map changes of tags to their events."""

from __future__ import annotations

from collections.abc import Sequence

from sourcepulse.events.event import Event
from sourcepulse_hg.facts.refs_values import TagChange
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.make_event import Texts, make_event

CREATED = "hg.tag.created.v1"
MOVED = "hg.tag.moved.v1"
DELETED = "hg.tag.deleted.v1"


def tag_events(act: Act, changes: Sequence[TagChange], emitter: Emitter) -> list[Event]:
    """Make an event for each kind of change that there is; a tag may be in several, once for each changeset."""
    kinds = (
        (CREATED, [change for change in changes if change.oldnode is None]),
        (MOVED, [change for change in changes if change.oldnode is not None and change.node is not None]),
        (DELETED, [change for change in changes if change.node is None]),
    )
    return [_event(type_, act, listed, emitter) for type_, listed in kinds if listed]


def _event(type_: str, act: Act, changes: Sequence[TagChange], emitter: Emitter) -> Event:
    texts = Texts()
    tags = [
        {
            "tag": texts.read(f"/tags/{place}/tag", change.name),
            "node": change.node,
            "oldnode": change.oldnode,
            "changeset": change.changeset,
        }
        for place, change in enumerate(changes)
    ]
    return make_event(type_, act, emitter, texts, {"tags": tags})
