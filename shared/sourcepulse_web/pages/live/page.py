# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The live page: the newest events that a filter lets through, and the filter itself in the address."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as the_reactor
from twisted.python.failure import Failure
from twisted.web.http import SEE_OTHER
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from sourcepulse.errors import ConfigError
from sourcepulse_web.pages.live.banners import banners_of
from sourcepulse_web.pages.live.lines import lines
from sourcepulse_web.pages.live.newest import Looked, Search
from sourcepulse_web.pages.live.query import Query, key_in, query_of
from sourcepulse_web.pages.live.snippets import snippets
from sourcepulse_web.pages.live.view import RowView, links_of
from sourcepulse_web.server.asker import UserError, own_address, user_of
from sourcepulse_web.server.page import bad_request, render, sentence

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services
    from sourcepulse_web.webhooks.settings import WebhookSettings

#: Whose a webhook would be of a reader who did not sign in.
OWNER = "you@example.org"
#: For how long one page keeps the reactor from everything else at a time.
TURN_SECONDS = 0.01


class Live(Resource):
    """Answers at /."""

    isLeaf = True

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services
        seen = services.board.seen if services.board else None
        self._view = RowView(seen, lambda: services.settings().trees, services.watch, services.hub.faults)

    def render_GET(self, request: Request) -> bytes | int:
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
        _Answer(request, self._services, self._view, query).turn()
        return NOT_DONE_YET

    render_HEAD = render_GET


class _Answer:
    """One page, which is put together in several turns of the reactor."""

    def __init__(self, request: Request, services: Services, view: RowView, query: Query) -> None:
        self._request = request
        self._services = services
        self._view = view
        self._query = query
        self._reactor: Any = the_reactor
        self._gone = False
        self._restarts = -1
        request.notifyFinish().addErrback(self._lost)

    def turn(self) -> None:
        hub = self._services.hub
        if self._gone:
            return
        # What the board and the watch have not read yet is left to the stream.
        if not hub.look():
            self._request.write(sentence(self._request, 503, "The log cannot be read now; try again."))
            self._request.finish()
            return
        if hub.kept.restarts != self._restarts:
            # What was read so far may have been withdrawn.
            self._restarts = hub.kept.restarts
            self._end = hub.position
            now = self._services.clock()
            self._search = Search(self._services.log, self._view, self._query, self._end, now)
            self._steps = iter(self._search)
        until = time.perf_counter() + TURN_SECONDS
        for _ in self._steps:
            if time.perf_counter() > until:
                self._reactor.callLater(0, self._turn_again)
                return
        self._request.write(self._page(self._search.result))
        self._request.finish()

    def _turn_again(self) -> None:
        try:
            self.turn()
        except Exception:  # noqa: BLE001 - as Twisted does with what a page raises at once
            self._request.processingFailed(Failure())

    def _page(self, looked: Looked) -> bytes:
        services = self._services
        newest = looked.rows[-1].at if looked.rows else None
        # A tree may have opened again in what the board has not read yet.
        reads_all = services.board and not services.board.behind()
        trees = services.hub.faults.guard("banners", services.board.trees, []) if reads_all else []
        banners, more = banners_of(trees, links_of(services.settings().trees, None))
        banners += services.watch.banners() if services.watch else []
        return render(
            self._request,
            services,
            "live.html",
            here="live",
            query=self._query,
            lines=lines(looked.rows),
            looked=looked,
            place=f"{services.hub.token}.{self._end}",
            age=None if newest is None else max(0, round(services.clock() - newest)),
            banners=banners,
            more_banners=more,
            snippets=snippets(
                own_address(self._request),
                self._query,
                webhooks=services.settings().webhooks is not None,
                owner=_owner(self._request, services.settings().webhooks),
            ),
        )

    def _lost(self, _: object) -> None:
        self._gone = True


def _owner(request: Request, settings: WebhookSettings | None) -> str | None:
    """Return whose a new webhook would be where a proxy names users, or a name to replace; None where none does."""
    if settings is None or settings.proxy_header is None:
        return None
    try:
        return user_of(request, settings) or OWNER
    except UserError:
        # /hooks says what is wrong with it.
        return OWNER
