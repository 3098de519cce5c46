# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make events from facts: the members that every event of a repository has, and the event of a push.

The events of other changes are in refs.py. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sourcepulse.events.event import RESTRICTED_SUFFIX, Event
from sourcepulse.events.limits import (
    LIST_MAX_ITEMS_BY_NAME,
    TEXT_MAX_BYTES,
    Limits,
    bound,
    decode_text,
    envelope_bytes,
)
from sourcepulse_hg.facts import FILES_MAX, Act, Added, Changeset, Emitter, FileChanges, parse_entry

if TYPE_CHECKING:
    from sourcepulse_hg.settings import Settings

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

#: The characters that a URI path may contain besides letters and digits (RFC 3986 section 3.3).
_PATH_SAFE = "/-._~!$&'()*+,;=:@"
_CONTINUATION = 0x80
_NO_LISTS: Mapping[str, int] = MappingProxyType({})


def emitter_of(settings: Settings) -> Emitter:
    """Return the emitter that the settings of a repository describe."""
    return Emitter(
        name=settings.name,
        source=source_uri(settings.source, settings.name, restricted=settings.restricted),
        repo_url=settings.repo_url,
        detail=settings.detail,
        max_changesets=0 if settings.detail == "refs" else settings.max_changesets,
    )


def source_uri(configured: str, name: bytes, *, restricted: bool) -> str:
    """Return the source of a repository's events; the name is appended to a configured host."""
    host = configured.removeprefix("hg://")
    uri = configured if host.rstrip("/").count("/") else f"hg://{host.rstrip('/')}/{quote(name, safe=_PATH_SAFE)}"
    return uri + RESTRICTED_SUFFIX if restricted else uri


def repository_url(emitter: Emitter) -> str | None:
    """Return the URL to pull from, with the name of the repository filled in."""
    if emitter.repo_url is None:
        return None
    url = emitter.repo_url.replace("{repo}", quote(emitter.name, safe=_PATH_SAFE))
    return decode_text(url.encode("utf-8", "surrogateescape"))[0]


class Texts:
    """Decodes texts and records which were not UTF-8 and which were cut."""

    def __init__(self) -> None:
        self.raw: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}

    def read(self, pointer: str, raw: bytes) -> str:
        """Return the bytes as text for the member at this pointer."""
        text, bad = decode_text(raw)
        if len(raw) > TEXT_MAX_BYTES:
            # Cut already here, so that many long descriptions are never in memory at the same time.
            self.cut[pointer] = len(text.encode())
            end = TEXT_MAX_BYTES
            while end > TEXT_MAX_BYTES - 4 and raw[end] & 0xC0 == _CONTINUATION:
                end -= 1
            text, bad = decode_text(raw[:end])
        if bad is not None:
            self.raw[pointer] = bad
        return text

    def read_or_none(self, pointer: str, raw: bytes | None) -> str | None:
        return None if raw is None else self.read(pointer, raw)

    def note_cut(self, pointer: str, kept: int, total: int) -> None:
        """Record that only the first items of a list were read."""
        if kept < total:
            self.cut[pointer] = total


def make_event(
    type_: str,
    act: Act,
    emitter: Emitter,
    texts: Texts,
    members: Mapping[str, Any],
    *,
    lists: Mapping[str, int] = _NO_LISTS,
    key: Sequence[str] | None = None,
    recovered: bool = False,
) -> Event:
    """Return an event with these members beside the common ones; its natural key is the txnid unless `key` is given.

    `lists` overrides the usual limits of lists, by name.
    """
    repo = texts.read("/repo", emitter.name)
    data = {
        "repo": repo,
        "repo_url": repository_url(emitter),
        "user": texts.read_or_none("/user", act.user),
        "source": texts.read_or_none("/source", act.source),
        "url": act.url,
        "change_set": act.txnid,
        **members,
        "recovered": recovered,
        "truncated": [],
        "raw": [],
    }
    limits = Limits(envelope_bytes=envelope_bytes(type_, emitter.source, repo), lists=lists)
    return Event.of(
        type_,
        source=emitter.source,
        key=[act.txnid] if key is None else key,
        subject=repo,
        time=act.time,
        data=bound(data, raw=texts.raw, cut=texts.cut, limits=limits),
        words=emitter.name.decode("utf-8", "surrogateescape").split("/"),
    )


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
