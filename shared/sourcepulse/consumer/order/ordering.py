# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Put events in order and find gaps by their numbers: pure logic with an injected clock and memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from sourcepulse.consumer.order.tracks import Held, LaneTracks, Track
from sourcepulse.gaps import JUMP_NUMBERS, Gap, Lane, Reset, WentBack

#: The longest that an early event waits for the ones before it.
HOLD_SECONDS = 2.0
#: The most events, of all sources together, that may wait; it must stay below the subscription's prefetch.
HOLD_EVENTS = 50
#: The most lanes kept here; the memory knows what was handled in the others.
LANES_MAX = 10_000
#: A source with more epochs than this is forged or broken: its oldest epochs are forgotten.
EPOCHS_PER_SOURCE = 100

T = TypeVar("T")


class Memory(Protocol):
    """What was handled before, by this process or an earlier one."""

    def last(self, lane: Lane) -> int | None:
        """Return the number of the last event handled in a lane, or None."""

    def epochs(self, source: str) -> frozenset[str]:
        """Return the epochs in which events of a source were handled."""


class _Claim(NamedTuple):
    number: int
    since: float


class _Ready(NamedTuple, Generic[T]):
    step: T | Gap | Reset | WentBack
    track: Track[T] | None
    number: int


class Ordering(Generic[T]):
    """Puts items back in order, lane by lane, and reports those that never arrived.

    Pass what the broker delivered to `offer`; `take` returns what is next: an item, or a Gap, Reset or WentBack that
    belongs before the next item. Call `give_up` when the broker has nothing else to deliver: it ends every wait that
    is longer than `hold_seconds`. `claim` is for a number that a heartbeat names: if it did not come although the
    queue is empty, `settle_claims` reports it. A number far beyond the last does not move a lane for good: if the
    numbers before it continue, they are checked as before.
    """

    def __init__(
        self,
        memory: Memory,
        clock: Callable[[], float],
        *,
        hold_seconds: float = HOLD_SECONDS,
        hold_events: int = HOLD_EVENTS,
        lanes_max: int = LANES_MAX,
    ) -> None:
        self.late = 0
        #: Lanes that moved on without an item, and the numbers that they reached, to be recorded and removed.
        self.passed: list[tuple[Lane, int]] = []
        self._claims: dict[Lane, _Claim] = {}
        self._memory = memory
        self._clock = clock
        self._hold_seconds = hold_seconds
        self._hold_events = hold_events
        self._lanes_max = lanes_max
        #: The most recently used lane is last.
        self._lanes: dict[Lane, LaneTracks[T]] = {}
        self._waiting: dict[Lane, LaneTracks[T]] = {}
        self._epochs: dict[str, dict[str, None]] = {}
        self._ready: deque[_Ready[T]] = deque()
        self._held = 0

    @property
    def held(self) -> int:
        """How many items wait for earlier ones."""
        return self._held

    @property
    def lanes(self) -> int:
        """How many lanes are kept here."""
        return len(self._lanes)

    def offer(self, item: T, lane: Lane | None, number: int) -> None:
        """Add an item; without a lane it has no order and passes at once."""
        if lane is None:
            self._ready.append(_Ready(item, None, 0))
            return
        self._notice_epoch(lane)
        tracks, track = self._track_of(lane, number)
        if number <= track.queued:
            # It was reported as missing, or has the number of another event; the order is past it.
            self.late += 1
            self._ready.append(_Ready(item, None, 0))
            return
        if number == track.queued + 1 and not track.held:
            # In order, as nearly all are.
            self._queue(tracks, track, item)
            return
        if number in track.held:
            # Two ids under one number: neither may be lost.
            self._ready.append(_Ready(item, None, 0))
            return
        track.held[number] = Held(item, self._clock())
        self._held += 1
        self._waiting[lane] = tracks
        self._promote(tracks, track)
        while self._held > self._hold_events:
            # The lane with most waiting items makes room; among equals the one with the fewest events.
            self._pass_hole(*max(self._held_back(), key=lambda pair: (pair[0].held, -pair[0].events, -pair[1].since())))

    def take(self) -> T | Gap | Reset | WentBack | None:
        """Return what is next, or None if there is nothing or it waits for earlier numbers."""
        if not self._ready:
            return None
        ready = self._ready.popleft()
        if ready.track is not None:
            ready.track.last = ready.number
            if isinstance(ready.step, Gap):
                self.passed.append((ready.step.lane, ready.number))
        return ready.step

    def untake(self, lane: Lane, number: int) -> None:
        """Undo the last `take` in a lane, because the broker will deliver the item again.

        Call it for the highest number first, and `forget_untaken` afterwards; a late item stays late.
        """
        for track in self._lanes[lane].tracks if lane in self._lanes else ():
            if track.last == number >= track.start:
                track.last = track.queued = number - 1

    def due_in(self) -> float | None:
        """Return the seconds until the first wait ends, 0 if it has ended, None if nothing waits."""
        if not self._held:
            return None
        return max(0.0, self._longest_waiting()[1].since() + self._hold_seconds - self._clock())

    def give_up(self) -> None:
        """Stop waiting for what is overdue: report the gap, and continue after it."""
        while self.due_in() == 0.0:
            self._pass_hole(*self._longest_waiting())

    def claim(self, lane: Lane, number: int) -> None:
        """Note that a heartbeat named a number as the last one of a lane that the broker confirmed."""
        tracks = self._lanes.get(lane)
        if tracks is not None and tracks.has_passed(number):
            self._claims.pop(lane, None)
            return
        earlier = self._claims.get(lane)
        is_done = earlier is None or (tracks is not None and tracks.has_passed(earlier.number))
        if is_done and (earlier is not None or len(self._claims) < self._lanes_max):
            self._claims[lane] = _Claim(number, self._clock())

    def settle_claims(self) -> None:
        """Report what was claimed long enough ago and did not come; call it when nothing waits at the broker."""
        if not self._claims:
            return
        due = self._clock() - self._hold_seconds
        for lane, claim in list(self._claims.items()):
            # A hole before a waiting item is reported when the wait is over.
            if claim.since <= due and lane not in self._waiting:
                del self._claims[lane]
                self._settle_claim(lane, claim.number)

    def _settle_claim(self, lane: Lane, number: int) -> None:
        self._notice_epoch(lane)
        is_new = lane not in self._lanes and self._memory.last(lane) is None
        # The number that a heartbeat names first is the baseline of a lane of which nothing came.
        tracks = self._tracks_of(lane, number + 1)
        if is_new:
            self.passed.append((lane, number))
        track = tracks.track_of(number + 1)
        if track is not None and track.queued < number:
            self._catch_up(tracks, track, number + 1)
        if track is not None and track.queued < number:
            self._pass_tail(tracks, track, number)

    def _pass_tail(self, tracks: LaneTracks[T], track: Track[T], number: int) -> None:
        gap = tracks.lane.gap(track.queued + 1, number)
        if number - track.queued > JUMP_NUMBERS:
            track = tracks.begin(number)
        track.queued = number
        self._ready.append(_Ready(gap, track, number))

    def forget_untaken(self) -> None:
        """Drop what was not taken yet, because the broker will deliver it again."""
        for ready in self._ready:
            if isinstance(ready.step, Reset):
                self._epochs.get(ready.step.source, {}).pop(ready.step.epoch, None)
        self._ready.clear()
        self._claims.clear()
        self._held = 0
        self._waiting.clear()
        for lane in self._lanes.values():
            for track in lane.tracks:
                track.held.clear()
                track.queued = track.last

    def _tracks_of(self, lane: Lane, number: int) -> LaneTracks[T]:
        tracks = self._lanes.pop(lane, None)
        if tracks is None:
            self._make_room()
            known = self._memory.last(lane)
            # The first event of an unknown lane is the baseline: nothing before it is missed.
            tracks = LaneTracks(lane, number - 1 if known is None else known)
            # A known lane has handled at least one event.
            tracks.tracks[0].events = known is not None
            if known is not None:
                tracks.tracks[0].start = max(1, known)
        self._lanes[lane] = tracks
        return tracks

    def _track_of(self, lane: Lane, number: int) -> tuple[LaneTracks[T], Track[T]]:
        tracks = self._tracks_of(lane, number)
        track = tracks.track_of(number)
        if track is None:
            # Far below all known numbers: those may be forged, so this number is a baseline as well.
            self._report_going_back(tracks, number)
            return tracks, tracks.begin(number - 1)
        if number > track.queued:
            if track is not tracks.tracks[-1]:
                self._report_going_back(tracks, number)
            if number > track.queued + 1:
                self._catch_up(tracks, track, number)
        return tracks, track

    def _catch_up(self, tracks: LaneTracks[T], track: Track[T], number: int) -> None:
        # Another process may have continued with this queue; what it handled is not a gap.
        known = self._memory.last(tracks.lane)
        end = tracks.next_start(track)
        if known is None or known <= track.queued or (end is not None and known >= end):
            return
        # A number far beyond is a forged one that was recorded.
        if known - number <= JUMP_NUMBERS:
            track.last = track.queued = known
            self._release_passed(tracks, track)

    def _make_room(self) -> None:
        if len(self._lanes) < self._lanes_max:
            return
        idle = next((lane for lane, tracks in self._lanes.items() if tracks.idle), None)
        if idle is not None:
            del self._lanes[idle]
            self._epochs.pop(idle.source, None)

    def _notice_epoch(self, lane: Lane) -> None:
        epochs = self._epochs.get(lane.source)
        if epochs is None:
            while len(self._epochs) >= self._lanes_max:
                del self._epochs[next(iter(self._epochs))]
            epochs = self._epochs[lane.source] = dict.fromkeys(self._memory.epochs(lane.source))
        if lane.epoch not in epochs:
            if epochs:
                self._ready.append(_Ready(Reset(source=lane.source, epoch=lane.epoch), None, 0))
            epochs[lane.epoch] = None
            while len(epochs) > EPOCHS_PER_SOURCE:
                del epochs[next(iter(epochs))]

    def _report_going_back(self, tracks: LaneTracks[T], number: int) -> None:
        lane, highest = tracks.lane, tracks.tracks[-1]
        if not highest.left:
            highest.left = True
            back = WentBack(source=lane.source, epoch=lane.epoch, type=lane.type, number=number, claimed=highest.queued)
            self._ready.append(_Ready(back, None, 0))

    def _release_passed(self, tracks: LaneTracks[T], track: Track[T]) -> None:
        for number in sorted(number for number in track.held if number <= track.queued):
            self._ready.append(_Ready(track.held.pop(number).item, None, 0))
            self._held -= 1
        self._settle(tracks)

    def _promote(self, tracks: LaneTracks[T], track: Track[T]) -> None:
        while (held := track.held.pop(track.queued + 1, None)) is not None:
            self._held -= 1
            self._queue(tracks, track, held.item)
        self._settle(tracks)

    def _queue(self, tracks: LaneTracks[T], track: Track[T], item: T) -> None:
        track.queued += 1
        track.events += 1
        self._ready.append(_Ready(item, track, track.queued))
        if len(tracks.tracks) > 1:
            self._join(tracks, track)

    @staticmethod
    def _join(tracks: LaneTracks[T], track: Track[T]) -> None:
        if track.queued + 1 == tracks.next_start(track) and not track.held:
            # The far number was genuine: the two tracks are one.
            above = tracks.tracks[tracks.tracks.index(track) + 1]
            above.start, above.events = track.start, above.events + track.events
            tracks.tracks.remove(track)

    def _settle(self, tracks: LaneTracks[T]) -> None:
        if not tracks.held:
            self._waiting.pop(tracks.lane, None)

    def _pass_hole(self, tracks: LaneTracks[T], track: Track[T]) -> None:
        first = min(track.held)
        gap = tracks.lane.gap(track.queued + 1, first - 1)
        self._ready.append(_Ready(gap, None, 0))
        if first - 1 - track.queued > JUMP_NUMBERS:
            ahead = tracks.begin(first - 1)
            ahead.held, track.held = track.held, ahead.held
            track = ahead
        else:
            track.queued = first - 1
        self._promote(tracks, track)

    def _held_back(self) -> Iterator[tuple[LaneTracks[T], Track[T]]]:
        return ((lane, track) for lane in self._waiting.values() for track in lane.tracks if track.held)

    def _longest_waiting(self) -> tuple[LaneTracks[T], Track[T]]:
        return min(self._held_back(), key=lambda pair: pair[1].since())
