# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of a transaction from the facts about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sourcepulse.events.bounds import LIST_MAX_ITEMS_BY_NAME
from sourcepulse.events.event import Event
from sourcepulse_hg.facts.changelog_entry import parse_entry
from sourcepulse_hg.facts.values import (
    FILES_MAX,
    Act,
    Added,
    BookmarkChange,
    Changeset,
    Emitter,
    FileChanges,
    HeadChanges,
    Heads,
    Marker,
    Markers,
    PhaseChanges,
    TagChange,
)
from sourcepulse_hg.mapping.make_event import Texts, make_event

PUSH = "hg.push.v1"
#: The lists of files by kind of change, present at `detail = files` beside `files`.
_KINDS = ("added", "modified", "removed")
_NODES = frozenset({"transplant_source"})
#: The published extras: where a changeset comes from, its topic, and whether it closes its branch.
_EXTRAS = _NODES | {
    "amend_source",
    "close",
    "convert_revision",
    "histedit_source",
    "intermediate-source",
    "rebase_source",
    "reopen",
    "source",
    "topic",
    "topic-namespace",
}


def push_event(act: Act, added: Added, emitter: Emitter) -> Event:
    """Return the event of the changesets that a transaction added."""
    texts = Texts()
    members: dict[str, Any] = {
        "count": added.total,
        "first": added.first,
        "last": added.last,
        "heads": [_head(texts, place, *head) for place, head in enumerate(added.heads)],
        "query": added.query,
        "changesets": [],
    }
    if emitter.detail != "refs":
        with_files = emitter.detail == "files"
        members["changesets"] = [
            _changeset(texts, f"/changesets/{place}", changeset, with_files=with_files)
            for place, changeset in enumerate(added.changesets)
        ]
    texts.note_cut("/heads", len(added.heads), added.heads_total)
    texts.note_cut("/changesets", len(members["changesets"]), added.total)
    event = make_event(PUSH, act, emitter, texts, members, lists=_bounds(emitter))
    if len(event.data["changesets"]) == added.total:
        # Checked after the bounds were applied, because they may cut the list.
        return event._replace(data={**event.data, "query": None})
    return event


def _bounds(emitter: Emitter) -> dict[str, int]:
    return {"changesets": emitter.max_changesets, "copies": FILES_MAX, **dict.fromkeys(_KINDS, FILES_MAX)}


def _head(texts: Texts, place: int, node: str, text: bytes) -> dict[str, Any]:
    entry = parse_entry(text)
    branch = texts.read(f"/heads/{place}/branch", entry.branch)
    return {"node": node, "branch": branch, "closed": entry.closed}


def _changeset(texts: Texts, pointer: str, changeset: Changeset, *, with_files: bool) -> dict[str, Any]:
    entry = parse_entry(changeset.text)
    files = None
    if with_files:
        kept = entry.files[: LIST_MAX_ITEMS_BY_NAME["files"]]
        files = _file_names(texts, f"{pointer}/files", kept)
        texts.note_cut(f"{pointer}/files", len(kept), len(entry.files))
    return {
        "node": changeset.node,
        "parents": list(changeset.parents),
        "author": texts.read(f"{pointer}/author", entry.user),
        "date": list(entry.date),
        "branch": texts.read(f"{pointer}/branch", entry.branch),
        "desc": texts.read(f"{pointer}/desc", entry.description),
        "phase": changeset.phase,
        "files": files,
        **_changes(texts, pointer, changeset.changes if with_files else None),
        "extras": _extras(texts, f"{pointer}/extras", entry.extra),
    }


def _changes(texts: Texts, pointer: str, changes: FileChanges | None) -> dict[str, Any]:
    if changes is None:
        return dict.fromkeys((*_KINDS, "copies"))
    members: dict[str, Any] = {}
    for kind, names in zip(_KINDS, (changes.added, changes.modified, changes.removed), strict=True):
        members[kind] = None if names is None else _file_names(texts, f"{pointer}/{kind}", names[:FILES_MAX])
        texts.note_cut(f"{pointer}/{kind}", FILES_MAX, len(names or ()))
    members["copies"] = None if changes.copies is None else _copies(texts, f"{pointer}/copies", changes.copies)
    return members


def _copies(texts: Texts, pointer: str, copies: list[tuple[bytes, bytes]]) -> list[dict[str, str]]:
    return [
        {
            "file": texts.read(f"{pointer}/{place}/file", name),
            "source": texts.read(f"{pointer}/{place}/source", source),
        }
        for place, (name, source) in enumerate(copies)
    ]


def _extras(texts: Texts, pointer: str, extra: Mapping[bytes, bytes]) -> dict[str, str]:
    found = {}
    for name, raw in extra.items():
        word = name.decode("ascii", "replace")
        if word in _EXTRAS:
            # transplant stores the binary node, not hexadecimal text.
            found[word] = raw.hex() if word in _NODES else texts.read(f"{pointer}/{word}", raw)
    return found


def _file_names(texts: Texts, pointer: str, names: list[bytes]) -> list[str]:
    try:
        # Nearly always all names are valid UTF-8, so one call decodes them; no name contains a line break.
        return b"\n".join(names).decode().split("\n") if names else []
    except UnicodeDecodeError:
        return [texts.read(f"{pointer}/{place}", name) for place, name in enumerate(names)]


BOOKMARK_CREATED = "hg.bookmark.created.v1"
BOOKMARK_MOVED = "hg.bookmark.moved.v1"
BOOKMARK_DELETED = "hg.bookmark.deleted.v1"


def bookmark_events(act: Act, changes: Sequence[BookmarkChange], emitter: Emitter) -> list[Event]:
    """Return one event for each kind of change that occurs."""
    kinds = (
        (BOOKMARK_CREATED, [change for change in changes if change.oldnode is None]),
        (BOOKMARK_MOVED, [change for change in changes if change.oldnode is not None and change.node is not None]),
        (BOOKMARK_DELETED, [change for change in changes if change.node is None]),
    )
    return [_bookmark_event(type_, act, listed, emitter) for type_, listed in kinds if listed]


def _bookmark_event(type_: str, act: Act, changes: Sequence[BookmarkChange], emitter: Emitter) -> Event:
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


TAG_CREATED = "hg.tag.created.v1"
TAG_MOVED = "hg.tag.moved.v1"
TAG_DELETED = "hg.tag.deleted.v1"


def tag_events(act: Act, changes: Sequence[TagChange], emitter: Emitter) -> list[Event]:
    """Return one event for each kind of change that occurs; a tag is listed once for each changeset that changes it."""
    kinds = (
        (TAG_CREATED, [change for change in changes if change.oldnode is None]),
        (TAG_MOVED, [change for change in changes if change.oldnode is not None and change.node is not None]),
        (TAG_DELETED, [change for change in changes if change.node is None]),
    )
    return [_tag_event(type_, act, listed, emitter) for type_, listed in kinds if listed]


def _tag_event(type_: str, act: Act, changes: Sequence[TagChange], emitter: Emitter) -> Event:
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


BRANCH_CREATED = "hg.branch.created.v1"
HEAD_CREATED = "hg.head.created.v1"
HEAD_CLOSED = "hg.head.closed.v1"


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


PHASE_CHANGED = "hg.phase.changed.v1"


def phase_events(act: Act, changes: PhaseChanges, emitter: Emitter) -> list[Event]:
    """Return the event, or nothing if no phase changed."""
    if not changes.total:
        return []
    texts = Texts()
    listed = [change._asdict() for change in changes.changes]
    texts.note_cut("/changes", len(listed), changes.total)
    return [make_event(PHASE_CHANGED, act, emitter, texts, {"count": changes.total, "changes": listed})]


OBSOLETE_CREATED = "hg.obsolete.created.v1"


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
