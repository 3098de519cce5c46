# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map the changesets that a transaction added to their event; plain values in, an event out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse.bounds import LIST_MAX_ITEMS_BY_NAME
from sourcepulse.event import Event
from sourcepulse_hg.changelog_entry import parse_entry
from sourcepulse_hg.facts import Act, Added, Changeset, Emitter
from sourcepulse_hg.transaction_event import Texts, make_event

PUSH = "hg.push.v1"

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
    event = make_event(PUSH, act, emitter, texts, members, lists={"changesets": emitter.max_changesets})
    if len(event.data["changesets"]) == added.total:
        # Counted after the bounds, which may have cut the list.
        return event._replace(data={**event.data, "query": None})
    return event


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
        "extras": _extras(texts, f"{pointer}/extras", entry.extra),
    }


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
