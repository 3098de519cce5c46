# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Compare the counts of a JUnit XML suite (`tests=`, `failures=`, `errors=`) with the cases that are in it."""

from __future__ import annotations

from collections.abc import Mapping

from sourcepulse_buildbot.test_reports.numbers import whole_number

#: Catch2 counts assertions; it writes this host name into each suite.
_CATCH2_HOST = "tbd"


class Suite:
    """An open `testsuite` or `testsuites`: its attributes, and what was read in it so far."""

    def __init__(self, attributes: Mapping[str, str], *, is_pytest: bool, is_whole: bool = False) -> None:
        self.attributes = attributes
        self.is_pytest = is_pytest
        #: Whether it is the root of the whole report, whose counts are sums.
        self.is_whole = is_whole
        #: The number of cases and suites directly in it, and of all cases below.
        self.direct = self.direct_suites = self.below = 0
        #: The number of cases that only hold other cases; some writers count these as well.
        self.holders = 0
        self.skipped = 0
        #: The number of cases with a failure or an error, whatever their outcome, and of all these elements.
        self.failing = self.failing_elements = 0
        self.repeats = 0
        self._names: set[tuple[str | None, str | None]] = set()

    @property
    def name(self) -> str:
        return self.attributes.get("name", "").strip()

    def add_case(self, case: Mapping[str, str], *, is_direct: bool, is_skipped: bool, failing_elements: int) -> None:
        self.below += 1
        self.direct += is_direct
        self.skipped += is_skipped
        self.failing += failing_elements > 0
        self.failing_elements += failing_elements
        name = (case.get("classname"), case.get("name"))
        self.repeats += is_direct and name in self._names
        if is_direct:
            self._names.add(name)

    def add_holder(self, *, is_direct: bool) -> None:
        """Count a case that passed and holds other cases, and is not a case of its own."""
        self.holders += 1
        self.direct += is_direct

    def add_failure(self) -> None:
        """Count a failure or an error that is directly in the suite."""
        self.failing += 1
        self.failing_elements += 1

    def defect(self) -> str | None:
        """Return how the suite contradicts its cases; None if it does not.

        Writers differ in what they count, so any number that one of them would write for these cases is accepted: cases
        directly in the suite or all below, with or without skipped ones, with nested suites counted as cases.
        """
        where = f"suite {self.name}: " if self.name else ""
        failures = sum(whole_number(self.attributes.get(name)) or 0 for name in ("failures", "errors"))
        # node counts a suite that contains a failing suite as one failure.
        if failures > self.failing and failures > self.failing_elements + self.direct_suites * bool(self.failing):
            return f"{where}{failures} failures are counted, {self.failing} are there"
        skipped = whole_number(self.attributes.get("skipped")) or 0
        if skipped and not self.skipped and not self.failing:
            return f"{where}{skipped} skipped tests are counted, none is there"
        if self.attributes.get("hostname") == _CATCH2_HOST:
            return None
        tests = whole_number(self.attributes.get("tests"))
        if tests is None or tests in self._right():
            return None
        least, most = min(self._right()), max(self._right())
        # pytest counts a test twice if it passed and its teardown failed, and counts repeated tests in its own way.
        if self.repeats and tests >= least - self.repeats and tests <= most + self.failing_elements:
            return None
        if self.is_pytest and least <= tests <= most + self.failing_elements:
            return None
        return f"{where}{tests} tests are counted, {self.below} are there"

    def _right(self) -> set[int]:
        all_below = {self.below, self.below - self.skipped, self.below + self.holders}
        if self.is_whole and self.direct_suites:
            return all_below
        return {
            *all_below,
            self.direct,
            self.direct + self.direct_suites,
            max(self.direct - self.skipped, 0) if not self.direct_suites else self.below,
        }
