# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Turn reports into lines of JSON that hold test result sets, in any thread or process.

The first line is the summary. Then each set has a line of its own, an object, followed by its results in batches, an
array each. The lines stay bytes until they are stored: so a report of any size is only a few objects in a master, which
the cycle collector does not have to walk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sourcepulse_buildbot.test_reports import cases as test_case
from sourcepulse_buildbot.test_reports.cases import Report, ReportBuilder, TestCase
from sourcepulse_buildbot.test_reports.junit.report import read_junit
from sourcepulse_buildbot.test_reports.result_sets import FALSE, PASS_FAIL, TRUE, result_sets
from sourcepulse_buildbot.test_reports.subunit.report import read_subunit
from sourcepulse_buildbot.test_reports.tap.report import read_tap

READERS: dict[str, Callable[[bytes, ReportBuilder], Report]] = {
    "junit": read_junit,
    "subunit": read_subunit,
    "tap": read_tap,
}
#: The reactor decodes a batch in a millisecond or two, and the database stores it in one transaction.
RESULTS_AT_ONCE = 200


class Task(NamedTuple):
    """How reports are to be read, and what is known in advance."""

    format: str
    most_cases: int
    longest_duration_ns: int
    #: The outcome of a run whose report is incomplete.
    if_incomplete: str
    problems: Sequence[str]
    #: Secrets and their replacements.
    secrets: Mapping[str, str]


class Summary(NamedTuple):
    """The totals of the reports; the members are those of `Report`."""

    counts: Mapping[str, int]
    problems: Sequence[str]
    notes: Sequence[str]
    flaky: int

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def passed(self) -> int:
        return self.counts.get(test_case.PASSED, 0)

    @property
    def failed(self) -> int:
        """The number of cases that failed or broke."""
        return self.counts.get(test_case.FAILED, 0) + self.counts.get(test_case.ERROR, 0)

    @property
    def skipped(self) -> int:
        return self.counts.get(test_case.SKIPPED, 0)


class ReadSet(NamedTuple):
    """A test result set, its results still in batches of JSON."""

    category: str
    value_unit: str
    passed: int | None
    failed: int | None
    lots: list[bytes]


class ReadReport(NamedTuple):
    """Everything that is stored of a report."""

    summary: Summary
    sets: Sequence[ReadSet]

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> ReadReport:
        """Return the content of the lines; ValueError if they are incomplete."""
        summary: Summary | None = None
        sets: list[ReadSet] = []
        has_end = False
        for line in lines:
            if has_end:
                raise ValueError("there are lines behind the last one")
            if line.startswith(b"["):
                sets[-1].lots.append(line)
                continue
            row = json.loads(line)
            if summary is None:
                summary = Summary(**row)
            elif row:
                sets.append(ReadSet(**row, lots=[]))
            else:
                has_end = True
        if summary is None or not has_end:
            raise ValueError("the end is missing")
        return cls(summary, sets)


def lines_of(task: Task, files: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the content of the reports; each file is a name and its bytes."""
    report = _read(task, list(files))
    yield _line(
        {
            "counts": dict(report.counts),
            "problems": list(report.problems),
            "notes": list(report.notes),
            "flaky": report.flaky,
        }
    )
    sets = result_sets(
        report.cases,
        longest_duration_ns=task.longest_duration_ns,
        problems=report.problems,
        notes=report.notes,
        if_incomplete=task.if_incomplete,
    )
    for each in sets:
        values = [row["value"] for row in each.results] if each.category == PASS_FAIL else None
        yield _line(
            {
                "category": each.category,
                "value_unit": each.value_unit,
                "passed": None if values is None else values.count(TRUE),
                "failed": None if values is None else values.count(FALSE),
            }
        )
        for begin in range(0, len(each.results), RESULTS_AT_ONCE):
            yield _line(each.results[begin : begin + RESULTS_AT_ONCE])
    yield _line({})


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _read(task: Task, files: Sequence[tuple[str, bytes]]) -> Report:
    """Read all files into one report without secrets."""
    builder = ReportBuilder(most_cases=task.most_cases)
    for problem in task.problems:
        builder.problem(problem)
    for name, data in files:
        builder.source = name if len(files) > 1 else ""
        READERS[task.format](data, builder)
    report = builder.report()
    if not task.secrets:
        return report
    # The longest first, because one secret may contain another.
    secrets = sorted(task.secrets.items(), key=lambda each: len(each[0]), reverse=True)
    return report._replace(
        cases=[_without_secrets(case, secrets) for case in report.cases],
        problems=[_clean(problem, secrets) for problem in report.problems],
        notes=[_clean(note, secrets) for note in report.notes],
    )


def _without_secrets(case: TestCase, secrets: Sequence[tuple[str, str]]) -> TestCase:
    return case._replace(
        name=_clean(case.name, secrets),
        code_path=None if case.code_path is None else _clean(case.code_path, secrets),
        message=None if case.message is None else _clean(case.message, secrets),
    )


def _clean(text: str, secrets: Sequence[tuple[str, str]]) -> str:
    for secret, name in secrets:
        text = text.replace(secret, name)
    return text
