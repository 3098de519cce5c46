# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which event of one hook is next: each source in order, one event at a time, and no source waits for another."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class HeldEvent(Protocol):
    """What is looked at of an event that is held for a hook: its position in the log, and its source."""

    @property
    def position(self) -> int:
        """The position, by which the events of a source are in order."""

    @property
    def source(self) -> str:
        """The source, whose events wait for each other."""


EventT = TypeVar("EventT", bound=HeldEvent)


class Lanes(Generic[EventT]):
    """The events that are held for a hook, in memory; pure logic, `now` is on a monotonic clock in seconds.

    The next event is the oldest one of all sources that do not wait. One that is taken stays held until it is `done`;
    `put_back` leaves it at the head of its source.

    >>> lanes = Lanes()
    >>> lanes.add(queues.look("chat-room", 100))
    >>> event = lanes.take(now)  # it is POSTed, and refused
    >>> lanes.hold_source(event.source, now + 5.0)
    >>> lanes.put_back()
    >>> lanes.take(now)  # the oldest event of another source
    """

    def __init__(self) -> None:
        self._held: dict[int, EventT] = {}
        #: The positions of each source, as heaps; an event that is done may still be in one.
        self._lanes: dict[str, list[int]] = {}
        #: How many events of each source are held.
        self._sizes: dict[str, int] = {}
        #: The heads of the sources that do not wait, as a heap; an entry counts only while it is the head.
        self._ready: list[tuple[int, str]] = []
        #: Until when sources wait, and the same as a heap.
        self._waits: dict[str, float] = {}
        self._ends: list[tuple[float, str]] = []
        self._waiting_events = 0
        self._all_wait_until = float("-inf")
        self._taken: EventT | None = None

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, position: int) -> bool:
        return position in self._held

    def held(self, position: int) -> EventT | None:
        """Return the event at a position, if it is held."""
        return self._held.get(position)

    @property
    def taken(self) -> EventT | None:
        """The event that was taken and is neither done nor put back."""
        return self._taken

    @property
    def free(self) -> int:
        """How many events are held whose source does not wait, by the last look at the clock."""
        return len(self._held) - self._waiting_events

    @property
    def waiting_sources(self) -> int:
        """How many sources wait, by the last look at the clock."""
        return len(self._waits)

    def waits(self, source: str) -> bool:
        """Return whether a source waits, by the last look at the clock."""
        return source in self._waits

    def size(self, source: str) -> int:
        """Return how many events of a source are held."""
        return self._sizes.get(source, 0)

    def is_behind(self, event: EventT, most: int) -> bool:
        """Return whether the source of an event waits and has `most` events or more, all of them before this one."""
        source = event.source
        return source in self._waits and self.size(source) >= most and event.position > max(self._lanes[source])

    def add(self, events: Iterable[EventT]) -> None:
        """Hold more events; those that are held already are left as they are."""
        for event in events:
            if event.position in self._held:
                continue
            source = event.source
            self._held[event.position] = event
            lane = self._lanes.setdefault(source, [])
            heapq.heappush(lane, event.position)
            self._sizes[source] = self._sizes.get(source, 0) + 1
            if source in self._waits:
                self._waiting_events += 1
            elif lane[0] == event.position:
                heapq.heappush(self._ready, (event.position, source))

    def take(self, now: float) -> EventT | None:
        """Return the next event; None if one is taken, the hook or all sources wait, or nothing is held."""
        self._end_waits(now)
        if self._taken is not None or now < self._all_wait_until:
            return None
        while self._ready:
            position, source = heapq.heappop(self._ready)
            if source not in self._waits and self._head(source) == position:
                self._taken = self._held[position]
                return self._taken
        return None

    def done(self, position: int) -> None:
        """Forget an event, taken or not: it was accepted, set aside, or is not to be sent."""
        event = self._held.pop(position, None)
        if event is None:
            return
        source = event.source
        self._sizes[source] -= 1
        if source in self._waits:
            self._waiting_events -= 1
        if self._taken is event:
            self._taken = None
        self._show(source)

    def put_back(self) -> None:
        """Leave the taken event where it was."""
        event, self._taken = self._taken, None
        if event is not None:
            self._show(event.source)

    def hold_source(self, source: str, until: float) -> None:
        """Return no event of a source before a time, or with `inf` before a release; the other sources go on."""
        if source not in self._waits:
            self._waiting_events += self._sizes.get(source, 0)
        self._waits[source] = until
        if until < float("inf"):
            heapq.heappush(self._ends, (until, source))

    def release_source(self, source: str) -> None:
        """End the wait of a source, if it waits."""
        if self._waits.pop(source, None) is not None:
            self._waiting_events -= self._sizes.get(source, 0)
            self._show(source)

    def hold_all(self, until: float) -> None:
        """Return no event at all before a time, which replaces an earlier one."""
        self._all_wait_until = until

    def hold_all_at_least(self, until: float) -> None:
        """Return no event at all before a time, or a later one that was set before."""
        self._all_wait_until = max(self._all_wait_until, until)

    def release_all(self) -> None:
        """End all waits, also those of the sources."""
        self._all_wait_until = float("-inf")
        for source in list(self._waits):
            self.release_source(source)

    def due_at(self, now: float) -> float | None:
        """Return when `take` returns an event at the earliest; None if only a change from outside can bring one."""
        self._end_waits(now)
        if self._taken is not None or not self._held:
            return None
        if self.free:
            return max(now, self._all_wait_until)
        # An entry whose wait was replaced or ended only makes the caller look once in vain.
        return max(self._ends[0][0], self._all_wait_until) if self._ends else None

    def _end_waits(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            until, source = heapq.heappop(self._ends)
            if self._waits.get(source) == until:
                self.release_source(source)

    def _head(self, source: str) -> int | None:
        """Return the oldest position of a source that is still held."""
        lane = self._lanes.get(source, [])
        while lane and ((event := self._held.get(lane[0])) is None or event.source != source):
            heapq.heappop(lane)
        if lane:
            return lane[0]
        self._lanes.pop(source, None)
        self._sizes.pop(source, None)
        return None

    def _show(self, source: str) -> None:
        head = self._head(source)
        if head is not None and source not in self._waits:
            heapq.heappush(self._ready, (head, source))
