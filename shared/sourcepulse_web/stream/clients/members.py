# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The connected clients in their groups: who is level with the hub, who is late, and who is sent away."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sourcepulse_web.stream.clients.client import Client, Subscription
from sourcepulse_web.stream.clients.group import Group
from sourcepulse_web.stream.frames import ALIVE, BYE, Framing, as_json, chunk
from sourcepulse_web.stream.ids import Place

if TYPE_CHECKING:
    from twisted.web.server import Request

#: Every client is written to within this time.
KEEP_ALIVE_SECONDS = 15
#: What a client may miss while it reads nothing, and for how long it may read nothing of what it was sent.
BEHIND_MAX_BYTES = 256 << 10
STALLED_MAX_SECONDS = 60.0
#: The most patterns of all filters together, each of which is compared with each new routing key in about 3 us.
PATTERNS_MAX = 20_000
#: When clients come back that were sent away: at random between the first and the second, later if they are many.
RETRY_SECONDS = (2.0, 6.0)
RETRY_SECONDS_PER_CLIENT = 0.004
#: Why a connection was cut: too much waits, nothing is read, or what waits must not be shown any more.
SLOW, STALLED, WITHDRAWN = "slow", "stalled", "withdrawn"


class Members:
    """The clients of one hub."""

    def __init__(self, reactor: Any, counts: Counter[str], drained: Callable[[Client], None]) -> None:
        self.groups: dict[Subscription, Group] = {}
        self.all: set[Client] = set()
        self._patterns = 0
        self._reactor = reactor
        self._counts = counts
        self._drained = drained
        self._turns: list[set[Client]] = [set() for _ in range(KEEP_ALIVE_SECONDS)]
        self._turn = 0

    def add(self, request: Request, client: Client, first: bytes, lost: Callable[[], None]) -> None:
        """Send a client its first frames; `lost` is called when its connection is closed."""
        self.all.add(client)
        client.turn = random.randrange(KEEP_ALIVE_SECONDS)  # noqa: S311 - spreads the load
        self._turns[client.turn].add(client)
        self._group(client).late.add(client)
        client.stalled_since = self._reactor.seconds()

        def ended(_: object) -> None:
            client.wire.lost = True
            self.leave(client)
            self.all.discard(client)
            lost()

        client.open(request, self._reactor, first, self._drained)
        request.notifyFinish().addBoth(ended)

    def has_room(self, subscription: Subscription) -> bool:
        """Return whether one more filter can be looked at for every event; one that others have costs nothing."""
        return subscription in self.groups or self._patterns + _patterns(subscription) <= PATTERNS_MAX

    def level(self, client: Client) -> None:
        """Count a client as level with the hub."""
        group = self._group(client)
        group.late.discard(client)
        group.live.add(client)

    def send(self, group: Group, data: bytes, until: int) -> None:
        """Send frames to the live clients of a group; those who do not read them at once are late."""
        now = self._reactor.seconds()
        chunked = chunk(data)
        late = [client for client in group.live if not client.wire.send(chunked if client.wire.chunked else data)]
        for client in late:
            client.position = client.side = until
            client.stalled_since = now
            group.live.discard(client)
            group.late.add(client)

    def fall_back(self, groups: Sequence[Group], position: int) -> list[Client]:
        """Make the live clients of groups late, which have everything up to a position, and return them."""
        found = []
        for group in groups:
            for client in list(group.live):
                client.position = client.side = position
                group.live.discard(client)
                group.late.add(client)
                found.append(client)
        return found

    def missed(self, group: Group, size: int) -> None:
        """Count what the late clients of a group do not get now, and cut those who have too much to come."""
        for client in list(group.late):
            if client.wire.waiting:
                client.behind_bytes += size
                if client.behind_bytes > BEHIND_MAX_BYTES:
                    self.cut(client, SLOW)

    def forget(self) -> None:
        """Cut the clients for whom something waits to be sent, because of what must not be shown any more.

        What waits is not looked at: a board, a sentence or another bug's event may have the words of any earlier event.
        """
        for client in [client for client in self.all if client.wire.waiting]:
            if client.gone:
                client.wire.abort()
            else:
                self.cut(client, WITHDRAWN)

    def tick(
        self, token: str, reached: Callable[[Subscription], int], away: str | None, alive: Callable[[], bytes]
    ) -> None:
        """Once a second: write to those whose turn it is; `away` is why nothing new comes, and sends them away.

        `reached` returns what the live ones have, `alive` what pages get in place of a keep-alive.
        """
        self._turn = (self._turn + 1) % KEEP_ALIVE_SECONDS
        now = self._reactor.seconds()
        said: bytes | None = None
        for client in list(self._turns[self._turn]):
            is_live = client in self._group(client).live
            position = reached(client.subscription)
            if is_live and away is not None:
                self.dismiss(client, away)
            elif not client.wire.waiting:
                at = position if is_live else client.position
                framing, place = client.subscription.framing, str(Place(token, at))
                data = framing.keep_alive(place)
                if client.subscription.is_of_a_page:
                    said = alive() if said is None else said
                    data = framing.named(ALIVE, place, said)
                if not client.send(data, now=now) and is_live:
                    client.position = client.side = position
                    self._group(client).live.discard(client)
                    self._group(client).late.add(client)
            elif now - client.stalled_since > STALLED_MAX_SECONDS:
                self.cut(client, STALLED)

    def bye(self, framing: Framing, reason: str) -> bytes:
        """Return the frame that sends a client away, with the pause after which it comes back."""
        self._counts[reason] += 1
        low, high = RETRY_SECONDS
        high += RETRY_SECONDS_PER_CLIENT * len(self.all)
        retry_ms = round(1000 * random.uniform(low, high))  # noqa: S311 - spreads the load
        return framing.named(BYE, None, as_json({"reason": reason, "retry_ms": retry_ms}), retry_ms=retry_ms)

    def dismiss_all(self, reason: str) -> None:
        """Send all clients away; they come back after a while."""
        for client in list(self.all):
            if not client.gone:
                self.dismiss(client, reason)

    def dismiss(self, client: Client, reason: str) -> None:
        """Send a client away, which comes back after a while."""
        self.leave(client)
        client.wire.close(self.bye(client.subscription.framing, reason))

    def cut(self, client: Client, reason: str) -> None:
        """Close a client's connection without a word, because it does not read; it comes back by its id."""
        self._counts[reason] += 1
        self.leave(client)
        client.wire.abort()

    def leave(self, client: Client) -> None:
        """Send this client nothing more; it counts until its connection is closed."""
        client.gone = True
        self._turns[client.turn].discard(client)
        group = self.groups.get(client.subscription)
        if group is not None:
            group.live.discard(client)
            group.late.discard(client)
            if not group.live and not group.late:
                del self.groups[client.subscription]
                self._patterns -= _patterns(client.subscription)

    def _group(self, client: Client) -> Group:
        group = self.groups.get(client.subscription)
        if group is None:
            group = self.groups[client.subscription] = Group(client.subscription)
            self._patterns += _patterns(client.subscription)
        return group


def _patterns(subscription: Subscription) -> int:
    return 0 if subscription.filter is None else subscription.filter.patterns
