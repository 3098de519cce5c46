# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When handled events are recorded and acknowledged: each one at once, or in groups when many are handled quickly."""

from __future__ import annotations

from collections.abc import Callable

from sourcepulse.consumer.item import Item

#: In a rush, each event is finished at most this long after the one before.
RUSH_SECONDS = 0.005
#: A rush begins after this many quick events in a row.
RUSH_EVENTS = 20
#: The most events recorded together, and the longest that one waits for others while the consumer is called.
GROUP_EVENTS = 50
GROUP_SECONDS = 0.02


class Finished:
    """The items that were handled and are neither recorded nor acknowledged yet.

    Recording one event by itself may cost several times its handling, so events of a rush are recorded together.
    Outside a rush each event is due at once, because the next handler may take long, and the broker and the other
    consumers of the queue should not have to wait for it.
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
        return bool(self._items)

    def add(self, item: Item) -> None:
        now = self._clock()
        self._hurried = now < self._last_at + RUSH_SECONDS
        # One slow event does not end a rush: the machine may have been busy.
        self._quick = min(self._quick + 1, 2 * RUSH_EVENTS) if self._hurried else self._quick // 2
        self._last_at = now
        if not self._items:
            self._since = now
        self._items.append(item)

    @property
    def due(self) -> bool:
        """Whether the items are to be recorded and acknowledged now."""
        if not self._items:
            return False
        in_a_rush = self._hurried and self._quick >= RUSH_EVENTS and len(self._items) < self._most
        return not in_a_rush or self._clock() >= self._since + GROUP_SECONDS

    def all(self) -> list[Item]:
        """Return the items in the order in which they were added."""
        return list(self._items)

    def clear(self) -> None:
        """Forget the items, which are now recorded."""
        self._items.clear()
        # Recording took time that does not count against the rush.
        self._last_at = self._clock()
