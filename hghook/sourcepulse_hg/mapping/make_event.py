# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make an event of a transaction: add the common members and apply the size limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sourcepulse.events.bounds import TEXT_MAX_BYTES, Limits, bound, decode_text, envelope_bytes
from sourcepulse.events.event import Event
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.emitter import repository_url

_CONTINUATION = 0x80
_NO_LISTS: Mapping[str, int] = MappingProxyType({})


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
