# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`/events.json`: a page of the log as one JSON document, for programs that ask now and then."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as the_reactor
from twisted.web.server import NOT_DONE_YET

from sourcepulse.errors import ConfigError, SourcePulseError, quoted
from sourcepulse_web.server.page import sentence
from sourcepulse_web.stream.begin import Since, Start, parse_since, start_of
from sourcepulse_web.stream.clients.client import Subscription
from sourcepulse_web.stream.clients.group import read_withdrawals, withdrawn_list
from sourcepulse_web.stream.filter import PARAMETERS, filter_of
from sourcepulse_web.stream.frames import LINES, as_json
from sourcepulse_web.stream.hub import Hub
from sourcepulse_web.stream.ids import Place
from sourcepulse_web.stream.ports import Withdrawal
from sourcepulse_web.stream.query import Arguments, arguments_of, check_known, single
from sourcepulse_web.stream.resource import LogResource

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

#: How many events an answer has.
LIMIT, LIMIT_MAX = 100, 1_000
#: An answer ends after about so many bytes of events, so many events looked at, or so many withdrawn ones.
ANSWER_BYTES = 4 << 20
SCANNED_MAX = 50_000
WITHDRAWN_MAX = 10_000
#: For how long one answer keeps the reactor at a time.
TURN_SECONDS = 0.005
#: How often an answer looks whether the hub has read what was appended before the request, and the pause between.
LOOKS_MAX, LOOK_SECONDS = 100, 0.005
RETRY_AFTER_SECONDS = b"5"


class EventsJson(LogResource):
    """Pages of events by position."""

    def answer(self, request: Request) -> Any:
        arguments = arguments_of(request)
        check_known(arguments, (*PARAMETERS, "after", "limit"))
        asked = Subscription(filter_of(arguments), LINES)
        after = single(arguments, "after")
        since = None if after is None else parse_since(after, self._services.clock(), name="after")
        limit = _limit(arguments)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        if request.method == b"HEAD":
            return b""
        _Answer(request, self._services.hub, asked, since, limit).turn()
        return NOT_DONE_YET


class _Answer:
    """One answer, which is put together in several turns of the reactor."""

    def __init__(self, request: Request, hub: Hub, asked: Subscription, since: Since | None, limit: int) -> None:
        self._request = request
        self._hub = hub
        self._asked = asked
        self._since = since
        self._limit = limit
        self._gone = False
        self._restarts = -1
        self._patience = LOOKS_MAX
        self._start = Start(0, 0)
        self._position = self._end = 0
        self._frames: list[bytes] = []
        self._size = self._scanned = 0
        request.notifyFinish().addErrback(self._lost)

    def turn(self) -> None:
        """Read on, and answer when there is enough."""
        if self._gone:
            return
        try:
            if self._hub.look():
                self._go_on()
                return
        except SourcePulseError as error:
            self._hub.fail(error)
        self._refuse("The log cannot be read now; try again.")

    def _go_on(self) -> None:
        if self._patience and self._hub.position < self._hub.log.bounds().end:
            # The hub reads what was appended just now.
            self._patience -= 1
            self._later(LOOK_SECONDS)
            return
        if self._hub.kept.restarts != self._restarts:
            # What was read so far may have been withdrawn.
            self._begin()
        end = time.perf_counter() + TURN_SECONDS
        while not self._is_full():
            page = self._hub.kept.page(self._position, self._end)
            frames, reach = self._hub.writer.some(
                self._asked,
                page,
                max_bytes=ANSWER_BYTES - self._size,
                max_events=self._limit - len(self._frames),
            )
            self._frames += frames
            self._size += sum(map(len, frames))
            self._scanned += len(page.entries)
            self._position = reach
            if time.perf_counter() > end:
                self._later(0)
                return
        self._finish()

    def _later(self, seconds: float) -> None:
        reactor: Any = the_reactor
        reactor.callLater(seconds, self.turn)

    def _begin(self) -> None:
        hub = self._hub
        self._restarts = hub.kept.restarts
        since = self._since if self._since is not None else Since("", position=hub.log.bounds().oldest - 1)
        self._start = start_of(hub.log, last_id="", since=since)
        self._position = self._start.position
        self._end = max(hub.position, self._position)
        self._frames = []
        self._size = self._scanned = 0

    def _is_full(self) -> bool:
        return (
            self._position >= self._end
            or len(self._frames) >= self._limit
            or self._size >= ANSWER_BYTES
            or self._scanned >= SCANNED_MAX
        )

    def _finish(self) -> None:
        hub, start = self._hub, self._start
        withdrawn: list[Withdrawal] = []
        side = start.side
        while side < self._position and len(withdrawn) < WITHDRAWN_MAX:
            found, side = read_withdrawals(hub.log, side, self._position)
            withdrawn += found
        if side < self._position:
            self._shorten(side)
        bounds = hub.log.bounds()
        head = {
            "token": hub.token,
            "after": start.position,
            "next": str(Place(hub.token, self._position)),
            "oldest": bounds.oldest,
            "end": bounds.end,
            "reset": start.reset,
            "withdrawn": withdrawn_list(withdrawn),
        }
        events = b",\n".join(frame.rstrip(b"\n") for frame in self._frames)
        self._request.write(as_json(head)[:-1] + b',"events":[' + events + b"]}\n")
        self._request.finish()

    def _shorten(self, end: int) -> None:
        """Leave what follows a position to the next answer, because there are too many withdrawn ones for this one."""
        self._position = end
        self._frames = [frame for frame in self._frames if _position(frame) <= end]

    def _refuse(self, text: str) -> None:
        self._request.setHeader(b"retry-after", RETRY_AFTER_SECONDS)
        self._request.write(sentence(self._request, 503, text))
        self._request.finish()

    def _lost(self, _: object) -> None:
        self._gone = True


def _position(frame: bytes) -> int:
    place: str = json.loads(frame)["id"]
    return int(place.rpartition(".")[2])


def _limit(arguments: Arguments) -> int:
    text = single(arguments, "limit")
    if text is None:
        return LIMIT
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= LIMIT_MAX:
        raise ConfigError(f"limit={quoted(text)} must be a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def resource(services: Services) -> EventsJson:
    """Return what answers `/events.json`."""
    return EventsJson(services)
