# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whether a state is well: findings with a level, the worst first, each a sentence that names the cause."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from shlex import quote
from typing import Any, NamedTuple

from sourcepulse.events.safe_text import plain
from sourcepulse.operations.status.state import seconds_between
from sourcepulse.relay.health.liveness import LOOP_MAX_SECONDS

#: The ages of the oldest pending event above which a state is a warning, and critical.
WARNING_SECONDS = 60.0
CRITICAL_SECONDS = 300.0
#: A relay that is started again, or by a push, may be missing for this long.
START_PATIENCE_SECONDS = 10.0
#: A relay that no push starts is missed after this time, also while nothing waits: what comes next would.
MISSED_SECONDS = 300.0


class Level(IntEnum):
    """How bad a state is, by the exit codes of monitoring plug-ins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Finding(NamedTuple):
    """One thing that is not as it should be; OK if it has not lasted for long."""

    level: Level
    sentence: str


class Limits(NamedTuple):
    """The ages of the oldest pending event, in seconds, above which a state is a warning, and critical."""

    warning_s: float = WARNING_SECONDS
    critical_s: float = CRITICAL_SECONDS


DEFAULT_LIMITS = Limits()


def findings(state: dict[str, Any], limits: Limits = DEFAULT_LIMITS) -> list[Finding]:
    """Return what is not as it should be, the worst first; empty if all is well."""
    found = [*_of_streams(state, limits), *_of_relay(state), *_of_outbox(state)]
    return sorted(found, key=lambda finding: -finding.level)


def verdict(state: dict[str, Any], limits: Limits = DEFAULT_LIMITS) -> str:
    """Return the first line of the status: whether all is well, else the worst."""
    found = findings(state, limits)
    if found:
        more = f" (and {len(found) - 1} more, see below)" if len(found) > 1 else ""
        return f"degraded: {found[0].sentence}{more}"
    pending = waiting_events(state)
    moments = [stream["last_delivery_at"] for stream in state["streams"].values() if stream["last_delivery_at"]]
    waits = f"{count(pending, 'event')} on the way" if pending else "nothing waits"
    if not moments:
        return f"well: {waits}"
    return f"well: {waits}, the last event was confirmed {duration(seconds_between(max(moments), state['now']))} ago"


def waiting_events(state: dict[str, Any]) -> int:
    """Return how many pending events are to be sent."""
    return sum(stream["pending"] for stream in state["streams"].values() if stream["is_sent"])


def is_hung(state: dict[str, Any]) -> bool:
    """Return whether a relay runs whose loops have not turned for longer than one that works may need."""
    return still_s(state) > LOOP_MAX_SECONDS if state["relay_running"] else False


def still_s(state: dict[str, Any]) -> float:
    """Return for how long the loops of the relay have not turned; 0 if none ever did."""
    at = state["relay_last_loop_at"]
    return 0.0 if at is None else max(0.0, seconds_between(at, state["now"]))


def duration(seconds: float) -> str:
    """Return a duration in the largest unit of which there are two, as people say it."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def count(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _of_streams(state: dict[str, Any], limits: Limits) -> Iterator[Finding]:
    for name, stream in state["streams"].items():
        if stream["is_sent"] and stream["pending"]:
            age_s = stream["oldest_pending_age_s"]
            level = _level(age_s, limits)
            relay_is_gone = not state["relay_running"] or is_hung(state)
            if relay_is_gone and age_s > START_PATIENCE_SECONDS:
                level = Level.CRITICAL
            if level or stream["failures"] or state["relay_failed_start"] is not None:
                waits = "waits" if stream["pending"] == 1 else "wait"
                what = f"{count(stream['pending'], f'{name} event')} {waits} for {duration(age_s)}"
                yield Finding(level, f"{what} because {_why(state, stream)}")
        if stream["buried"]:
            are = "is" if stream["buried"] == 1 else "are"
            yield Finding(
                Level.WARNING,
                f"{count(stream['buried'], f'{name} event')} {are} buried; `sourcepulse outbox list --state buried "
                f"--outbox {plain(quote(state['outbox']))}` shows why",
            )


def _level(age_s: float, limits: Limits) -> Level:
    if age_s > limits.critical_s:
        return Level.CRITICAL
    return Level.WARNING if age_s > limits.warning_s else Level.OK


def _why(state: dict[str, Any], stream: dict[str, Any]) -> str:
    if is_hung(state):
        return f"the relay hangs: its loop has not turned for {duration(still_s(state))}; restart it, and keep its log"
    if not state["relay_running"] and state["relay_failed_start"] is not None:
        return f"the last relay failed to start: {plain(state['relay_failed_start'])}"
    failed = f"{plain(stream['last_error'])} ({stream['last_error_reason'] or 'failed'})" if stream["failures"] else ""
    if not state["relay_running"]:
        return f"no relay runs{failed and f'; the last one failed: {failed}'}"
    return failed or "the relay has not sent them yet; its log may name the reason"


def _of_relay(state: dict[str, Any]) -> Iterator[Finding]:
    # With events that wait, the finding about these names the cause.
    if waiting_events(state):
        return
    if is_hung(state):
        sentence = f"a relay runs, but its loop has not turned for {duration(still_s(state))}"
        yield Finding(Level.WARNING, f"{sentence}; restart it, and keep its log")
    if state["relay_failed_start"] is not None:
        yield Finding(Level.WARNING, f"the last relay failed to start: {plain(state['relay_failed_start'])}")
    elif not state["relay_running"] and not state["relay_on_demand"] and still_s(state) > MISSED_SECONDS:
        yield Finding(Level.WARNING, f"no relay has run for {duration(still_s(state))}, and no push starts one")


def _of_outbox(state: dict[str, Any]) -> Iterator[Finding]:
    for problem in state["problems"]:
        yield Finding(Level.WARNING, f"{problem['name']}: {plain(problem['message'])}")
