# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The view "rows" of the stream: each event as a row of the live page, so that a browser draws it without thinking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

from sourcepulse.errors import DecodeError
from sourcepulse.events.wire import decode
from sourcepulse_web.board.documents import NOTHING_SEEN, Seen
from sourcepulse_web.pages.live.banners import BannerDoc, banner_of_event
from sourcepulse_web.pages.live.parts import Links
from sourcepulse_web.pages.live.sentences import RowDoc, row_of
from sourcepulse_web.settings import TreeSettings
from sourcepulse_web.stream.ports import Row

_BEAT = ("interval_s", "oldest_age_s", "pending")
_HEARTBEAT = ".heartbeat.v1"


class BeatDoc(TypedDict):
    """What the state word needs of a heartbeat."""

    interval_s: int
    oldest_age_s: int | None
    pending: int
    sources: list[dict[str, Any]]


class LiveRowDoc(RowDoc):
    """A row of the stream: of a heartbeat with its figures, of a tree's new state with its banner."""

    beat: NotRequired[BeatDoc]
    banner: NotRequired[BannerDoc]
    withdrawn: NotRequired[bool]


class RowView:
    """Makes rows; `seen` is the board's, `trees` are the settings' of now."""

    def __init__(
        self, seen: Callable[[Mapping[str, Any]], Seen] | None, trees: Callable[[], Mapping[str, TreeSettings]]
    ) -> None:
        self._seen = seen
        self._trees = trees

    def __call__(self, row: Row) -> bytes:
        """Return a row as one line of JSON."""
        return json.dumps(self.document(row), separators=(",", ":")).encode("ascii")

    def document(self, row: Row) -> LiveRowDoc:
        """Return a row; of bytes that are not an event, what the log's columns say."""
        event = opened(row)
        seen = NOTHING_SEEN if self._seen is None or row.withdrawn else self._seen(event)
        links = links_of(self._trees(), seen["repo"])
        document: LiveRowDoc = {**row_of(event, row.routing_key, seen, links)}  # type: ignore[typeddict-item]
        if row.withdrawn:
            document["withdrawn"] = True
        data = event.get("data")
        if isinstance(data, dict):
            if row.type.endswith(_HEARTBEAT) and all(name in data for name in _BEAT):
                document["beat"] = _beat(data)
            banner = banner_of_event(row.type, event, links)
            if banner is not None:
                document["banner"] = banner
        return document


def opened(row: Row) -> Mapping[str, Any]:
    """Return the event of a row as its envelope has it, in either form; what cannot be read is the columns alone."""
    columns = {"type": row.type, "source": row.source, "subject": row.subject, "id": row.id}
    try:
        document = json.loads(row.body)
        if isinstance(document, dict) and "specversion" in document:
            return document
        event = decode(row.body, routing_key=row.routing_key)
    except (DecodeError, RecursionError, ValueError):
        return columns
    numbers = event.numbers
    return {
        **columns,
        "time": event.time,
        "data": event.data,
        "replayed": event.replayed,
        "epoch": numbers and numbers.epoch,
        "sequence": None if numbers is None else f"{numbers.sequence:020}",
    }


def links_of(trees: Mapping[str, TreeSettings], repo: str | None) -> Links:
    """Return where bugs are: what the tree's settings say, else what all trees with a Bugzilla agree on."""
    own = next((tree.bugzilla for tree in trees.values() if tree.repository == repo), None)
    every = {tree.bugzilla for tree in trees.values() if tree.bugzilla}
    return Links(own or (every.pop() if len(every) == 1 else None))


def _beat(data: Mapping[str, Any]) -> BeatDoc:
    sources = data.get("sources")
    kept = ("source", "pending", "oldest_age_s")
    return {
        "interval_s": data["interval_s"],
        "oldest_age_s": data["oldest_age_s"],
        "pending": data["pending"],
        "sources": [
            {name: each.get(name) for name in kept}
            for each in (sources if isinstance(sources, list) else [])
            if isinstance(each, dict)
        ],
    }
