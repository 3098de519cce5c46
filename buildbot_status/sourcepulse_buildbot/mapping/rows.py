# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Convert values of Buildbot's data API and messages: times in three forms, results as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sourcepulse.events.event import format_time

#: A row as the data API returns it, or the bus message with the same members.
Row = Mapping[str, Any]

#: Buildbot's result numbers as words (buildbot.process.results).
_OUTCOMES = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
UNKNOWN = "unknown"
#: Times are whole seconds, so the events of a busy second share theirs.
TIMES_KEPT = 256


def seconds_of(value: datetime | float | None) -> int | None:
    """Return whole seconds since 1970: messages hold datetimes, those over WAMP and from schedulers whole numbers."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    return int(value)


@lru_cache(maxsize=TIMES_KEPT)
def time_of(value: datetime | float | None) -> str | None:
    """Return a time as events have it; None stays None."""
    seconds = seconds_of(value)
    return None if seconds is None else format_time(seconds)


def outcome_of(results: int | None) -> str:
    """Return the word for a result; `unknown` for a number that a later version of Buildbot may add."""
    return _OUTCOMES[results] if results is not None and 0 <= results < len(_OUTCOMES) else UNKNOWN


def results_of(results: int | None) -> int | None:
    """Return Buildbot's number; None instead of -1, which requests have that are not complete."""
    return None if results is None or results < 0 else results
