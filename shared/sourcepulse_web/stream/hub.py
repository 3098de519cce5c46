# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sends what is appended to the log to all clients that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

from sourcepulse_web.stream.ports import Before, Channel, Log, View


class Hub:
    """Follows one log and sends what is new in it to its clients.

    hub = Hub(log, clock=time.time, reactor=reactor, before=[board.apply], channels={"board": board})
    hub.start()
    """

    def __init__(
        self,
        log: Log,
        *,
        clock: Callable[[], float],
        reactor: Any,
        before: Sequence[Before] = (),
        views: Mapping[str, View] | None = None,
        channels: Mapping[str, Channel] | None = None,
        away: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.log = log
        self.views = dict(views or {})
        self.channels = dict(channels or {})
        self._clock = clock
        self._reactor = reactor
        self._before = list(before)
        self._away = away
        self.position = 0

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return 0

    def start(self) -> None:
        """Follow the log from its end."""
        self.position = self.log.bounds().end

    def wake(self) -> None:
        """Look for new events now, for example after an append."""

    def stop(self, reason: str) -> Deferred[None]:  # noqa: ARG002
        """Send every client `bye` with the reason, and close all within seconds."""
        return succeed(None)
