# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When handled events are recorded and acknowledged: each one at once, or many together in a rush."""

from __future__ import annotations

from collections.abc import Callable

from sourcepulse.consumer.received_event import Item

#: A rush begins after this many events in a row that took less than this time each, on average of a batch.
RUSH_EVENTS = 20
RUSH_SECONDS = 0.005
#: How many quick events are counted at most.
QUICK_MAX = 2 * RUSH_EVENTS
#: The most events recorded together, and the longest time between two records while handled events wait.
BATCH_EVENTS = 50
BATCH_SECONDS = 0.02


class Batch:
    """The items that were handled and are neither recorded nor acknowledged yet.

    Recording one event by itself may cost several times its handling, so events of a rush are recorded together.
    Outside a rush each event is due at once, because the next handler may take long, and the broker and the other
    consumers of the queue should not have to wait for it.
    """

    def __init__(self, clock: Callable[[], float], most: int = BATCH_EVENTS) -> None:
        self._clock = clock
        self._most = most
        self._items: list[Item] = []
        self._quick = 0
        self._added_at = self._recorded_at = clock() - BATCH_SECONDS

    def __bool__(self) -> bool:
        return bool(self._items)

    def add(self, item: Item) -> None:
        self._items.append(item)
        self._added_at = self._clock()

    @property
    def due(self) -> bool:
        """Whether the items are to be recorded and acknowledged now."""
        if not self._items:
            return False
        return (
            self._quick < RUSH_EVENTS
            or len(self._items) >= self._most
            # Its attempt was counted; it must not be counted again because another event kills the process.
            or self._items[-1].delivery.redelivered
            or self._clock() >= self._recorded_at + BATCH_SECONDS
        )

    def due_in(self) -> float:
        """Return the seconds until the items are due if no other is added, 0 if they are due."""
        return 0.0 if self.due else max(0.0, self._recorded_at + BATCH_SECONDS - self._clock())

    def items(self) -> list[Item]:
        """Return the items in the order in which they were added."""
        return list(self._items)

    def clear(self) -> None:
        """Forget the items, which are now recorded."""
        quick = self._added_at < self._recorded_at + RUSH_SECONDS * len(self._items)
        # On a busy machine one batch in a rush is slow now and then; two in a row end it.
        self._quick = min(self._quick + len(self._items), QUICK_MAX) if quick else self._quick // 2
        self._items.clear()
        # Recording took time that does not count against the rush.
        self._recorded_at = self._clock()
