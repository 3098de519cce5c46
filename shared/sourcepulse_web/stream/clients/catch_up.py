# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Brings clients level that came back, or read slowly: a page for each in turn, so that none delays the others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sourcepulse_web.stream.begin import OLDER, reset_document
from sourcepulse_web.stream.clients.client import Client, Subscription
from sourcepulse_web.stream.clients.group import ChannelCache, Writer, read_withdrawals
from sourcepulse_web.stream.frames import RESET, as_json
from sourcepulse_web.stream.ids import Place
from sourcepulse_web.stream.kept import Kept
from sourcepulse_web.stream.ports import Log

#: For how long catching up keeps the reactor from everything else.
TURN_SECONDS = 0.005
#: The pause while nothing may be sent.
HELD_SECONDS = 0.25
#: What a client is sent at a time.
STEP_BYTES = 64 << 10


class CatchUp:
    """The clients that are behind and have read everything they were sent."""

    def __init__(
        self,
        log: Log,
        kept: Kept,
        writer: Writer,
        reactor: Any,
        level: Callable[[Client], None],
        look: Callable[[], bool],
        attempt: Callable[[Callable[[], None]], bool],
        goal: Callable[[Subscription], int],
    ) -> None:
        """`level` is called with each client that came up, `look` reads what is new, `attempt` calls what may fail.

        `goal` returns up to where the others have everything who asked for the same.
        """
        self._log = log
        self._kept = kept
        self._writer = writer
        self._reactor = reactor
        self._level = level
        self._look = look
        self._attempt = attempt
        self._queue: deque[Client] = deque()
        self._call: Any = None
        self._changes: ChannelCache = {}
        self._pause = 0.0
        self._goal = goal
        #: Clients that know more, of another gateway on the same log, which read further, or that wait for a channel.
        self._ahead: list[Client] = []

    def add(self, client: Client) -> None:
        """Bring a client up that has read everything it was sent."""
        client.behind_bytes = 0
        if not client.gone and not client.queued:
            client.queued = True
            self._queue.append(client)
            self._go()

    def reach(self) -> None:
        """Go on with those who know more, because the others got further."""
        ahead, self._ahead = self._ahead, []
        for client in ahead:
            self.add(client)

    def _go(self, pause: float = 0.0) -> None:
        if self._call is None and self._queue:
            self._call = self._reactor.callLater(pause, self._turn)

    def _turn(self) -> None:
        self._call = None
        self._pause = 0.0
        if self._attempt(self._some):
            self._go(self._pause)
        if not self._queue:
            self._kept.forget_pages()

    def _some(self) -> None:
        # What was blanked a moment ago must not leave from what is kept in memory.
        if not self._look():
            self._pause = HELD_SECONDS
            return
        self._changes.clear()
        end = time.perf_counter() + TURN_SECONDS
        for _ in range(len(self._queue)):
            client = self._queue.popleft()
            client.queued = False
            if not client.gone and not client.wire.waiting:
                self._step(client)
            if time.perf_counter() >= end:
                break

    def _step(self, client: Client) -> None:
        goal = self._goal(client.subscription)
        if client.position > goal:
            self._ahead.append(client)
            return
        frames = self._side(client, goal)
        if client.subscription.filter is None:
            client.position = goal
        elif client.position < goal:
            frames += self._trimmed(client, goal)
            page = self._kept.page(client.position, goal)
            found, client.position = self._writer.some(client.subscription, page, max_bytes=STEP_BYTES)
            frames += found
        if frames and not client.send(b"".join(frames), now=self._reactor.seconds()):
            return
        if client.position == goal == client.side:
            self._level(client)
        else:
            self.add(client)

    def _side(self, client: Client, goal: int) -> list[bytes]:
        """Return what must come before any later event: withdrawals; and what changed on the channels."""
        if client.side >= goal:
            return []
        found, side = read_withdrawals(self._log, client.side, goal)
        frames = self._writer.withdrawn(client.subscription.framing, min(client.position, goal), found)
        frames += self._writer.changes(client.subscription, client.position, client.side, side, self._changes)
        client.side = side
        return frames

    def _trimmed(self, client: Client, goal: int) -> list[bytes]:
        """Return a reset if the log no longer has what comes next."""
        if self._kept.has(client.position):
            return []
        oldest, end = self._log.bounds()
        if client.position >= oldest - 1:
            return []
        asked = str(Place(self._writer.token, client.position))
        lost = oldest - 1 - client.position
        client.position = min(oldest - 1, goal)
        document = reset_document(OLDER, asked, oldest=oldest, end=end, lost=lost, position=client.position)
        place = str(Place(self._writer.token, client.position))
        return [client.subscription.framing.named(RESET, place, as_json(document))]
