# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The view "rows" of the stream: each event as a row of the live page, so that a browser draws it without thinking."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NotRequired

from sourcepulse.events.event import format_time
from sourcepulse_web.board.documents import NOTHING_SEEN, Seen
from sourcepulse_web.pages.live.about import about, ends
from sourcepulse_web.pages.live.banners import BannerDoc, banner_of_event
from sourcepulse_web.pages.live.opened import opened
from sourcepulse_web.pages.live.sentences import RowDoc, row_of
from sourcepulse_web.pages.live.sentences.parts import Links
from sourcepulse_web.pages.live.watch import GapDoc, Watch
from sourcepulse_web.settings import TreeSettings
from sourcepulse_web.stream.faults import Faults
from sourcepulse_web.stream.ports import Row


class LiveRowDoc(RowDoc):
    """A row of the stream. `gap`: what stands before it; `banner`: of the new state of a tree or a service.

    `about`: the bug, comments and attachments it is about; `ends`: which of them is no longer public since this event.
    """

    gap: NotRequired[GapDoc]
    banner: NotRequired[BannerDoc]
    withdrawn: NotRequired[bool]
    about: NotRequired[list[str]]
    ends: NotRequired[str]


class RowView:
    """Makes rows; `seen` is the board's, `trees` are the settings' of now."""

    def __init__(
        self,
        seen: Callable[[Mapping[str, Any]], Seen] | None,
        trees: Callable[[], Mapping[str, TreeSettings]],
        watch: Watch | None,
        faults: Faults | None = None,
    ) -> None:
        self._watch = watch
        self._seen = seen
        self._trees = trees
        self._faults = faults or Faults()

    def __call__(self, row: Row) -> bytes:
        """Return a row as one line of JSON."""
        return json.dumps(self.document(row), separators=(",", ":")).encode("ascii")

    def document(self, row: Row, *, ask: bool = True) -> LiveRowDoc:
        """Return a row; of bytes that are not an event, what the log's columns say. `ask` the board what it knows."""
        found = self._faults.guard("sentence", lambda: self._document(row, ask=ask), None)
        return found or _of_columns(row)

    def _document(self, row: Row, *, ask: bool) -> LiveRowDoc:
        event = opened(row)
        seen = NOTHING_SEEN
        if self._seen is not None and ask and not row.withdrawn:
            look = partial(self._seen, event)
            seen = self._faults.guard("seen", look, NOTHING_SEEN)
        links = links_of(self._trees(), seen["repo"])
        document: LiveRowDoc = {**row_of(event, row.routing_key, seen, links)}  # type: ignore[typeddict-item]
        if row.withdrawn:
            document["withdrawn"] = True
        ended = ends(row, event)
        if ended is not None:
            document["ends"] = ended
        elif named := about(row, event):
            document["about"] = named
        gap = self._watch.gap(row.position) if self._watch else None
        if gap is not None:
            document["gap"] = gap
        data = event.get("data")
        if isinstance(data, dict):
            banner = banner_of_event(row.type, event, links)
            if banner is not None:
                document["banner"] = banner
        return document


def _of_columns(row: Row) -> LiveRowDoc:
    """Return a row of which only the columns of the log are shown, without a sentence."""
    event = {"type": row.type, "source": row.source, "subject": row.subject, "id": row.id, "time": format_time(row.at)}
    return {**row_of(event, row.routing_key, NOTHING_SEEN, Links())}  # type: ignore[typeddict-item]


def links_of(trees: Mapping[str, TreeSettings], repo: str | None) -> Links:
    """Return where bugs are: what the tree's settings say, else what all trees with a Bugzilla agree on."""
    own = next((tree.bugzilla for tree in trees.values() if tree.repository == repo), None)
    every = {tree.bugzilla for tree in trees.values() if tree.bugzilla}
    return Links(own or (every.pop() if len(every) == 1 else None))
