# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What stands between rows: a gap in a source's numbers, a new numbering, the next day. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import NamedTuple

from sourcepulse_web.pages.live.sentences.parts import count
from sourcepulse_web.pages.live.view import LiveRowDoc

_DATE = slice(0, 10)
_CLOCK = slice(11, 19)


class Placed(NamedTuple):
    """A row, its position in the log, and when it was appended, in seconds since 1970."""

    position: int
    at: float
    row: LiveRowDoc


class Hatched(NamedTuple):
    """A line that is no event."""

    name: str
    text: str


class Day(NamedTuple):
    """The first line of a day."""

    date: str
    text: str


def lines(rows: Sequence[Placed], *, whole: bool) -> list[Placed | Hatched | Day]:
    """Return what a page shows, newest first, of rows that are oldest first.

    `whole`: the rows are all events of their sources, so that a number that is missing did not come.
    """
    found: list[Placed | Hatched | Day] = []
    last: dict[str, tuple[str, int]] = {}
    day = ""
    for placed in rows:
        row = placed.row
        if day and row["time"][_DATE] != day:
            found.append(_day(day))
        day = row["time"][_DATE] or day
        found += _between(row, last) if whole else []
        found.append(placed)
    return [*reversed([*found, _day(day)])] if day else [*reversed(found)]


def _between(row: LiveRowDoc, last: dict[str, tuple[str, int]]) -> Iterator[Hatched]:
    epoch, sequence, source = row["epoch"], row["sequence"], row["source"]
    if not epoch or not sequence or not sequence.isdecimal() or row["replayed"]:
        return
    number = int(sequence)
    before = last.get(source)
    if before is not None and before[0] != epoch:
        yield Hatched("New numbering", f"{source} began again at {number:,} at {row['time'][_CLOCK]}.")
    elif before is not None and number > before[1] + 1:
        lost = count(number - before[1] - 1, "event")
        yield Hatched("Gap", f"{lost} of {source} between {before[1]:,} and {number:,} will not come here.")
    if before is None or before[0] != epoch or number > before[1]:
        last[source] = epoch, number


def _day(text: str) -> Day:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return Day(text, text)
    return Day(text, f"{day:%A} {day.day} {day:%B} {day.year}")
