# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When events that are done with are recorded and acknowledged: each at once, or many together while they rush by."""

from __future__ import annotations

from collections.abc import Callable

from sourcepulse.consumer.item import Item

#: In a rush each event is done with so soon after the one before.
RUSH_SECONDS = 0.005
#: After so many in a row it is a rush.
RUSH_EVENTS = 20
#: So many are recorded together at most, and none waits longer for others while the consumer is called.
GROUP_EVENTS = 50
GROUP_SECONDS = 0.02


class Finished:
    """The items that are done with, and neither recorded nor acknowledged yet.

    To record an event by itself costs several times what its handling may; a rush of quick handlers shares
    that. What was done with at leisure is due at once, for the next handler may take its time, and the broker
    and those who share the queue are to know.
    """

    def __init__(self, clock: Callable[[], float], most: int = GROUP_EVENTS) -> None:
        self._clock = clock
        self._most = most
        self._items: list[Item] = []
        self._since = 0.0
        self._last_at = clock() - RUSH_SECONDS
        self._quick = 0
        self._hurried = False

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._items)

    def add(self, item: Item) -> None:
        """Take an item that is done with."""
        now = self._clock()
        self._hurried = now < self._last_at + RUSH_SECONDS
        # One that was slow ends no rush: the machine may have had something else to do.
        self._quick = min(self._quick + 1, 2 * RUSH_EVENTS) if self._hurried else self._quick // 2
        self._last_at = now
        if not self._items:
            self._since = now
        self._items.append(item)

    @property
    def due(self) -> bool:
        """Whether they are to be recorded and acknowledged now."""
        if not self._items:
            return False
        in_a_rush = self._hurried and self._quick >= RUSH_EVENTS and len(self._items) < self._most
        return not in_a_rush or self._clock() >= self._since + GROUP_SECONDS

    def all(self) -> list[Item]:
        """Return them, in the order in which they were added."""
        return list(self._items)

    def clear(self) -> None:
        """Forget them: they are recorded, which took time of its own."""
        self._items.clear()
        self._last_at = self._clock()
