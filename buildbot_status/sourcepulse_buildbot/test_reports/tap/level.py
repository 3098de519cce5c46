# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A stream of TAP, the outermost one or a subtest, and the check of its plan."""

from __future__ import annotations

import re

#: The failures that node, tape, ava and PostgreSQL's pg_regress count at their end.
_FAILURES = re.compile(
    r"#\s*(?:fail(?:ed)?:?\s+(?P<number>[0-9]{1,9})|(?P<of>[0-9]{1,9}) of [0-9]+ tests failed)\b\.?\s*"
)


class Level:
    """What was read of a stream so far."""

    def __init__(self, name: str = "", block: tuple[str, str] | None = None) -> None:
        self.name = name
        #: Description and outcome of the test point that summed up a subtest in braces in advance.
        self.block = block
        self.planned: int | None = None
        self.plan_came_last = False
        self.seen = self.numbered = 0
        #: The number of test points that are `not ok`, whatever their directives.
        self.bad = 0
        #: What the subtest below contained, for the test point that sums it up.
        self.below_seen = False
        self.below_failed = False
        #: The index of the first test of the subtest below, if its name was not announced.
        self.unnamed_below: int | None = None
        self._numbers: set[int] = set()

    def is_complete(self) -> bool:
        """Return whether all tests of the plan were seen."""
        return self.planned is not None and self.seen >= self.planned

    def add(self, number: str | None, *, is_bad: bool) -> None:
        self.seen += 1
        self.bad += is_bad
        if number is not None:
            self.numbered += 1
            # Python would need long to convert a number of unlimited length.
            self._numbers.add(int(number[:18]))

    def begins_again(self, number: str | None) -> bool:
        """Return whether a test point of this number is the first of another stream."""
        if not self.seen:
            return False
        # Tests may come in any order, so number 1 counts only if it was seen already or no test had a number.
        is_first = number == "1" and (1 in self._numbers or not self.numbered)
        return is_first or (self.is_complete() and self.plan_came_last)

    def defect(self) -> str | None:
        """Return how the tests contradict the plan or their own numbers; None if they do not."""
        if self.planned is not None and self.planned != self.seen:
            return f"{self.planned} tests are planned, {self.seen} ran"
        if self.numbered == self.seen and self._numbers != set(range(1, self.seen + 1)):
            return f"the numbers of {self.seen} tests are not those from 1 to {self.seen}"
        return None


def counted_failures(line: str) -> int:
    """Return how many failures a comment counts; 0 for any other line."""
    match = _FAILURES.fullmatch(line)
    return int(match["number"] or match["of"]) if match else 0
