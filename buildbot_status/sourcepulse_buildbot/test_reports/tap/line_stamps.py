# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the lines of a log without the timestamps that Jenkins, GitHub, GitLab, Docker or `ts` add."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_CLOCK = r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
_STAMP = re.compile(
    r"(?:"
    # 2024-01-01T00:00:00.123Z; also with a space for the T, with a time zone, or in brackets.
    rf"\[?[0-9]{{4}}[-/][0-9]{{2}}[-/][0-9]{{2}}[T ]{_CLOCK}(?:\s?(?:Z|UTC|[+-][0-9]{{2}}:?[0-9]{{2}}))?\]?"
    # 00:00:00, and Jan  1 00:00:00 as `ts` writes it.
    rf"|\[?(?:[A-Z][a-z]{{2}} [ 0-3][0-9] )?{_CLOCK}\]?"
    # Seconds since the start.
    r"|\[ *[0-9]{1,9}\.[0-9]{1,9}\]"
    r")"
    # GitLab adds the stream, and whether the line continues.
    r"(?: [0-9a-f]{2}[OE][ +])?(?=\s|$|(?<=[OE][ +]))"
)


class Stamped(NamedTuple):
    """What the lines behind timestamps are."""

    #: How many spaces stand between the timestamp and the line; None if there is no timestamp to remove.
    blanks: int | None
    #: Whether they are not read although a plan is among them.
    is_plan_left_out: bool = False


def find_stamps(
    lines: Iterable[str],
    is_known: Callable[[str], bool],
    planned: Callable[[str], int],
    is_point: Callable[[str], bool],
) -> Stamped:
    """Return what the lines behind timestamps are; `planned` returns the tests of a plan, and 0 for any other line.

    A program may print a timestamp and then something that looks like a line of the report. So if lines of a report
    stand without timestamps, those behind timestamps are a report only if they have a plan and keep it.
    """
    plans: Counter[int] = Counter()
    points: Counter[int] = Counter()
    any_plain = False
    for line in lines:
        if is_known(line):
            any_plain = True
            continue
        match = _STAMP.match(line)
        if match is not None and is_known(text := line[match.end() :].lstrip(" ")):
            blanks = len(line) - match.end() - len(text)
            plans[blanks] += planned(text)
            points[blanks] += is_point(text)
    # Subtests are indented.
    least = min(plans, default=None)
    if any_plain and least is not None and not 0 < plans[least] == points[least]:
        return Stamped(None, is_plan_left_out=any(plans.values()))
    return Stamped(least)


def lines_of(text: str, blanks: int | None = None) -> Iterator[str]:
    """Yield the lines of a text; with `blanks`, without their timestamps and the given number of spaces behind them."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        line = text[begin:end].rstrip("\r")
        yield line if blanks is None else _without_stamp(line, blanks)
        begin = end + 1


def _without_stamp(line: str, blanks: int) -> str:
    """Return a line without its timestamp; a line that has none is unchanged."""
    match = _STAMP.match(line)
    if match is None:
        return line
    text = line[match.end() :]
    return text[min(blanks, len(text) - len(text.lstrip(" "))) :]
