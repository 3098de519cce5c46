# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which event a free worker takes: each source in order, with one of its events in progress at a time."""

from __future__ import annotations

import heapq
from collections import deque

from sourcepulse.consumer.received_event import Item


class Schedule:
    """Items that wait for one of `slots` workers; pure logic, the caller holds a lock.

    The next item is the oldest one of the sources that have nothing in progress. An item that failed stays at the
    head of its source until its retry is due; only its own source waits with it.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._arrivals = 0
        self._queues: dict[str, deque[tuple[int, Item]]] = {}
        self._ready: list[tuple[int, str]] = []
        self._delayed: list[tuple[float, int, str]] = []
        self._at_work: dict[str, tuple[int, Item]] = {}

    @property
    def at_work(self) -> int:
        """The number of items that were taken and are not finished."""
        return len(self._at_work)

    @property
    def empty(self) -> bool:
        """Whether no item waits and none is in progress."""
        return not self._queues

    def add(self, item: Item) -> None:
        """Put an item at the end of its source."""
        self._arrivals += 1
        source = item.event.source
        queue = self._queues.get(source)
        if queue is None:
            queue = self._queues[source] = deque()
            heapq.heappush(self._ready, (self._arrivals, source))
        queue.append((self._arrivals, item))

    def take(self, now: float) -> Item | None:
        """Return the next item for a worker; None if there is none, no worker is free, or the item is not ready."""
        item = self._next(now)
        return self._begin(item) if item is not None and item.ready else None

    def take_unready(self, now: float) -> Item | None:
        """Return the next item if it is not ready and a worker is free."""
        item = self._next(now)
        return self._begin(item) if item is not None and not item.ready else None

    def finish(self, item: Item) -> None:
        """Free the source of an item that was taken, so that the next item can be taken."""
        if self._at_work.pop(item.event.source, None) is not None:
            self._go_on(item.event.source)

    def postpone(self, item: Item, until: float) -> None:
        """Return an item that was taken to the head of its source, to be taken no earlier than `until`."""
        source = item.event.source
        numbered = self._at_work.pop(source, None)
        if numbered is not None:
            self._queues[source].appendleft(numbered)
            heapq.heappush(self._delayed, (until, numbered[0], source))

    def due_in(self, now: float) -> float | None:
        """Return the seconds until the first postponed item may be taken, None if there is none."""
        return max(0.0, self._delayed[0][0] - now) if self._delayed else None

    def withdraw(self, *, keep_tried: bool) -> list[Item]:
        """Remove and return the waiting items; those in progress stay.

        With `keep_tried`, items that wait for a retry stay too, because giving them back would lose their failures.
        """
        gone: list[Item] = []
        kept: set[str] = set()
        for source, queue in list(self._queues.items()):
            waiting = list(queue)
            queue.clear()
            if keep_tried and waiting and waiting[0][1].failures:
                kept.add(source)
                queue.append(waiting.pop(0))
            elif source not in self._at_work:
                del self._queues[source]
            gone.extend(item for _, item in waiting)
        self._ready = [entry for entry in self._ready if entry[1] in kept]
        self._delayed = [entry for entry in self._delayed if entry[2] in kept]
        heapq.heapify(self._ready)
        heapq.heapify(self._delayed)
        return gone

    def abandon(self) -> list[Item]:
        """Remove and return all items, including those in progress, which will not be finished."""
        gone = [item for _, item in self._at_work.values()]
        self._at_work.clear()
        return [*gone, *self.withdraw(keep_tried=False)]

    def _next(self, now: float) -> Item | None:
        while self._delayed and self._delayed[0][0] <= now:
            _, arrival, source = heapq.heappop(self._delayed)
            heapq.heappush(self._ready, (arrival, source))
        if not self._ready or len(self._at_work) >= self._slots:
            return None
        return self._queues[self._ready[0][1]][0][1]

    def _begin(self, item: Item) -> Item:
        _, source = heapq.heappop(self._ready)
        self._at_work[source] = self._queues[source].popleft()
        return item

    def _go_on(self, source: str) -> None:
        queue = self._queues.get(source)
        if queue:
            heapq.heappush(self._ready, (queue[0][0], source))
        else:
            self._queues.pop(source, None)
