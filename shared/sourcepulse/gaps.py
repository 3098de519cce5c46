# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a consumer reports besides events: a gap, a reset, a number that went back, a source that fell silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sourcepulse.events.event import format_time

#: A hole of more numbers than this may come from a forged event: the numbers before it remain a track of their own.
JUMP_NUMBERS = 1_000


class Lane(NamedTuple):
    """Events that are numbered without holes: of one source in one epoch, of one type or (None) of all."""

    source: str
    epoch: str
    type: str | None

    def gap(self, first_missing: int, last_missing: int) -> Gap:
        """Return the gap of these numbers in the lane."""
        return Gap(**self._asdict(), first_missing=first_missing, last_missing=last_missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Missing events: the numbers `first_missing` to `last_missing`, both included.

    They count all events of the source if `type` is None, else those of the type.
    """

    source: str
    epoch: str
    type: str | None
    first_missing: int
    last_missing: int

    @property
    def lane(self) -> Lane:
        """The lane in which these numbers are missing."""
        return Lane(self.source, self.epoch, self.type)

    def __str__(self) -> str:
        what = self.type or "events"
        return f"{self.source}: {what} {self.first_missing} to {self.last_missing} are missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A known source restarted its numbers (a new or restored outbox); what was missed in between is unknown."""

    source: str
    epoch: str

    def __str__(self) -> str:
        return f"{self.source} restarted its numbers, in epoch {self.epoch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WentBack:
    """A lane continued at `number` after `claimed`, a far higher number, which may be forged."""

    source: str
    epoch: str
    type: str | None
    number: int
    claimed: int

    def __str__(self) -> str:
        what = self.type or "events"
        return (
            f"{self.source}: {what} continue at {self.number} after the number {self.claimed}, "
            "which may be forged or from another outbox"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """An expected source from which nothing came for `expected_s` seconds.

    `heard_at` is when it last sent something, in seconds since 1970, None if nothing came since the consumer started.
    If the consumer is not `connected`, the reason is on this side.
    """

    source: str
    expected_s: float
    heard_at: float | None
    connected: bool

    def __str__(self) -> str:
        where = "" if self.connected else ", and this consumer is not connected"
        if self.heard_at is None:
            return f"{self.source} is silent: nothing came within {self.expected_s:g} s{where}"
        last = format_time(self.heard_at)
        return f"{self.source} is silent since {last}: expected at least every {self.expected_s:g} s{where}"
