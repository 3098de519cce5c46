# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Reports of many writers: what each means, what is wrong with it, and that no broken one looks whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sourcepulse_buildbot.test_reports.cases import Report
from sourcepulse_buildbot.test_reports.junit.report import read_junit
from sourcepulse_buildbot.test_reports.subunit.report import read_subunit
from sourcepulse_buildbot.test_reports.tap.report import read_tap
from support.buildbot.report_shapes import FILES, JUNIT, SUBUNIT, Shape
from support.buildbot.tap_shapes import TAP

_LETTERS = {"passed": ".", "failed": "F", "error": "E", "skipped": "s"}


def _summary(report: Report) -> str:
    return "\n".join(f"{_LETTERS[case.outcome]} {case.name}" for case in report.cases)


def _shapes() -> Sequence[object]:
    readers: Sequence[tuple[str, Callable[[bytes], Report], dict[str, Shape]]] = (
        ("junit", read_junit, {**JUNIT, **FILES}),
        ("tap", read_tap, TAP),
        ("subunit", read_subunit, SUBUNIT),
    )
    return [
        pytest.param(read, shape, id=f"{kind}: {name}")
        for kind, read, shapes in readers
        for name, shape in shapes.items()
    ]


@pytest.mark.parametrize(("read", "shape"), _shapes())
def test_every_shape_of_a_report_is_read_as_its_writer_means_it(read: Callable[[bytes], Report], shape: Shape) -> None:
    report = read(shape.report)
    assert _summary(report) == shape.cases
    assert (not report.problems, len(report.notes)) == (shape.is_whole, shape.notes), (report.problems, report.notes)


@pytest.mark.parametrize(
    "name", [name for name, shape in {**JUNIT, **FILES, **TAP}.items() if "F " in shape.cases or "E " in shape.cases]
)
def test_a_report_that_is_cut_anywhere_never_looks_like_a_whole_one_without_failures(name: str) -> None:
    shape = {**JUNIT, **FILES, **TAP}[name]
    read = read_tap if name in TAP else read_junit
    step = max(1, len(shape.report) // 60)
    for length in range(0, len(shape.report) - 40, step):
        report = read(shape.report[:length])
        assert report.failed or report.problems, shape.report[:length][-80:]


def test_what_ran_more_than_once_has_its_attempts() -> None:
    report = read_junit(FILES["pytest-reruns.xml"].report)
    assert [case.attempts for case in report.cases] == [3, 3, 3, 1, 3, 1]
    assert [case.name for case in report.cases if case.is_flaky] == ["test_r.test_flaky"]
    report = read_junit(JUNIT["Surefire repeats a test that fails"].report)
    assert [(case.attempts, case.message) for case in report.cases] == [(3, "1\n2\n3\nat")]


def test_messages_are_found_where_each_writer_puts_them() -> None:
    ctest = {case.name: case.message for case in read_junit(FILES["ctest.xml"].report).cases}
    assert ctest["bad"] == "expected 1 got 2"
    assert str(ctest["noexe"]).startswith("Unable to find executable\n")
    assert "Failed test dependencies: setup" in str(ctest["needs"])
    (case,) = read_tap(TAP["diagnostics that are indented"].report).cases
    assert case.message == "got 1\nwant 2"
    (stamped,) = [
        case
        for case in read_tap(TAP["GitHub writes a time before each line"].report).cases
        if case.message == "message: no"
    ]
    assert stamped.name == "b"
    merged = read_tap(TAP["prove --merge"].report).cases
    assert merged[1].message == "Failed test 'in'\n  at t/f.t line 1."
    assert str(merged[2].message).startswith("Dubious, test returned 255")


def test_the_traceback_comes_before_the_log_and_a_cut_names_the_true_size() -> None:
    *_, case = read_subunit(SUBUNIT["a log before the traceback"].report).cases
    message = str(case.message)
    assert message.startswith("Traceback (most recent call last):\n")
    assert "!= 409" in message or "409" in message
    assert message.endswith("[cut, 29970 bytes in all]")


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0,0146", 14_600_000),
        ("1,5", 1_500_000_000),
        ("1.5", 1_500_000_000),
        ("12,345", None),
        ("1,234", None),
        ("1.234,5", 1_234_500_000_000),
        ("1,234.5", 1_234_500_000_000),
        ("1.234", 1_234_000_000),
        ("1 234,5", 1_234_500_000_000),
        ("1\u202f234,5", 1_234_500_000_000),
        ("1'234.5", 1_234_500_000_000),
        ("1,234,567", 1_234_567_000_000_000),
        ("1.5e-05", 15_000),
        ("1,5E-05", 15_000),
        ("1.2.3", None),
        ("12,34.5", None),
        ("", None),
        (".", None),
        ("-1", None),
        ("fast", None),
    ],
)
def test_a_duration_is_right_in_each_locale_or_absent(text: str, duration: int | None) -> None:
    (case,) = read_junit(f'<testsuite><testcase name="a" time="{text}"/></testsuite>'.encode()).cases
    assert case.duration_ns == duration
