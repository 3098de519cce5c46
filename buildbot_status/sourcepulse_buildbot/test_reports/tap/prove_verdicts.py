# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read what `prove` says of each file and of all: a file may die beside tests that passed, and only `prove` knows."""

from __future__ import annotations

import re
from typing import NamedTuple

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED, ReportBuilder

#: The line of a file; with `--timer` a time stands before it, without `--verbose` the verdict behind it.
_FILE = re.compile(r"(?:\[[0-9:]{5,8}\] )?(?P<path>\S(?:.*\S)?) \.{2,}(?: +(?P<verdict>\S.*?))? ?$")
_GOOD = re.compile(r"ok(?:\s+[0-9]+ ms\b.*)?\s*$")
_SKIPPED = re.compile(r"skipped(?:: (?P<reason>.*))?$")
_BAD = re.compile(
    r"(?:Dubious, test returned |No subtests run|All [0-9]+ subtests passed|Failed [0-9]+/[0-9]+ subtests)"
)
_FILES = re.compile(r"Files=(?P<files>[0-9]{1,9}), Tests=(?P<tests>[0-9]{1,9}),")
_RESULT = re.compile(r"Result: (?P<result>PASS|FAIL|NOTESTS)\s*$")
_SUMMARY = "Test Summary Report"


class ProveFile(NamedTuple):
    """The line with which `prove` begins a file."""

    path: str
    verdict: str | None


class Prove:
    """Follows the runs of `prove` in one report; without any it does nothing."""

    def __init__(self, builder: ReportBuilder) -> None:
        self._builder = builder
        self._path: str | None = None
        self._verdicts: list[str] = []
        #: Of the file: how many tests failed, and whether there was any.
        self._failed_of_file = 0
        self._seen_of_file = 0
        self._is_open = False
        self._files = self._tests = self._failed = 0
        self._any_point = False

    @staticmethod
    def is_verdict(line: str) -> bool:
        """Return whether a line may be a verdict that looks like a test."""
        return bool(_GOOD.match(line))

    def file(self, line: str) -> ProveFile | None:
        """Return the file that a line begins; None for any other line."""
        match = _FILE.match(line)
        if match is None:
            return None
        verdict = match["verdict"]
        is_known = verdict is None or any(each.match(verdict) for each in (_GOOD, _SKIPPED, _BAD))
        return ProveFile(match["path"], verdict) if is_known else None

    def begin(self, file: ProveFile) -> None:
        """Begin a file; the one before it has ended."""
        self._is_open = True
        self._files += 1
        self._path, self._verdicts = file.path, []
        self._failed_of_file = self._seen_of_file = 0
        if file.verdict is not None:
            self._verdict(file.verdict)

    def add(self, outcome: str) -> None:
        """Count a test."""
        self._failed_of_file += outcome in (FAILED, ERROR)
        self._seen_of_file += 1

    def verdict(self, line: str, *, is_done: bool) -> bool:
        """Return whether a line is the verdict of `prove` on the file; `is_done` if a test cannot come."""
        if self._path is None or not (_BAD.match(line) or (is_done and _GOOD.match(line))):
            return False
        self._verdict(line)
        return True

    def _verdict(self, line: str) -> None:
        self._verdicts.append(line.strip())

    def end_file(self, tests: int) -> None:
        """End the file, with so many tests in its own stream."""
        path, self._path = self._path, None
        if path is None:
            return
        self._tests += tests
        self._any_point = self._any_point or tests > 0
        verdict = "\n".join(self._verdicts)
        skipped = _SKIPPED.match(verdict)
        if skipped and not self._seen_of_file:
            self._builder.add(path, SKIPPED, code_path=path, message=skipped["reason"])
        elif _BAD.search(verdict):
            if not self._failed_of_file:
                self._failed += 1
                self._builder.add(path, ERROR, code_path=path, message=verdict)
        elif not self._seen_of_file and _GOOD.match(verdict):
            self._builder.add(path, PASSED, code_path=path)
        self._failed += self._failed_of_file

    @staticmethod
    def is_summary(line: str) -> bool:
        """Return whether a line is one of those at the end of a run."""
        return line.startswith(_SUMMARY) or bool(_FILES.match(line) or _RESULT.match(line))

    def summary(self, line: str) -> None:
        """Compare what `prove` counts with what was read."""
        if match := _FILES.match(line):
            files, tests = int(match["files"]), int(match["tests"])
            if self._is_open and files != self._files:
                self._builder.problem(f"prove counts {files} files, {self._files} are there")
            # Without `--verbose` there are files only.
            if self._any_point and tests != self._tests:
                self._builder.problem(f"prove counts {tests} tests, {self._tests} are there")
        elif match := _RESULT.match(line):
            if match["result"] == "FAIL" and not self._failed:
                self._builder.problem("prove says FAIL, and no test that failed is there")
            self._is_open = self._any_point = False
            self._files = self._tests = self._failed = 0

    def end(self) -> None:
        """End the report."""
        if self._is_open:
            self._builder.problem("there is no result of prove, its run may have ended early")
