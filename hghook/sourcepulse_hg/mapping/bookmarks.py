# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map changes of bookmarks to their events."""

from __future__ import annotations

from collections.abc import Sequence

from sourcepulse.events.event import Event
from sourcepulse_hg.facts.refs_values import BookmarkChange
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.make_event import Texts, make_event

CREATED = "hg.bookmark.created.v1"
MOVED = "hg.bookmark.moved.v1"
DELETED = "hg.bookmark.deleted.v1"


def bookmark_events(act: Act, changes: Sequence[BookmarkChange], emitter: Emitter) -> list[Event]:
    """Make an event for each kind of change that there is."""
    kinds = (
        (CREATED, [change for change in changes if change.oldnode is None]),
        (MOVED, [change for change in changes if change.oldnode is not None and change.node is not None]),
        (DELETED, [change for change in changes if change.node is None]),
    )
    return [_event(type_, act, listed, emitter) for type_, listed in kinds if listed]


def _event(type_: str, act: Act, changes: Sequence[BookmarkChange], emitter: Emitter) -> Event:
    texts = Texts()
    bookmarks = [
        {
            "bookmark": texts.read(f"/bookmarks/{place}/bookmark", change.name),
            "node": change.node,
            "oldnode": change.oldnode,
        }
        for place, change in enumerate(changes)
    ]
    return make_event(type_, act, emitter, texts, {"bookmarks": bookmarks})
