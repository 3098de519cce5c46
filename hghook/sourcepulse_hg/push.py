# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map what a transaction did to its events; nothing is read here, plain values in and events out."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from sourcepulse.bounds import (
    LIST_MAX_ITEMS_BY_NAME,
    TEXT_MAX_BYTES,
    Limits,
    bound,
    decode_text,
    envelope_bytes,
)
from sourcepulse.event import Event
from sourcepulse_hg.changelog_entry import parse_entry
from sourcepulse_hg.facts import Act, Added, Changeset, Emitter

PUSH = "hg.push.v1"

#: What may stand in a path of a URI besides letters and digits (RFC 3986 section 3.3), but for `?` and `#`.
_PATH_SAFE = "/-._~!$&'()*+,;=:@"
_CONTINUATION = 0x80


def push_event(act: Act, added: Added, emitter: Emitter) -> Event:
    """Make the event of the changesets that a transaction added."""
    texts = _Texts()
    repo = texts.read("/repo", emitter.name)
    data: dict[str, Any] = {
        "repo": repo,
        "repo_url": repository_url(emitter),
        "user": None if act.user is None else texts.read("/user", act.user),
        "source": None if act.source is None else texts.read("/source", act.source),
        "url": act.url,
        "change_set": act.txnid,
        "pushid": None,
        "count": added.total,
        "first": added.first,
        "last": added.last,
        "heads": [_head(texts, place, *head) for place, head in enumerate(added.heads)],
        "query": added.query,
        "changesets": [],
        "recovered": False,
        "truncated": [],
        "raw": [],
    }
    if emitter.detail != "refs":
        with_files = emitter.detail == "files"
        data["changesets"] = [
            _changeset(texts, f"/changesets/{place}", changeset, with_files=with_files)
            for place, changeset in enumerate(added.changesets)
        ]
    texts.note_cut("/heads", len(added.heads), added.heads_total)
    texts.note_cut("/changesets", len(data["changesets"]), added.total)
    data = bound(
        data,
        raw=texts.raw,
        cut=texts.cut,
        limits=Limits(
            envelope_bytes=envelope_bytes(PUSH, emitter.source, repo),
            lists={"changesets": emitter.max_changesets},
        ),
    )
    if len(data["changesets"]) == added.total:
        data["query"] = None
    return Event.of(
        PUSH,
        source=emitter.source,
        key=[act.txnid],
        subject=repo,
        time=act.time,
        data=data,
        words=emitter.name.decode("utf-8", "surrogateescape").split("/"),
    )


def source_uri(configured: str, name: bytes, *, restricted: bool) -> str:
    """Give the source of a repository's events: a configured host gets the name appended."""
    host = configured.removeprefix("hg://")
    uri = configured if host.rstrip("/").count("/") else f"hg://{host.rstrip('/')}/{quote(name, safe=_PATH_SAFE)}"
    return uri + "?restricted" if restricted else uri


def repository_url(emitter: Emitter) -> str | None:
    """Give the URL to pull from, with the name of the repository put in."""
    if emitter.repo_url is None:
        return None
    url = emitter.repo_url.replace("{repo}", quote(emitter.name, safe=_PATH_SAFE))
    return decode_text(url.encode("utf-8", "surrogateescape"))[0]


class _Texts:
    """Collects which texts were not UTF-8 and what was cut while the data is built."""

    def __init__(self) -> None:
        self.raw: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}

    def read(self, pointer: str, raw: bytes) -> str:
        text, bad = decode_text(raw)
        if len(raw) > TEXT_MAX_BYTES:
            # Cut here, so that many long descriptions are never in memory together.
            self.cut[pointer] = len(text.encode())
            end = TEXT_MAX_BYTES
            while end > TEXT_MAX_BYTES - 4 and raw[end] & 0xC0 == _CONTINUATION:
                end -= 1
            text, bad = decode_text(raw[:end])
        if bad is not None:
            self.raw[pointer] = bad
        return text

    def note_cut(self, pointer: str, kept: int, total: int) -> None:
        if kept < total:
            self.cut[pointer] = total


def _head(texts: _Texts, place: int, node: str, text: bytes) -> dict[str, Any]:
    entry = parse_entry(text)
    branch = texts.read(f"/heads/{place}/branch", entry.branch)
    return {"node": node, "branch": branch, "closed": entry.closed}


def _changeset(texts: _Texts, pointer: str, changeset: Changeset, *, with_files: bool) -> dict[str, Any]:
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
    }


def _file_names(texts: _Texts, pointer: str, names: list[bytes]) -> list[str]:
    try:
        # Nearly always all are valid, and one call decodes them; no name holds a line break.
        return b"\n".join(names).decode().split("\n") if names else []
    except UnicodeDecodeError:
        return [texts.read(f"{pointer}/{place}", name) for place, name in enumerate(names)]
