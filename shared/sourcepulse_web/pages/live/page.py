# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The live page: the newest events that a filter lets through, and the filter itself in the address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.web.http import SEE_OTHER
from twisted.web.resource import Resource

from sourcepulse.errors import ConfigError
from sourcepulse.events.event import format_time
from sourcepulse_web.pages.live.banners import banners_of
from sourcepulse_web.pages.live.lines import Placed, lines
from sourcepulse_web.pages.live.query import Query, key_in, query_of
from sourcepulse_web.pages.live.snippets import snippets
from sourcepulse_web.pages.live.view import RowView, links_of
from sourcepulse_web.pages.live.watch import HEARTBEAT
from sourcepulse_web.server.page import bad_request, render

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

ROWS_MAX = 100
#: How far back a page looks for rows of a narrow filter: the gateway sends nothing meanwhile.
LOOKED_MAX = 5_000
LOOK_SECONDS = 0.2
CHUNK = 500


class Looked(NamedTuple):
    """The newest rows that are wanted, oldest first; how many events were looked at, since when."""

    rows: list[Placed]
    events: int
    since: str


class Live(Resource):
    """Answers at /."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        board = services.board
        self._view = RowView(board.seen if board else None, lambda: services.settings().trees, services.watch)

    def render_GET(self, request: Request) -> bytes:
        try:
            query = query_of(request.args or {})
        except ConfigError as error:
            return bad_request(request, f"{error}.")
        key = key_in(query.text)
        if key is not None:
            address = query.address(key=[*query.asked.get("key", ()), key], q=[])
            request.setResponseCode(SEE_OTHER)
            request.setHeader(b"location", address.encode())
            return b""
        hub = self._services.hub
        # What the board and the watch have not read yet is left to the stream.
        hub.look()
        end = hub.position
        looked = self._newest(query, end)
        newest = looked.rows[-1].at if looked.rows else None
        trees = self._services.board.trees() if self._services.board else []
        settings = self._services.settings()
        banners, more = banners_of(trees, links_of(settings.trees, None))
        banners += self._services.watch.banners() if self._services.watch else []
        return render(
            request,
            self._services,
            "live.html",
            here="live",
            query=query,
            lines=lines(looked.rows),
            looked=looked,
            place=f"{hub.token}.{end}",
            age=None if newest is None else max(0, round(self._services.clock() - newest)),
            banners=banners,
            more_banners=more,
            snippets=snippets(_origin(request), query.stream),
        )

    render_HEAD = render_GET

    def _newest(self, query: Query, end: int) -> Looked:
        """Return the newest rows that are wanted, oldest first, and how far back they were looked for."""
        oldest = self._services.log.bounds().oldest
        deadline = time.monotonic() + LOOK_SECONDS
        found: list[Placed] = []
        until, looked, since = end, 0, self._services.clock()
        while until >= oldest and looked < LOOKED_MAX and len(found) < ROWS_MAX:
            after = max(until - CHUNK, oldest - 1)
            rows = self._between(after, until)
            kept = [self._wanted(query, row) for row in rows if query.filter.passes(row)]
            found = [*filter(None, kept), *found]
            looked, until = looked + len(rows), after
            since = rows[0].at if rows else since
            if time.monotonic() > deadline:
                break
        return Looked(found[-ROWS_MAX:], looked, format_time(since))

    def _between(self, after: int, until: int) -> list[Any]:
        """Return the rows of (after, until]; one answer of the log may have fewer."""
        found: list[Any] = []
        while True:
            rows = self._services.log.read(after, limit=CHUNK)
            found += [row for row in rows if row.position <= until]
            if not rows or rows[-1].position >= until:
                return found
            after = rows[-1].position

    def _wanted(self, query: Query, row: Any) -> Placed | None:
        document = self._view.document(row)
        if row.type.endswith(HEARTBEAT) and not query.shows_heartbeats():
            return None
        if query.text:
            text = "".join(part.text for part in document["parts"])
            sought = f"{text} {document['key']} {document['source']}".lower()
            if query.text.lower() not in sought:
                return None
        return Placed(row.position, row.at, document)


def _origin(request: Request) -> str:
    scheme = "https" if request.isSecure() else "http"
    host = (request.getHeader(b"host") or b"localhost").decode("ascii", "replace")
    return f"{scheme}://{host}"
