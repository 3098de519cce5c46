# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a consumer reports besides events: counts, gaps, resets, bad messages, interruptions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sourcepulse.errors import DecodeError
from sourcepulse.events.safe_text import reason_line
from sourcepulse.gaps import Gap, Reset, Silence, WentBack

log = logging.getLogger("sourcepulse.consumer")


@dataclass(slots=True, kw_only=True)
class ConsumerStats:
    """Counts since the consumer was created.

    `received` events were handed out; `repeats` were dropped by their id; `late` events came after they were reported
    missing, or out of order after the hold time; `missing` events make up the `gaps`; `resets` are sources that
    started their numbers again; `bad` messages did not decode, or had the id of another event; `filtered` messages did
    not match the topics; `rejected` events went to the dead letters; `interruptions` are (re)connections at which the
    broker reported that the queue had lost messages; `went_back` counts how often numbers continued far below one
    that had come before, which may have been forged; `silences` counts how often an expected source fell silent.
    """

    received: int = 0
    repeats: int = 0
    late: int = 0
    gaps: int = 0
    missing: int = 0
    resets: int = 0
    bad: int = 0
    filtered: int = 0
    rejected: int = 0
    reconnects: int = 0
    interruptions: int = 0
    went_back: int = 0
    silences: int = 0


@dataclass(frozen=True, slots=True)
class ConsumerReport:
    """Counts what happens and calls the callback for it, or logs it if there is none."""

    stats: ConsumerStats
    on_gap: Callable[[Gap], object] | None = None
    on_reset: Callable[[Reset], object] | None = None
    on_bad: Callable[[DecodeError], object] | None = None
    on_interrupted: Callable[[], object] | None = None
    on_silent: Callable[[Silence], object] | None = None
    on_heard: Callable[[Silence], object] | None = None

    def gap(self, gap: Gap) -> None:
        self.stats.gaps += 1
        self.stats.missing += gap.last_missing - gap.first_missing + 1
        if self.on_gap is None:
            log.warning("%s", reason_line(str(gap)))
        else:
            self.on_gap(gap)

    def reset(self, reset: Reset) -> None:
        self.stats.resets += 1
        if self.on_reset is None:
            log.warning("%s", reason_line(str(reset)))
        else:
            self.on_reset(reset)

    def went_back(self, step: WentBack) -> None:
        self.stats.went_back += 1
        log.warning("%s", reason_line(str(step)))

    def bad(self, error: DecodeError) -> None:
        self.stats.bad += 1
        if self.on_bad is None:
            log.warning("%s", reason_line(str(error)))
        else:
            self.on_bad(error)

    def interrupted(self) -> None:
        self.stats.interruptions += 1
        log.warning("the queue may have lost messages since it was last used")
        if self.on_interrupted is not None:
            self.on_interrupted()

    def silent(self, silence: Silence) -> None:
        self.stats.silences += 1
        if self.on_silent is None:
            log.warning("%s", reason_line(str(silence)))
        else:
            self.on_silent(silence)

    def heard(self, silence: Silence) -> None:
        if self.on_heard is None:
            log.warning("%s is heard again", reason_line(silence.source))
        else:
            self.on_heard(silence)
