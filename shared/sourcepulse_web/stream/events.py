# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/events`: the stream of the log for browsers (EventSource) and programs (lines of JSON)."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from twisted.web.server import NOT_DONE_YET

from sourcepulse.errors import SourcePulseError
from sourcepulse_web.stream.begin import start_of
from sourcepulse_web.stream.clients.client import Client
from sourcepulse_web.stream.frames import ALIVE, HELLO, RESET, as_json
from sourcepulse_web.stream.hub import LOG_UNREADABLE, OVERLOAD, Hub
from sourcepulse_web.stream.ids import Place
from sourcepulse_web.stream.query import Asked, stream_asked
from sourcepulse_web.stream.resource import LogResource

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

#: After how many milliseconds a browser connects again: at random, so that many do not come at once.
RETRY_MS = (1_000, 3_000)


class Events(LogResource):
    """A stream of events.

    What a later attempt can mend is a `bye` and not a status, after which an EventSource never connects again.
    """

    def answer(self, request: Request) -> Any:
        hub: Hub = self._services.hub
        asked = stream_asked(request, hub.views, hub.channels, self._services.clock())
        framing = asked.subscription.framing
        request.setHeader(b"content-type", framing.content_type)
        request.setHeader(b"cache-control", b"no-store")
        request.setHeader(b"x-accel-buffering", b"no")
        request.responseHeaders.addRawHeader(b"vary", b"Accept")
        if request.method == b"HEAD":
            return b""
        hub.look()
        refusal = hub.refusal(asked.subscription)
        if refusal is None and hub.clients >= self._services.settings().clients_max:
            refusal = OVERLOAD
        if refusal is not None:
            return _close(request, hub.bye(framing, refusal))
        try:
            self._begin(request, hub, asked)
        except SourcePulseError as error:
            hub.fail(error)
            return _close(request, hub.bye(framing, LOG_UNREADABLE))
        return NOT_DONE_YET

    def _begin(self, request: Request, hub: Hub, asked: Asked) -> None:
        start = start_of(hub.log, last_id=asked.last_id, since=asked.since)
        framing = asked.subscription.framing
        bounds = hub.log.bounds()
        place = str(Place(hub.token, start.position))
        hello = {
            "token": hub.token,
            "position": start.position,
            "oldest": bounds.oldest,
            "end": bounds.end,
            "version": self._services.version,
        }
        first = framing.named(HELLO, place, as_json(hello), retry_ms=random.randint(*RETRY_MS))  # noqa: S311
        if asked.subscription.is_of_a_page:
            first += framing.named(ALIVE, place, hub.alive())
        if start.reset is not None:
            hub.counts[start.reset["reason"]] += 1
            first += framing.named(RESET, place, as_json(start.reset))
        hub.add(request, Client(asked.subscription, start.position, start.side), first)


def _close(request: Request, last: bytes) -> int:
    """Answer with these frames alone."""
    channel = request.channel
    request.setHeader(b"connection", b"close")
    request.write(last)
    request.finish()
    channel.loseConnection()
    return NOT_DONE_YET


def resource(services: Services) -> Events:
    """Return what answers `/events`."""
    return Events(services)
