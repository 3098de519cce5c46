# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What every reader of test reports gives: the cases, bounded, and what is wrong with the report.

A report is written by programs that nobody here chose, so every text is cut, cleaned of what databases refuse (NUL and
other control characters) and told to be cut, and the number of cases, messages and problems has a limit. Outcomes are
counted beyond that limit.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

PASSED, FAILED, ERROR, SKIPPED = "passed", "failed", "error", "skipped"

#: PostgreSQL refuses an entry of some 2,700 bytes in Buildbot's index of names and of paths.
NAME_BYTES_MAX = 2_000
MESSAGE_BYTES_MAX = 16 * 1024
CASES_MAX = 100_000
#: All messages of a report; Buildbot stores up to 3,000 results in one statement, whose size databases limit.
ALL_MESSAGES_BYTES_MAX = 8 * 1024 * 1024
PROBLEMS_MAX = 20
#: What the integer columns of PostgreSQL and MySQL hold.
INT32_MAX = 2**31 - 1
DURATION_NS_MAX = 2**63 - 1

NS_PER_SECOND = 1_000_000_000

# Surrogates cannot be encoded; tabs and line breaks are fine in a message.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BREAKS = re.compile(r"[\r\n\t]+")
_UNNAMED = "(no name)"


class TestCase(NamedTuple):
    """One test and what became of it; `outcome` is `passed`, `failed`, `error` or `skipped`."""

    name: str
    outcome: str
    code_path: str | None = None
    line: int | None = None
    duration_ns: int | None = None
    #: Why it failed or was skipped.
    message: str | None = None


class Report(NamedTuple):
    """What a report says: the first cases, how many there were of each outcome, and what is wrong with it."""

    cases: Sequence[TestCase]
    #: Outcome -> number, of all cases, also of those that were too many to be kept.
    counts: Mapping[str, int]
    #: A sentence each; empty if the report is whole.
    problems: Sequence[str]

    @property
    def total(self) -> int:
        """Give the number of all cases."""
        return sum(self.counts.values())

    @property
    def failed(self) -> int:
        """Give the number of cases that failed or broke."""
        return self.counts.get(FAILED, 0) + self.counts.get(ERROR, 0)


class ReportBuilder:
    """Collect the cases and the problems of one or several reports, within the limits."""

    def __init__(self, *, most_cases: int = CASES_MAX, most_message_bytes: int = ALL_MESSAGES_BYTES_MAX) -> None:
        #: Which file problems are of, where there are several.
        self.source = ""
        self._most_cases = most_cases
        self._message_bytes_left = most_message_bytes
        self._messages_left_out = 0
        self._cases: list[TestCase] = []
        self._counts: Counter[str] = Counter()
        self._problems: list[str] = []

    def add(
        self,
        name: str,
        outcome: str,
        *,
        code_path: str | None = None,
        line: int | None = None,
        duration_ns: int | None = None,
        message: str | None = None,
    ) -> None:
        """Take a case as a report has it; texts and numbers may be of any size."""
        self._counts[outcome] += 1
        if len(self._cases) >= self._most_cases:
            return
        self._cases.append(
            TestCase(
                name=_name(name) or _UNNAMED,
                outcome=outcome,
                code_path=_name(code_path or "") or None,
                line=line if line is not None and 0 <= line <= INT32_MAX else None,
                duration_ns=duration_ns if duration_ns is not None and 0 <= duration_ns <= DURATION_NS_MAX else None,
                message=self._message(message),
            )
        )

    def note(self, problem: str) -> None:
        """Enter what is wrong, as a sentence without its full stop; the same is entered once."""
        problem = _name(f"{self.source}: {problem}" if self.source else problem)
        if problem not in self._problems and len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)

    def report(self) -> Report:
        """Give everything so far."""
        problems = list(self._problems)
        total = self._counts.total()
        if total > len(self._cases):
            problems.append(f"only the first {len(self._cases)} of {total} tests are kept")
        if self._messages_left_out:
            problems.append(f"the messages of {self._messages_left_out} tests are left out, they are too much text")
        return Report(tuple(self._cases), dict(self._counts), tuple(problems))

    def _message(self, text: str | None) -> str | None:
        message = cut_text(_UNFIT.sub("\ufffd", text).strip(), MESSAGE_BYTES_MAX) if text else ""
        if not message:
            return None
        size = len(message.encode())
        if size > self._message_bytes_left:
            self._messages_left_out += 1
            return None
        self._message_bytes_left -= size
        return message


def cut_text(text: str, most_bytes: int) -> str:
    """Give the first whole characters of a text, with a note of how many bytes it had if it is cut."""
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    note = f" [cut, {len(encoded)} bytes in all]"
    return encoded[: most_bytes - len(note)].decode("utf-8", "ignore") + note


def duration_ns(seconds: str) -> int | None:
    """Read a number of seconds as reports write it, with commas for thousands too; None if it is none."""
    try:
        value = float(seconds.replace(",", ""))
    except ValueError:
        return None
    return (
        round(value * NS_PER_SECOND) if math.isfinite(value) and 0 <= value < DURATION_NS_MAX / NS_PER_SECOND else None
    )


def line_number(text: str) -> int | None:
    """Read the number of a line; None if it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(INT32_MAX)) else None


def _name(text: str) -> str:
    return cut_text(_UNFIT.sub("\ufffd", _BREAKS.sub(" ", text)).strip(), NAME_BYTES_MAX)
