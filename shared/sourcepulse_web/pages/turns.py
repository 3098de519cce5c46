# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Answers that are put together in several turns of the reactor, so that streams go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as the_reactor
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from sourcepulse_web.server.page import sentence

if TYPE_CHECKING:
    from twisted.web.server import Request

    from sourcepulse_web.services import Services

#: For how long one answer keeps the reactor from everything else at a time.
TURN_SECONDS = 0.01

Steps = Generator[None, None, bytes]


def answer_in_turns(request: Request, services: Services, steps: Callable[[], Steps]) -> int:
    """Answer with what the steps return. They are begun again if something is withdrawn while they are made."""
    _Answer(request, services, steps).turn()
    return NOT_DONE_YET


class _Answer:
    """One answer."""

    def __init__(self, request: Request, services: Services, steps: Callable[[], Steps]) -> None:
        self._request = request
        self._services = services
        self._begin = steps
        self._steps = steps()
        self._restarts = self._restarted()
        self._reactor: Any = the_reactor
        self._gone = False
        request.notifyFinish().addErrback(self._lost)

    def turn(self) -> None:
        try:
            self._turn()
        except Exception:  # noqa: BLE001 - as Twisted does with what a page raises at once
            self._request.processingFailed(Failure())

    def _turn(self) -> None:
        hub = self._services.hub
        if self._gone:
            return
        # What was blanked a moment ago must not leave in what was drawn before.
        if hub is not None and not hub.look():
            self._finish(sentence(self._request, 503, "The log cannot be read now; try again."))
            return
        if self._restarted() != self._restarts:
            self._restarts = self._restarted()
            self._steps = self._begin()
        until = time.perf_counter() + TURN_SECONDS
        while time.perf_counter() < until:
            try:
                next(self._steps)
            except StopIteration as done:
                self._finish(done.value)
                return
        self._reactor.callLater(0, self.turn)

    def _restarted(self) -> int:
        hub = self._services.hub
        return 0 if hub is None else int(hub.kept.restarts)

    def _finish(self, body: bytes) -> None:
        self._request.setHeader(b"content-length", str(len(body)).encode())
        self._request.write(body)
        self._request.finish()

    def _lost(self, _: object) -> None:
        self._gone = True
