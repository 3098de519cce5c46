# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The newest events that a query asks for, looked for in steps, so that streams go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from sourcepulse.events.event import format_time
from sourcepulse_web.pages.live.lines import Placed
from sourcepulse_web.pages.live.query import Query
from sourcepulse_web.pages.live.view import LiveRowDoc, RowView
from sourcepulse_web.pages.live.watch import HEARTBEAT
from sourcepulse_web.stream.ports import Log, Row

ROWS_MAX = 100
#: How far back is looked for rows of a narrow query.
LOOKED_MAX = 5_000
LOOK_SECONDS = 2.0
#: For how long the board is asked what it knows of a row that a text was not found in.
SEEN_SECONDS = 0.5
CHUNK = 250


class Looked(NamedTuple):
    """The newest rows that are wanted, oldest first; how many events were looked at, since when."""

    rows: list[Placed]
    events: int
    since: str


class Search:
    """One search; iterate over it: each step is short, and `result` is there after the last one."""

    def __init__(self, log: Log, view: RowView, query: Query, end: int, now: float) -> None:
        self._log = log
        self._view = view
        self._query = query
        self._end = end
        self._seen_until = time.monotonic() + SEEN_SECONDS
        self._found: list[Placed] = []
        self._looked = 0
        self._since = now

    @property
    def result(self) -> Looked:
        """Return what was found so far."""
        return Looked(self._found[::-1], self._looked, format_time(self._since))

    def __iter__(self) -> Iterator[None]:
        oldest = self._log.bounds().oldest
        deadline = time.monotonic() + LOOK_SECONDS
        until = self._end
        while until >= oldest and self._looked < LOOKED_MAX and time.monotonic() < deadline:
            after = max(until - CHUNK, oldest - 1)
            for row in reversed(self._between(after, until)):
                self._looked += 1
                self._since = row.at
                document = self._wanted(row)
                if document is not None:
                    self._found.append(Placed(row.position, row.at, document))
                    if len(self._found) == ROWS_MAX:
                        return
                yield
            until = after
            yield

    def _between(self, after: int, until: int) -> list[Row]:
        """Return the rows of (after, until]; one answer of the log may have fewer."""
        found: list[Row] = []
        while True:
            rows: list[Any] = self._log.read(after, limit=CHUNK)
            found += [row for row in rows if row.position <= until]
            if not rows or rows[-1].position >= until:
                return found
            after = rows[-1].position

    def _wanted(self, row: Row) -> LiveRowDoc | None:
        query = self._query
        if not query.filter.passes(row) or (row.type.endswith(HEARTBEAT) and not query.shows_heartbeats()):
            return None
        if query.text and not self._has(query.text.lower(), self._view.document(row, ask=False)):
            # Only of builds the board knows words that are not in the event itself.
            if not row.type.startswith(("build.", "test.")) or time.monotonic() > self._seen_until:
                return None
            document = self._view.document(row)
            return document if self._has(query.text.lower(), document) else None
        return self._view.document(row)

    @staticmethod
    def _has(text: str, document: LiveRowDoc) -> bool:
        words = "".join(part.text for part in document["parts"])
        return text in f"{words} {document['key']} {document['source']}".lower()
