# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whether a stream is degraded, with hysteresis: a state that lasts is reported, nothing more than once a minute."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sourcepulse.errors import VisibilityUnknownError

DEGRADED = "degraded"
RECOVERED = "recovered"


class Rules(NamedTuple):
    """The limits, in seconds unless named otherwise."""

    #: An event that waits for longer is a reason.
    oldest_s: float = 60.0
    #: So many failures in a row are one.
    failures: int = 5
    #: A stream has recovered when nothing waited and no reason held for this long.
    settled_s: float = 30.0
    #: On a busy system there is always an event on its way: one that is younger does not wait.
    on_its_way_s: float = 5.0
    #: Between two reports, the start of the relay included.
    interval_s: float = 60.0
    #: How often the figures are read; with 1,000 sources that takes 2 ms.
    look_s: float = 2.0


RULES = Rules()


class Figures(NamedTuple):
    """The figures of one stream."""

    oldest_age_s: float | None
    failures: int
    buried: int
    #: The stable word for the last failure, None if there was none.
    last_reason: str | None = None


class Change(NamedTuple):
    """A change to report: the new state, and the reason in words."""

    state: str
    reason: str


class Condition:
    """The condition of one stream; `now` is any clock that never goes back, in seconds.

    `reported` is that of an earlier relay, so that this one reports that its reasons are over.
    """

    def __init__(self, now: float, rules: Rules = RULES, *, reported: Iterable[str] | None = None) -> None:
        self._rules = rules
        self._changed_at = now
        self._waited_at = now
        #: When each reason held last; it is over when it has not held for `settled_s`.
        self._held_at = dict.fromkeys(reported or (), now)
        #: The reasons that were reported and are not over.
        self._reported = set(self._held_at)
        self.is_degraded = reported is not None

    @property
    def reported(self) -> list[str] | None:
        """Return the reasons that were reported and are not over; None if the stream is not degraded."""
        return sorted(self._reported) if self.is_degraded else None

    def look(self, figures: Figures, now: float) -> Change | None:
        """Return the change to report now, None if there is none or it is too early for one."""
        rules = self._rules
        holding = reasons(figures, rules)
        self._held_at |= dict.fromkeys(holding, now)
        self._held_at = {name: at for name, at in self._held_at.items() if now - at < rules.settled_s}
        self._reported &= self._held_at.keys()
        if figures.oldest_age_s is not None and figures.oldest_age_s > rules.on_its_way_s:
            self._waited_at = now
        if now - self._changed_at < rules.interval_s:
            return None
        if holding.keys() - self._reported:
            self._reported |= holding.keys()
            self._changed_at, self.is_degraded = now, True
            return Change(DEGRADED, "; ".join(holding.values()))
        if self.is_degraded and not self._held_at and now - self._waited_at >= rules.settled_s:
            self._changed_at, self.is_degraded = now, False
            return Change(RECOVERED, f"no event has waited for {rules.settled_s:.0f} s, and nothing fails")
        return None


def reasons(figures: Figures, rules: Rules = RULES) -> dict[str, str]:
    """Return why a stream is degraded, by a stable word and in a sentence; empty if it is not."""
    found = {}
    if figures.oldest_age_s is not None and figures.oldest_age_s > rules.oldest_s:
        found["waiting"] = f"the oldest pending event has waited for {figures.oldest_age_s:.0f} s"
    # Without an answer of the check of visibility only events can wait; heartbeats reach the broker.
    is_moot = figures.last_reason == VisibilityUnknownError.reason and figures.oldest_age_s is None
    if figures.failures >= rules.failures and not is_moot:
        last = f", the last time: {figures.last_reason}" if figures.last_reason else ""
        found["failing"] = f"{figures.failures} attempts in a row failed{last}"
    if figures.buried:
        found["buried"] = f"{figures.buried} {'event is' if figures.buried == 1 else 'events are'} buried"
    return found
