# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of bookmarks, tags, branches, heads, phases and obsolescence markers from the facts about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sourcepulse.events.event import Event
from sourcepulse_hg.facts import Act, Emitter
from sourcepulse_hg.mapping.events import Texts, make_event

if TYPE_CHECKING:
    from sourcepulse_hg.gather.bookmarks import BookmarkChange
    from sourcepulse_hg.gather.heads import HeadChanges, Heads
    from sourcepulse_hg.gather.phases_and_markers import Marker, Markers, PhaseChanges
    from sourcepulse_hg.gather.tags import TagChange

_BOOKMARK_TYPES = ("hg.bookmark.created.v1", "hg.bookmark.moved.v1", "hg.bookmark.deleted.v1")
_TAG_TYPES = ("hg.tag.created.v1", "hg.tag.moved.v1", "hg.tag.deleted.v1")
BRANCH_CREATED = "hg.branch.created.v1"
HEAD_CREATED = "hg.head.created.v1"
HEAD_CLOSED = "hg.head.closed.v1"
PHASE_CHANGED = "hg.phase.changed.v1"
OBSOLETE_CREATED = "hg.obsolete.created.v1"


def bookmark_events(act: Act, changes: Sequence[BookmarkChange], emitter: Emitter) -> list[Event]:
    """Return one event for each kind of change that occurs."""

    def member(texts: Texts, pointer: str, change: BookmarkChange) -> dict[str, Any]:
        return {
            "bookmark": texts.read(f"{pointer}/bookmark", change.name),
            "node": change.node,
            "oldnode": change.oldnode,
        }

    return _ref_events(_BOOKMARK_TYPES, "bookmarks", act, changes, emitter, member)


def tag_events(act: Act, changes: Sequence[TagChange], emitter: Emitter) -> list[Event]:
    """Return one event for each kind of change that occurs; a tag is listed once for each changeset that changes it."""

    def member(texts: Texts, pointer: str, change: TagChange) -> dict[str, Any]:
        return {
            "tag": texts.read(f"{pointer}/tag", change.name),
            "node": change.node,
            "oldnode": change.oldnode,
            "changeset": change.changeset,
        }

    return _ref_events(_TAG_TYPES, "tags", act, changes, emitter, member)


def _ref_events(
    types: tuple[str, str, str],
    name: str,
    act: Act,
    changes: Sequence[Any],
    emitter: Emitter,
    member: Callable[[Texts, str, Any], dict[str, Any]],
) -> list[Event]:
    kinds = (
        [change for change in changes if change.oldnode is None],
        [change for change in changes if change.oldnode is not None and change.node is not None],
        [change for change in changes if change.node is None],
    )
    events = []
    for type_, listed in zip(types, kinds, strict=True):
        if listed:
            texts = Texts()
            members = [member(texts, f"/{name}/{place}", change) for place, change in enumerate(listed)]
            events.append(make_event(type_, act, emitter, texts, {name: members}))
    return events


def head_events(act: Act, changes: HeadChanges, emitter: Emitter) -> list[Event]:
    """Return one event for each kind of change that occurs; the head of a new branch is also a new head."""
    kinds = (
        (BRANCH_CREATED, changes.of_new_branches),
        (HEAD_CREATED, changes.gained),
        (HEAD_CLOSED, changes.closing),
    )
    return [_head_event(type_, act, heads, emitter) for type_, heads in kinds if heads.total]


def _head_event(type_: str, act: Act, heads: Heads, emitter: Emitter) -> Event:
    texts = Texts()
    listed = [
        {"node": head.node, "branch": texts.read(f"/heads/{place}/branch", head.branch)}
        for place, head in enumerate(heads.heads)
    ]
    texts.note_cut("/heads", len(listed), heads.total)
    return make_event(type_, act, emitter, texts, {"heads": listed})


def phase_events(act: Act, changes: PhaseChanges, emitter: Emitter) -> list[Event]:
    """Return the event, or nothing if no phase changed."""
    if not changes.total:
        return []
    texts = Texts()
    listed = [change._asdict() for change in changes.changes]
    texts.note_cut("/changes", len(listed), changes.total)
    return [make_event(PHASE_CHANGED, act, emitter, texts, {"count": changes.total, "changes": listed})]


def obsolete_events(act: Act, markers: Markers, emitter: Emitter) -> list[Event]:
    """Return the event, or nothing if there is no marker."""
    if not markers.total:
        return []
    texts = Texts()
    listed = [_marker(texts, f"/markers/{place}", marker) for place, marker in enumerate(markers.markers)]
    texts.note_cut("/markers", len(listed), markers.total)
    return [make_event(OBSOLETE_CREATED, act, emitter, texts, {"count": markers.total, "markers": listed})]


def _marker(texts: Texts, pointer: str, marker: Marker) -> dict[str, Any]:
    return {
        "prednode": marker.prednode,
        "succnodes": list(marker.succnodes),
        "date": list(marker.date),
        "user": texts.read_or_none(f"{pointer}/user", marker.user),
        "operation": texts.read_or_none(f"{pointer}/operation", marker.operation),
    }
