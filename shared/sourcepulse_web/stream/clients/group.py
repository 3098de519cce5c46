# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The clients that asked for the same, and what all of them get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sourcepulse_web.stream.clients.client import Client, Subscription
from sourcepulse_web.stream.frames import WITHDRAW, Framing, as_json
from sourcepulse_web.stream.ids import Place
from sourcepulse_web.stream.kept import Page
from sourcepulse_web.stream.ports import Channel, Log, View, Withdrawal

#: How many withdrawn events a frame lists.
WITHDRAWN_IN_FRAME = 200
#: About how many are read at a time; the log returns all that one event caused.
WITHDRAWALS_READ = 2_000
NO_LIMIT = 1 << 62


class Group:
    """Clients with one subscription: `live` are level with the hub, `late` are not."""

    __slots__ = ("late", "live", "subscription")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.live: set[Client] = set()
        self.late: set[Client] = set()


class Writer:
    """Writes frames for subscriptions, those of one step of the hub once."""

    def __init__(self, views: Mapping[str, View], channels: Mapping[str, Channel]) -> None:
        #: That of the log.
        self.token = ""
        self._views = views
        self._channels = channels

    def some(
        self, subscription: Subscription, page: Page, *, max_bytes: int = NO_LIMIT, max_events: int = NO_LIMIT
    ) -> tuple[list[bytes], int]:
        """Return the frames of the page's events that the subscription has, and the position that they lead to.

        The frame that reaches `max_bytes` is the last one.
        """
        asked, framing = subscription.filter, subscription.framing
        frames: list[bytes] = []
        if asked is None:
            return frames, page.reach
        view = None if subscription.view is None else (subscription.view, self._views[subscription.view])
        size = 0
        for entry in page.entries:
            if asked.passes(entry.row):
                frames.append(entry.frame(self.token, framing, view))
                size += len(frames[-1])
                if size >= max_bytes or len(frames) >= max_events:
                    return frames, entry.row.position
        return frames, page.reach

    def step(
        self, asked: Subscription, page: Page, after: int, withdrawn: Sequence[Withdrawal], changes: ChannelCache
    ) -> bytes:
        """Return all that a client gets of a page whose events follow a position."""
        frames = [
            *self.withdrawn(asked.framing, after, withdrawn),
            *self.some(asked, page)[0],
            *self.changes(asked, page.reach, after, page.reach, changes),
        ]
        return b"".join(frames)

    def changes(
        self, subscription: Subscription, position: int, after: int, until: int, cache: ChannelCache
    ) -> list[bytes]:
        """Return the frames of the channels for the events in (after, until]; they leave a client at its position."""
        frames = []
        for channel, name in subscription.channels:
            key = (channel, name, after, until)
            if key not in cache:
                cache[key] = self._channels[channel].frames(name, after, until)
            place = str(Place(self.token, position))
            frames += [subscription.framing.named(channel, place, data) for data in cache[key]]
        return frames

    def withdrawn(self, framing: Framing, position: int, found: Sequence[Withdrawal]) -> list[bytes]:
        """Return the frames that name withdrawn events; they leave a client at its position."""
        place = str(Place(self.token, position))
        return [
            framing.named(
                WITHDRAW, place, as_json({"withdrawn": withdrawn_list(found[begin : begin + WITHDRAWN_IN_FRAME])})
            )
            for begin in range(0, len(found), WITHDRAWN_IN_FRAME)
        ]


ChannelCache = dict[tuple[str, str, int, int], list[bytes]]


def withdrawn_list(found: Sequence[Withdrawal]) -> list[dict[str, object]]:
    """Return withdrawn events as JSON has them."""
    return [{"position": each.position, "source": each.source, "id": each.id} for each in found]


def read_withdrawals(log: Log, after: int, until: int) -> tuple[list[Withdrawal], int]:
    """Return the withdrawals that events after a position caused, and up to which position these are all."""
    if after >= until:
        return [], until
    found = log.withdrawals(after, until, limit=WITHDRAWALS_READ)
    return found, until if len(found) < WITHDRAWALS_READ else found[-1].caused_by
