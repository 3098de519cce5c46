# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A large report is read in a process of its own, with the same result; an early end of that is not a success."""

from __future__ import annotations

import sys
from typing import cast

import pytest

pytest.importorskip("buildbot")

from sourcepulse_buildbot.test_reports.reading.files import ReportFile
from sourcepulse_buildbot.test_reports.reading.reading import CHILD_FROM_BYTES, Reading
from sourcepulse_buildbot.test_reports.reading.work import RESULTS_AT_ONCE, ReadReport, Task, lines_of
from sourcepulse_buildbot.test_reports.result_sets import FAILURE, PASS_FAIL, REPORT

_SECRET = "hunter2-and-more"
_TASK = Task("junit", 1_000_000, 2**31, FAILURE, ["one file is missing"], {_SECRET: "<password>", "hunter2": "<user>"})
_CASES = 2 * RESULTS_AT_ONCE + 1


def _file(name: str = "a.xml") -> ReportFile:
    inside = "".join(
        f'<testcase name="t{number} \u6f22 {_SECRET}" file="{_SECRET}.py" line="3">'
        f"<failure>hunter2{'x' * 400}</failure></testcase>"
        for number in range(_CASES)
    )
    data = f"<testsuite>{inside}</testsuite>".encode()
    assert len(data) >= CHILD_FROM_BYTES
    return ReportFile(name, data)


def _sentences(report: ReadReport) -> list[str]:
    return list(report.summary.problems)


def test_a_process_of_its_own_reads_what_a_thread_would() -> None:
    files = [_file(), _file("b.xml")]
    reading = Reading(_TASK, files)
    report = reading.read()
    assert report == ReadReport.of(lines_of(_TASK, [(file.name, file.data) for file in files]))
    (ran,) = [each for each in report.sets if each.category == PASS_FAIL]
    assert (report.summary.failed, ran.failed, ran.passed) == (2 * _CASES, 2 * _CASES, 0)
    assert [len(each.lots) for each in report.sets] == [1, 5, 5]
    assert not any(b"hunter2" in lot for each in report.sets for lot in each.lots)
    assert _sentences(report) == ["one file is missing"]


def test_a_reading_that_is_stopped_leaves_a_report_that_is_not_whole() -> None:
    reading = Reading(_TASK, [_file()])
    reading.stop("the step was stopped")
    report = reading.read()
    assert _sentences(report) == ["one file is missing", "the report could not be read: the step was stopped"]
    assert [each.category for each in report.sets] == [REPORT, PASS_FAIL]


@pytest.mark.parametrize("program", ["/bin/false", "/bin/cat", "/bin/true"])
def test_a_process_that_does_not_answer_right_leaves_a_report_that_is_not_whole(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    report = Reading(_TASK, [_file()]).read()
    assert _sentences(report)[1].startswith("the report could not be read: its process ended with ")
    assert report.summary.total == 0


def test_a_process_that_cannot_be_sent_its_task_ends_by_itself() -> None:
    report = Reading(_TASK._replace(most_cases=cast("int", object())), [_file()]).read()
    # It met the end of its input; the limit for its end would have killed it, with -9.
    assert _sentences(report)[1] == "the report could not be read: its process ended with 1"


@pytest.mark.parametrize("program", ["", "/no/such/python"])
def test_where_no_process_can_be_started_the_report_is_read_all_the_same(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    report = Reading(_TASK, [_file()]).read()
    assert (report.summary.failed, _sentences(report)) == (_CASES, ["one file is missing"])


def test_lines_that_end_early_are_not_a_report() -> None:
    lines = list(lines_of(_TASK, [("a.xml", _file().data)]))
    for length in range(len(lines)):
        with pytest.raises(ValueError, match="the end is missing"):
            ReadReport.of(lines[:length])
