# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the lines of a log without the time that Jenkins, GitHub, GitLab, Docker or `ts` write before each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

_CLOCK = r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
_STAMP = re.compile(
    r"(?:"
    # 2024-01-01T00:00:00.123Z, with a blank for the T, with a time zone, in brackets.
    rf"\[?[0-9]{{4}}[-/][0-9]{{2}}[-/][0-9]{{2}}[T ]{_CLOCK}(?:\s?(?:Z|UTC|[+-][0-9]{{2}}:?[0-9]{{2}}))?\]?"
    # 00:00:00, and Jan  1 00:00:00 as `ts` writes it.
    rf"|\[?(?:[A-Z][a-z]{{2}} [ 0-3][0-9] )?{_CLOCK}\]?"
    # Seconds since the start.
    r"|\[ *[0-9]{1,9}\.[0-9]{1,9}\]"
    r")"
    # GitLab says which stream it is, and whether the line goes on.
    r"(?: [0-9a-f]{2}[OE][ +])?(?=\s|$|(?<=[OE][ +]))"
)


def stamp_blanks(
    lines: Iterable[str], is_known: Callable[[str], bool], is_certain: Callable[[str], bool]
) -> int | None:
    """Return how many blanks stand between the time and the line itself; None where no time has to be taken away.

    A program may write a time and then what looks like a line of the report. So there must be one behind a time that is
    certain, or at least none that is known without a time.
    """
    blanks: int | None = None
    any_plain = any_certain = False
    for line in lines:
        if is_known(line):
            any_plain = True
            continue
        match = _STAMP.match(line)
        if match is not None and is_known(text := line[match.end() :].lstrip(" ")):
            found = len(line) - match.end() - len(text)
            blanks = found if blanks is None else min(blanks, found)
            any_certain = any_certain or is_certain(text)
    return None if any_plain and not any_certain else blanks


def lines_of(text: str, blanks: int | None = None) -> Iterator[str]:
    """Yield the lines of a text; with `blanks`, without the time before each and so many blanks behind it."""
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        line = text[begin:end].rstrip("\r")
        yield line if blanks is None else _without_stamp(line, blanks)
        begin = end + 1


def _without_stamp(line: str, blanks: int) -> str:
    """Return a line without its time; one that has none stays as it is."""
    match = _STAMP.match(line)
    if match is None:
        return line
    text = line[match.end() :]
    return text[min(blanks, len(text) - len(text.lstrip(" "))) :]
