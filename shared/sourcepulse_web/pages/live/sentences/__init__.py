# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An event as one line of the live page: a sentence for each type of the catalogue, and never nothing for any other.

Pure: the event and what the board has seen of it go in, a row comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from sourcepulse_web.board.documents import Seen
from sourcepulse_web.pages.live.sentences import bugzilla, build, hg, system
from sourcepulse_web.pages.live.sentences.parts import Links, Part, plain, shown, visible

Sentence = Callable[[Mapping[str, Any], Seen, Links], list[Part]]
KIND_OTHER = "Event"
KIND_STATUS = "Status"

_SENTENCES: Mapping[str, tuple[str, Sentence]] = {
    **hg.SENTENCES,
    **build.SENTENCES,
    **bugzilla.SENTENCES,
    **system.SENTENCES,
}


class RowDoc(TypedDict):
    """What a row shows before it is opened; `parts` are those of the sentence, and names are those of the envelope."""

    time: str
    kind: str
    parts: list[Part]
    key: str
    type: str
    source: str
    subject: str | None
    id: str
    epoch: str | None
    sequence: str | None
    replayed: bool


def row_of(event: Mapping[str, Any], key: str, seen: Seen, links: Links) -> RowDoc:
    """Return the row of an event that was sent under this routing key."""
    kind, parts = _said(event, key, seen, links)
    return {
        "time": str(event.get("time") or ""),
        "kind": kind,
        "parts": [part._replace(text=visible(part.text)) for part in parts],
        "key": key,
        "type": str(event.get("type")),
        "source": str(event.get("source")),
        "subject": event.get("subject"),
        "id": str(event.get("id")),
        "epoch": event.get("epoch"),
        "sequence": event.get("sequence"),
        "replayed": bool(event.get("replayed")),
    }


def _said(event: Mapping[str, Any], key: str, seen: Seen, links: Links) -> tuple[str, list[Part]]:
    type_ = str(event.get("type"))
    words, _, version = type_.rpartition(".v")
    data = event.get("data")
    if version.isdecimal() and isinstance(data, dict):
        try:
            if words in _SENTENCES:
                kind, sentence = _SENTENCES[words]
                return kind, sentence(data, seen, links)
            if words.startswith("system."):
                return KIND_STATUS, _status(words, data, event, links)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError):
            # Data that is not as its schema says still has a line.
            pass
    subject = event.get("subject")
    parts = [Part("name", shown(type_)), *([Part("text", f" {shown(str(subject))}")] if subject else [])]
    return KIND_OTHER, [*parts, plain(" as "), Part("text", shown(key))]


def _status(words: str, data: Mapping[str, Any], event: Mapping[str, Any], links: Links) -> list[Part]:
    if words.endswith(".heartbeat"):
        return system.heartbeat(words, data, str(event.get("source")))
    return system.status(words, data, links)
