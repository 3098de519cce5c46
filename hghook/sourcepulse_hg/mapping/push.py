# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map the changesets that a transaction added to their event; plain values in, an event out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse.events.bounds import LIST_MAX_ITEMS_BY_NAME
from sourcepulse.events.event import Event
from sourcepulse_hg.facts.changelog_entry import parse_entry
from sourcepulse_hg.facts.values import FILES_MAX, Act, Added, Changeset, Emitter, FileChanges
from sourcepulse_hg.mapping.make_event import Texts, make_event

PUSH = "hg.push.v1"
#: What is known of the files at `detail = files`, beside their list.
_KINDS = ("added", "modified", "removed")

_NODES = frozenset({"transplant_source"})
#: Where a changeset comes from, what it belongs to, and that it closes its branch.
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
    """Make the event of the changesets that a transaction added."""
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
        # Counted after the bounds, which may have cut the list.
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
    """Return what a changeset says of itself beside its branch, as far as readers need it."""
    found = {}
    for name, raw in extra.items():
        word = name.decode("ascii", "replace")
        if word in _EXTRAS:
            # transplant keeps the node itself, not its text.
            found[word] = raw.hex() if word in _NODES else texts.read(f"{pointer}/{word}", raw)
    return found


def _file_names(texts: Texts, pointer: str, names: list[bytes]) -> list[str]:
    try:
        # Nearly always all are valid, and one call decodes them; no name holds a line break.
        return b"\n".join(names).decode().split("\n") if names else []
    except UnicodeDecodeError:
        return [texts.read(f"{pointer}/{place}", name) for place, name in enumerate(names)]
