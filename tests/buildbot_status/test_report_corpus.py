# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Reports of many writers: what each means, what is wrong with it, and that no broken one looks whole.

The files in `reports/` were written by the programs that they are named after; the texts here follow the formats of
writers that are not installed where the tests run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from sourcepulse_buildbot.junit_report import read_junit
from sourcepulse_buildbot.subunit_report import read_subunit
from sourcepulse_buildbot.tap_report import read_tap
from sourcepulse_buildbot.test_case import Report

_REPORTS = Path(__file__).parent / "reports"
_LETTERS = {"passed": ".", "failed": "F", "error": "E", "skipped": "s"}


class Shape(NamedTuple):
    """A report, and what is right."""

    report: bytes
    #: Name and outcome of each case, in a line each: `. name` passed, `F` failed, `E` error, `s` skipped.
    cases: str
    is_whole: bool = True
    notes: int = 0


def _suite(inside: str, attributes: str = "") -> bytes:
    return f'<?xml version="1.0"?><testsuites><testsuite {attributes}>{inside}</testsuite></testsuites>'.encode()


def _utf(encoding: str, declared: str, name: str = "\u00fc\u6f22") -> bytes:
    return f'<?xml version="1.0" encoding="{declared}"?><testsuite><testcase name="{name}"/></testsuite>'.encode(
        encoding
    )


_AB = '<testcase classname="T" name="a"/><testcase classname="T" name="b"><failure message="no"/></testcase>'
_OK = '<testcase classname="T" name="a"/>'

JUNIT: dict[str, Shape] = {
    "counts that promise more tests": Shape(_suite(_OK, 'tests="10" failures="0"'), ". T.a", is_whole=False),
    "counts that promise a failure": Shape(_suite(_OK, 'tests="1" failures="3"'), ". T.a", is_whole=False),
    "counts that promise an error": Shape(_suite(_OK, 'tests="1" errors="1"'), ". T.a", is_whole=False),
    "counts that promise less": Shape(_suite(_OK * 3, 'tests="1"'), ". T.a\n. T.a\n. T.a"),
    "counts that promise fewer": Shape(
        _suite(_OK + '<testcase classname="T" name="b"/>', 'tests="1"'), ". T.a\n. T.b", is_whole=False
    ),
    "counts of the root": Shape(
        b'<testsuites tests="5"><testsuite><testcase name="a"/></testsuite></testsuites>', ". a", is_whole=False
    ),
    "empty where tests were promised": Shape(b'<testsuite name="s" tests="4"></testsuite>', "", is_whole=False),
    "empty as promised": Shape(b'<testsuite name="s" tests="0"></testsuite>', ""),
    "no suite in the root": Shape(b"<testsuites/>", ""),
    "Catch2 counts assertions": Shape(
        _suite('<testcase classname="t.global" name="adds" status="run"/>', 'tests="7" failures="0" hostname="tbd"'),
        ". t.global.adds",
    ),
    "PHPUnit nests suites": Shape(
        _suite(
            '<testsuite name="FooTest" tests="2" failures="1"><testcase name="testA" classname="FooTest"/>'
            '<testsuite name="FooTest::testB" tests="1" failures="1"><testcase name="testB with data set #0" '
            'classname="FooTest"><failure type="E">FooTest::testB\nFailed asserting</failure></testcase></testsuite>'
            "</testsuite>",
            'name="unit" tests="2" failures="1"',
        ),
        ". FooTest.testA\nF FooTest.testB with data set #0",
    ),
    "suites without classes": Shape(
        b'<testsuites><testsuite name="x"><testcase name="works"/></testsuite><testsuite name="y">'
        b'<testcase name="works"/></testsuite></testsuites>',
        ". x > works\n. y > works",
    ),
    "jest-junit doubles the name": Shape(
        _suite('<testcase classname="parser works" name="parser works" time="0.1"/>', 'name="parser" tests="1"'),
        ". parser works",
    ),
    "mocha-junit-reporter": Shape(
        _suite('<testcase name="parser works" classname="works" time="0.1"/>', 'name="parser" tests="1"'),
        ". parser works",
    ),
    "Surefire repeats a test that fails": Shape(
        _suite(
            '<testcase name="t" classname="org.T"><failure message="1"/><rerunFailure message="2"/>'
            '<rerunFailure message="3"><stackTrace>at</stackTrace></rerunFailure></testcase>',
            'name="org.T" tests="1" failures="1" flakes="0"',
        ),
        "F org.T.t",
    ),
    "a status and no element": Shape(
        _suite('<testcase name="t" classname="T" status="failed"/><testcase name="u" classname="T" result="error"/>'),
        "F T.t\nE T.u",
    ),
    "a failure and a skip of a suite": Shape(
        _suite("<failure>no</failure>", 'name="S" tests="0" failures="1"'),
        "F S",
    ),
    "unknown elements": Shape(_suite(f"<rerun/>{_OK}<flaky/>"), ". T.a", notes=2),
    "a document type of a file": Shape(
        b'<!DOCTYPE testsuites SYSTEM "junit.dtd"><testsuites>' + _AB.encode() + b"</testsuites>", ". T.a\nF T.b"
    ),
    "entities": Shape(
        b'<!DOCTYPE t [<!ENTITY a "b">]><testsuite><testcase name="&a;"/></testsuite>', "", is_whole=False, notes=1
    ),
    "two documents": Shape(_suite(_AB) + b"\n" + _suite(_OK), ". T.a\nF T.b\n. T.a"),
    "a document after a refused one": Shape(
        b'<?xml version="1.0"?><!DOCTYPE t [<!ENTITY a "b">]><testsuite/>' + _suite(_OK), ". T.a", is_whole=False
    ),
    "other XML before it": Shape(b"<?xml version='1.0'?><coverage/>" + _suite(_OK), ". T.a", notes=1),
    "output around it": Shape(b"collecting ...\n" + _suite(_OK) + b"\ndone\n", ". T.a"),
    "cut in a name": Shape(_suite(_AB)[:-60], ". T.a", is_whole=False),
    "cut in a text": Shape(
        b'<testsuite tests="2"><testcase name="a"/><testcase name="b"><failure>so', ". a\nF b", is_whole=False
    ),
    "a name with a bracket": Shape(
        b'<testsuite><testcase name="a<b"/><testcase name="c"/></testsuite>', ". c", is_whole=False
    ),
    "stray ampersands": Shape(_suite('<testcase name="a & b"/>'), ". a & b", notes=1),
    "an entity of HTML": Shape(_suite('<testcase name="a&nbsp;b"/>'), ". a\u00a0b", notes=1),
    "a character that XML forbids": Shape(
        _suite('<testcase name="a\x1b[1m&#x1b;&#65535;"/>'), ". a\ufffd[1m\ufffd\ufffd", notes=1
    ),
    "CDATA keeps what looks like a reference": Shape(
        _suite('<testcase name="a"><failure><![CDATA[&#27;]]></failure></testcase>'), "F a"
    ),
    "Shift_JIS": Shape(_utf("shift_jis", "Shift_JIS", "\u6f22"), ". \u6f22"),
    "GB18030": Shape(_utf("gb18030", "GB18030"), ". \u00fc\u6f22"),
    "EUC-KR": Shape(_utf("euc-kr", "EUC-KR", "\ud55c"), ". \ud55c"),
    "UTF-16 with a mark": Shape(_utf("utf-16", "utf-16"), ". \u00fc\u6f22"),
    "UTF-16 without a mark": Shape(_utf("utf-16-le", "utf-16"), ". \u00fc\u6f22"),
    "UTF-8 that declares UTF-16": Shape(_utf("utf-8", "utf-16"), ". \u00fc\u6f22", notes=1),
    "UTF-8 that declares Latin-1": Shape(_utf("utf-8", "ISO-8859-1"), ". \u00fc\u6f22", notes=1),
    "Latin-1": Shape(_utf("latin-1", "ISO-8859-1", "\u00fc"), ". \u00fc"),
    "Latin-1 that declares UTF-8": Shape(_utf("latin-1", "UTF-8", "\u00fc"), ". \ufffd", notes=1),
    "an encoding that does not exist": Shape(_utf("utf-8", "klingon"), ". \u00fc\u6f22", notes=1),
    "a mark and UTF-8": Shape(b"\xef\xbb\xbf" + _suite(_OK), ". T.a"),
}

TAP: dict[str, Shape] = {
    "bats --timing": Shape((_REPORTS / "bats-timing.tap").read_bytes(), ". adds\nF fails here\ns skips"),
    "bats tap13": Shape((_REPORTS / "bats.tap13").read_bytes(), ". adds\nF fails here\ns skips"),
    "one test in a time": Shape(b"1..1\nok 1 opens a file in 11ms\n", ". opens a file"),
    "a name that speaks of a time": Shape(b"1..2\nok 1 waits 5 s\nok 2 b\n", ". waits 5 s\n. b"),
    "names that differ in their times only": Shape(b"1..2\nok 1 in 1ms\nok 2 in 2ms\n", ". in 1ms\n. in 2ms"),
    "text that begins with ok": Shape(
        b"ok, starting\nok I am ready\n1..2\nok 1 - a\nok then\nnot ok really\nok 2 - b\nok computer\n", ". a\n. b"
    ),
    "diagnostics that are indented": Shape(b"1..1\nnot ok 1 - a\n\n    # got 1\n    # want 2\n", "F a"),
    "no plan": Shape(b"ok 1 - a\n", ". a", is_whole=False),
    "less than the plan": Shape(b"1..3\nok 1 - a\n", ". a\nE test 2\nE test 3", is_whole=False),
    "Bail out": Shape(b"1..1\nok 1 - a\nBail out! disk full\n", ". a", is_whole=False),
    "UTF-16 of PowerShell": Shape("1..1\r\nok 1 - \u00fc\r\n".encode("utf-16"), ". \u00fc"),
    "a byte that is not UTF-8": Shape(b"1..1\nok 1 - \xff\n", ". \ufffd", notes=1),
    "nothing": Shape(b"", "", is_whole=False),
    "node": Shape(
        (_REPORTS / "node.tap").read_bytes(),
        ". outer > parser > works\nF outer > parser > breaks\ns outer > parser > later\ns outer > parser > skips\n"
        ". printer > works\n. top\n. parent > child\nF parent",
    ),
    "prove without --verbose": Shape(
        (_REPORTS / "prove.txt").read_bytes(),
        "E t/die.t\nE t/dub.t\nE t/empty.t\nE t/extra.t\nE t/f.t\n. t/g.t\nE t/kill.t\n. t/todo.t",
    ),
    "prove --verbose": Shape(
        (_REPORTS / "prove-verbose.txt").read_bytes(),
        "E t/die.t\n. a\n. b\nE t/dub.t\nE t/empty.t\n. test 1\n. test 2\n. test 3\nE t/extra.t\n. x\nF s > in\n"
        ". good\n. test 1\nE t/kill.t\n. unexp",
        is_whole=False,
    ),
    "prove --timer": Shape(
        (_REPORTS / "prove-timer.txt").read_bytes(),
        "E t/die.t\n. a\n. b\nE t/dub.t\nE t/empty.t\n. test 1\n. test 2\n. test 3\nE t/extra.t\n. x\nF s > in\n"
        ". good\n. test 1\nE t/kill.t\n. unexp",
        is_whole=False,
    ),
    "prove --merge": Shape((_REPORTS / "prove-merged.txt").read_bytes(), ". x\nF s > in\nE t/die.t"),
    "prove that breaks off": Shape(
        (_REPORTS / "prove-cut.txt").read_bytes(),
        "E t/die.t\n. a\n. b\nE t/dub.t\nE t/empty.t\n. test 1\n. test 2\n. test 3\nE t/extra.t\n. x\nF s > in\n. good",
        is_whole=False,
    ),
    "prove counts more": Shape(
        b"t/a.t .. \n1..1\nok 1 - a\nok\nFiles=2, Tests=5,  0 wallclock secs\nResult: PASS\n", ". a", is_whole=False
    ),
    "prove fails for no reason that is there": Shape(
        b"t/a.t .. \n1..1\nok 1 - a\nok\nFiles=1, Tests=1,  0 wallclock secs\nResult: FAIL\n", ". a", is_whole=False
    ),
}

SUBUNIT: dict[str, Shape] = {
    "a log before the traceback": Shape(
        (_REPORTS / "log_first_text.subunit").read_bytes(),
        "F setUpClass (test_api.Bad)\n. test_api.ServersTest.test_ok\nF test_api.ServersTest.test_resize",
        notes=1,
    ),
    "more tests are announced": Shape(b"progress: 3\ntest: a\nsuccess: a\n", ". a", is_whole=False),
    "a test without an end": Shape(b"test: a\nsuccess: a\ntest: b\n", ". a\nE b"),
    "a packet that is announced only": Shape(bytes.fromhex("b329010c03666f6f08555f1b"), "", is_whole=False),
}

FILES: dict[str, Shape] = {
    "ctest.xml": Shape(
        (_REPORTS / "ctest.xml").read_bytes(),
        ". good\nF bad\nE noexe\ns skipme\ns off\nF setup\nE needs\nF slow\nE req",
    ),
    "node.xml": Shape(
        (_REPORTS / "node.xml").read_bytes(),
        ". outer > parser > works\nF outer > parser > breaks\ns outer > parser > later\ns outer > parser > skips\n"
        ". printer > works\n. top\n. parent > child",
        # The failure of `parent` itself is only in the count of node.
        is_whole=False,
    ),
    "bats.xml": Shape((_REPORTS / "bats.xml").read_bytes(), ". a.bats.adds\nF a.bats.fails here\ns a.bats.skips"),
    "pytest-reruns.xml": Shape(
        (_REPORTS / "pytest-reruns.xml").read_bytes(),
        ". test_r.test_flaky\nE test_r.test_pass_then_teardown\nF test_r.test_fail_then_teardown\n"
        "E test_r.test_fail_then_teardown\nF test_r.test_never\n. test_r.test_ok",
    ),
}


def _told(report: Report) -> str:
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
    assert _told(report) == shape.cases
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
    merged = read_tap(TAP["prove --merge"].report).cases
    assert merged[1].message == "Failed test 'in'\n  at t/f.t line 1."
    assert str(merged[2].message).startswith("Dubious, test returned 255")


def test_the_traceback_comes_before_the_log_and_a_cut_tells_the_true_size() -> None:
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
