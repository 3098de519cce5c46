# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the verdicts of `prove` on each file and on all: only `prove` knows if a file died after its tests passed."""

from __future__ import annotations

import re
from typing import NamedTuple

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED, ReportBuilder

#: The line of a file; `--timer` puts a time before it, and without `--verbose` the verdict follows it.
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
    """Follows the runs of `prove` in one report; does nothing if there are none."""

    def __init__(self, builder: ReportBuilder) -> None:
        self._builder = builder
        self._path: str | None = None
        self._verdicts: list[str] = []
        #: How many tests of the file failed, and whether it had any.
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
        """Return the file whose output begins with this line; None for any other line."""
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
        self._failed_of_file += outcome in (FAILED, ERROR)
        self._seen_of_file += 1

    def verdict(self, line: str, *, is_done: bool) -> bool:
        """Return whether a line is the verdict of `prove` on the file; `is_done` if no more tests can follow."""
        if self._path is None or not (_BAD.match(line) or (is_done and _GOOD.match(line))):
            return False
        self._verdict(line)
        return True

    def _verdict(self, line: str) -> None:
        self._verdicts.append(line.strip())

    def end_file(self, tests: int) -> None:
        """End the file, whose own stream had this many tests."""
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
        """Compare the counts of `prove` with what was read."""
        if match := _FILES.match(line):
            files, tests = int(match["files"]), int(match["tests"])
            if self._is_open and files != self._files:
                self._builder.problem(f"prove counts {files} files, {self._files} are there")
            # Without `--verbose`, only files are listed.
            if self._any_point and tests != self._tests:
                self._builder.problem(f"prove counts {tests} tests, {self._tests} are there")
        elif match := _RESULT.match(line):
            if match["result"] == "FAIL" and not self._failed:
                self._builder.problem("prove says FAIL, and no test that failed is there")
            self._is_open = self._any_point = False
            self._files = self._tests = self._failed = 0

    def end(self) -> None:
        if self._is_open:
            self._builder.problem("there is no result of prove, its run may have ended early")
