# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What stands between rows: what a source's numbers say, the first line of a day. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from sourcepulse_web.pages.live.view import LiveRowDoc
from sourcepulse_web.pages.live.watch import GapDoc

_DATE = slice(0, 10)


class Placed(NamedTuple):
    """A row, its position in the log, and when it was appended, in seconds since 1970."""

    position: int
    at: float
    row: LiveRowDoc


class Day(NamedTuple):
    """The first line of a day."""

    date: str
    text: str


def lines(rows: Sequence[Placed]) -> list[Placed | GapDoc | Day]:
    """Return what a page shows, newest first, of rows that are oldest first."""
    found: list[Placed | GapDoc | Day] = []
    day = ""
    for placed in rows:
        row = placed.row
        if day and row["time"][_DATE] != day:
            found.append(_day(day))
        day = row["time"][_DATE] or day
        found += [row["gap"]] if "gap" in row else []
        found.append(placed)
    return [*reversed([*found, _day(day)])] if day else [*reversed(found)]


def _day(text: str) -> Day:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return Day(text, text)
    return Day(text, f"{day:%A} {day.day} {day:%B} {day.year}")
