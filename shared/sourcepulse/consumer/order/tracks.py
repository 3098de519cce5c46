# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The numbers that arrived in one lane: a track without holes, and further ones after a jump that may be forged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from sourcepulse.gaps import JUMP_NUMBERS, Lane

#: The most tracks of a lane; the one with the fewest events ends first.
TRACKS_PER_LANE = 4

T = TypeVar("T")


@dataclass(slots=True)
class Held(Generic[T]):
    item: T
    since: float


class Track(Generic[T]):
    """One run of numbers from `start` on: the consumer took all up to `last`; all up to `queued` are ready for it."""

    def __init__(self, last: int) -> None:
        self.start = last + 1
        self.last = last
        self.queued = last
        #: How many events arrived in it; a forged number has few.
        self.events = 0
        #: The numbers went on below it, and WentBack was reported.
        self.left = False
        self.held: dict[int, Held[T]] = {}

    def since(self) -> float:
        return min(held.since for held in self.held.values())


class LaneTracks(Generic[T]):
    """The tracks of one lane, the lowest first; more than one after a jump that may be forged."""

    def __init__(self, lane: Lane, last: int) -> None:
        self.lane = lane
        self.tracks: list[Track[T]] = [Track(last)]

    @property
    def events(self) -> int:
        return sum(track.events for track in self.tracks)

    @property
    def held(self) -> int:
        return sum(len(track.held) for track in self.tracks)

    @property
    def idle(self) -> bool:
        return all(not track.held and track.last == track.queued for track in self.tracks)

    def track_of(self, number: int) -> Track[T] | None:
        """Return the track that a number continues or is late for; None if it is far below all of them."""
        for track in reversed(self.tracks):
            if track.start <= number:
                return track
        lowest = self.tracks[0]
        return lowest if number >= lowest.start - JUMP_NUMBERS else None

    def has_passed(self, number: int) -> bool:
        """Return whether all numbers up to this one are ready, were given up, or lie far below what is known."""
        track = self.track_of(number + 1)
        return track is None or track.queued >= number

    def begin(self, last: int) -> Track[T]:
        """Begin a track after a number; if there are too many, the one with the fewest events is dropped."""
        track: Track[T] = Track(last)
        while len(self.tracks) >= TRACKS_PER_LANE:
            idle = [each for each in self.tracks if not each.held and each.last == each.queued]
            if not idle:
                break
            self.tracks.remove(min(idle, key=lambda each: each.events))
        self.tracks.append(track)
        self.tracks.sort(key=lambda each: each.start)
        return track

    def next_start(self, track: Track[T]) -> int | None:
        """Return where the track above begins."""
        above = self.tracks.index(track) + 1
        return self.tracks[above].start if above < len(self.tracks) else None
