# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Order and gaps by the numbers that events carry: pure logic over an injected clock and memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

#: An event that came too early waits at most so long for those before it.
HOLD_SECONDS = 2.0
#: This many events of all sources together may wait; it must stay below the prefetch of the subscription.
HOLD_EVENTS = 50

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lane:
    """What is numbered without holes: a source's events in one epoch, of one type or (None) of all."""

    source: str
    epoch: str
    type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Events that did not come: the numbers `first_missing` to `last_missing`, both included.

    They count all events of the source if `type` is None, else those of the type.
    """

    source: str
    epoch: str
    type: str | None
    first_missing: int
    last_missing: int

    def __str__(self) -> str:
        what = self.type or "events"
        return f"{self.source}: {what} {self.first_missing} to {self.last_missing} are missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A known source began to count anew (a new or restored outbox); no number tells what lies between."""

    source: str
    epoch: str

    def __str__(self) -> str:
        return f"{self.source} counts anew, in epoch {self.epoch}"


class Memory(Protocol):
    """What was handled before, by this process or one before it."""

    def last(self, lane: Lane) -> int | None:
        """Give the number of the last event handled in a lane, or None."""

    def epochs(self, source: str) -> frozenset[str]:
        """Give the epochs in which events of a source were handled."""


class Forgetful:
    """A memory without a past."""

    def last(self, lane: Lane) -> int | None:  # noqa: ARG002 - the protocol's
        """Give None."""
        return None

    def epochs(self, source: str) -> frozenset[str]:  # noqa: ARG002 - the protocol's
        """Give none."""
        return frozenset()


@dataclass(slots=True)
class _Held(Generic[T]):
    item: T
    since: float


class _Track(Generic[T]):
    """One lane at work: `last` was taken by the consumer, `queued` is ready for it."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.queued = last
        self.held: dict[int, _Held[T]] = {}

    def since(self) -> float:
        return min(held.since for held in self.held.values())


@dataclass(frozen=True, slots=True)
class _Ready(Generic[T]):
    step: T | Gap | Reset
    lane: Lane | None
    number: int


class Ordering(Generic[T]):
    """Puts items back in order, lane by lane, and tells which never came.

    `offer` takes what the broker gave, `take` gives what is next: an item, or a Gap or Reset that belongs
    before the next item. Nothing waits longer than `hold_seconds` on the clock once the caller says, by
    `give_up`, that the broker has nothing else at hand.
    """

    def __init__(
        self,
        memory: Memory,
        clock: Callable[[], float],
        *,
        hold_seconds: float = HOLD_SECONDS,
        hold_events: int = HOLD_EVENTS,
    ) -> None:
        self.late = 0
        self._memory = memory
        self._clock = clock
        self._hold_seconds = hold_seconds
        self._hold_events = hold_events
        self._tracks: dict[Lane, _Track[T]] = {}
        self._epochs: dict[str, set[str]] = {}
        self._ready: deque[_Ready[T]] = deque()
        self._held = 0

    @property
    def held(self) -> int:
        """How many items wait for earlier ones."""
        return self._held

    def offer(self, item: T, lane: Lane | None, number: int) -> None:
        """Take an item in; without a lane it is outside all order and passes at once."""
        if lane is None:
            self._ready.append(_Ready(item, None, 0))
            return
        self._notice_epoch(lane)
        track = self._tracks.get(lane)
        if track is None or number > track.queued + 1:
            # Another process may have gone on with this queue; what it handled is no gap.
            known = self._memory.last(lane)
            if track is None:
                # The first event of an unknown lane is the baseline: nothing before it is missed.
                track = self._tracks[lane] = _Track(number - 1 if known is None else known)
            elif known is not None and known > track.queued:
                track.last = track.queued = known
                self._release_passed(track)
        if number <= track.queued:
            # It was told as missing, or came again under another id; its numbers are passed.
            self.late += 1
            self._ready.append(_Ready(item, None, 0))
            return
        if number in track.held:
            # Two ids under one number: neither may be lost.
            self._ready.append(_Ready(item, None, 0))
            return
        track.held[number] = _Held(item, self._clock())
        self._held += 1
        self._promote(lane, track)
        while self._held > self._hold_events:
            self._pass_hole(*self._longest_waiting())

    def take(self) -> T | Gap | Reset | None:
        """Give what is next, or None if there is nothing or it waits for what is missing before it."""
        if not self._ready:
            return None
        ready = self._ready.popleft()
        if ready.lane is not None:
            self._tracks[ready.lane].last = ready.number
        return ready.step

    def untake(self, lane: Lane, number: int) -> None:
        """Take it that the item taken last in a lane was not, for the broker will deliver it again.

        Call it for the highest number first, and `forget_untaken` afterwards; one that came late stays late.
        """
        track = self._tracks.get(lane)
        if track is not None and track.last == number:
            track.last = track.queued = number - 1

    def due_in(self) -> float | None:
        """Give the seconds until the first wait ends, 0 if it has ended, None if nothing waits."""
        if not self._held:
            return None
        return max(0.0, self._longest_waiting()[1].since() + self._hold_seconds - self._clock())

    def give_up(self) -> None:
        """Stop waiting for what is overdue: tell the gap, and go on behind it."""
        while self.due_in() == 0.0:
            self._pass_hole(*self._longest_waiting())

    def forget_untaken(self) -> None:
        """Drop what was not taken yet, for the broker will deliver it again."""
        for ready in self._ready:
            if isinstance(ready.step, Reset):
                self._epochs[ready.step.source].discard(ready.step.epoch)
        self._ready.clear()
        self._held = 0
        for track in self._tracks.values():
            track.held.clear()
            track.queued = track.last

    def _notice_epoch(self, lane: Lane) -> None:
        epochs = self._epochs.get(lane.source)
        if epochs is None:
            epochs = self._epochs[lane.source] = set(self._memory.epochs(lane.source))
        if lane.epoch not in epochs:
            if epochs:
                self._ready.append(_Ready(Reset(source=lane.source, epoch=lane.epoch), None, 0))
            epochs.add(lane.epoch)

    def _release_passed(self, track: _Track[T]) -> None:
        for number in sorted(number for number in track.held if number <= track.queued):
            self._ready.append(_Ready(track.held.pop(number).item, None, 0))
            self._held -= 1

    def _promote(self, lane: Lane, track: _Track[T]) -> None:
        while (held := track.held.pop(track.queued + 1, None)) is not None:
            track.queued += 1
            self._held -= 1
            self._ready.append(_Ready(held.item, lane, track.queued))

    def _pass_hole(self, lane: Lane, track: _Track[T]) -> None:
        first = min(track.held)
        gap = Gap(
            source=lane.source,
            epoch=lane.epoch,
            type=lane.type,
            first_missing=track.queued + 1,
            last_missing=first - 1,
        )
        self._ready.append(_Ready(gap, None, 0))
        track.queued = first - 1
        self._promote(lane, track)

    def _longest_waiting(self) -> tuple[Lane, _Track[T]]:
        waiting = ((lane, track) for lane, track in self._tracks.items() if track.held)
        return min(waiting, key=lambda pair: pair[1].since())
