# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""JUnit XML of real programs is read as they meant it, and hostile or broken XML is reported instead of believed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_buildbot.test_reports import cases
from sourcepulse_buildbot.test_reports.cases import ReportBuilder
from sourcepulse_buildbot.test_reports.junit.report import read_junit

#: One test of each kind that pytest distinguishes.
_KINDS = """
import unittest

import pytest


def test_passes():
    pass


def test_fails():
    print("said before")
    assert 1 == 2, "one is not two"


@pytest.fixture
def broken():
    raise RuntimeError("no database")


def test_breaks(broken):
    pass


@pytest.mark.skip(reason="not on Tuesdays")
def test_is_skipped():
    pass


@pytest.mark.xfail(reason="known bug 5")
def test_fails_as_expected():
    assert False


@pytest.mark.xfail(strict=True, reason="known bug 6")
def test_passes_unexpectedly():
    pass


@pytest.mark.parametrize("text", ["a b", "<&>", chr(0x1B), chr(0xFC)])
def test_of_texts(text):
    pass


class InClassTest(unittest.TestCase):
    def test_method(self):
        self.assertIn(1, [])


@pytest.fixture
def breaks_after():
    yield
    raise RuntimeError("cannot tear down")


def test_fails_twice(breaks_after):
    assert False, "first"
"""


@pytest.fixture(scope="module")
def pytest_reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What pytest writes in each of its two dialects."""
    folder = tmp_path_factory.mktemp("pytest")
    (folder / "test_kinds.py").write_text(_KINDS)
    return {family: _run_pytest(folder, family) for family in ("xunit1", "xunit2")}


def _run_pytest(folder: Path, family: str) -> bytes:
    report = folder / f"{family}.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o"]
    command += [f"junit_family={family}", "--rootdir", str(folder), f"--junitxml={report}", "test_kinds.py"]
    quick = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=quick, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout.decode()
    return report.read_bytes()


@pytest.mark.parametrize("family", ["xunit1", "xunit2"])
def test_every_outcome_of_pytest_is_read(pytest_reports: dict[str, bytes], family: str) -> None:
    report = read_junit(pytest_reports[family])
    assert [(case.name, case.outcome) for case in report.cases] == [
        ("test_kinds.test_passes", "passed"),
        ("test_kinds.test_fails", "failed"),
        ("test_kinds.test_breaks", "error"),
        ("test_kinds.test_is_skipped", "skipped"),
        ("test_kinds.test_fails_as_expected", "skipped"),
        ("test_kinds.test_passes_unexpectedly", "failed"),
        ("test_kinds.test_of_texts[a b]", "passed"),
        ("test_kinds.test_of_texts[<&>]", "passed"),
        ("test_kinds.test_of_texts[\\x1b]", "passed"),
        ("test_kinds.test_of_texts[\\xfc]", "passed"),
        ("test_kinds.InClassTest.test_method", "failed"),
        # The test fails and its fixture breaks after it: pytest reports both, under one name.
        ("test_kinds.test_fails_twice", "failed"),
        ("test_kinds.test_fails_twice", "error"),
    ]
    messages = [case.message for case in report.cases]
    assert "AssertionError: one is not two" in str(messages[1])
    assert str(messages[2]).startswith('failed on setup with "RuntimeError: no database"\n')
    assert "not on Tuesdays" in str(messages[3])
    assert messages[4] == "known bug 5"
    assert messages[0] is None
    assert all(case.duration_ns is not None for case in report.cases)
    assert (report.total, report.failed, report.problems) == (13, 6, ())


def test_the_line_of_a_pytest_test_is_the_one_an_editor_shows(pytest_reports: dict[str, bytes]) -> None:
    first, second, *_ = read_junit(pytest_reports["xunit1"]).cases
    lines = _KINDS.splitlines()
    assert (first.code_path, lines[(first.line or 0) - 1]) == ("test_kinds.py", "def test_passes():")
    assert lines[(second.line or 0) - 1] == "def test_fails():"
    assert read_junit(pytest_reports["xunit2"]).cases[0].line is None


def test_what_googletest_did_not_run_is_skipped() -> None:
    report = read_junit(
        b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" name="AllTests"><testsuite name="Math" tests="3">
<testcase name="Adds" file="math.cc" line="7" status="run" result="completed" time="0.25" classname="Math"/>
<testcase name="DISABLED_Later" file="math.cc" line="9" status="notrun" result="suppressed" classname="Math"/>
<testcase name="Divides" file="math.cc" line="12" status="run" result="completed" time="1e-3" classname="Math">
<failure message="math.cc:13&#x0A;Expected: 2" type=""><![CDATA[math.cc:13
Expected: 2]]></failure><failure message="math.cc:14" type=""><![CDATA[math.cc:14]]></failure>
</testcase></testsuite></testsuites>"""
    )
    assert [tuple(case)[:6] for case in report.cases] == [
        ("Math.Adds", "passed", "math.cc", 7, 250_000_000, None),
        ("Math.DISABLED_Later", "skipped", "math.cc", 9, None, None),
        ("Math.Divides", "failed", "math.cc", 12, 1_000_000, "math.cc:13\nExpected: 2\nmath.cc:14"),
    ]


def test_a_test_that_passed_when_it_was_repeated_has_passed() -> None:
    # As Maven's Surefire has it, with a comma for thousands.
    report = read_junit(
        b'<testsuite name="s"><testcase name="t" classname="org.T" time="1,234.5"><flakyFailure message="once"/>'
        b"<system-out>noise</system-out></testcase></testsuite>"
    )
    assert [tuple(case) for case in report.cases] == [("org.T.t", "passed", None, None, 1_234_500_000_000, "once", 2)]
    assert (report.flaky, report.cases[0].is_flaky) == (1, True)


@pytest.mark.parametrize("prefix", [b"", b"making check\n[ 1 ] running\n", b"\xef\xbb\xbf"])
def test_xml_in_the_output_of_a_program_is_found(prefix: bytes) -> None:
    report = read_junit(prefix + b'<testsuite><testcase name="t"/></testsuite>')
    assert ([case.name for case in report.cases], report.problems) == (["t"], ())


_WHOLE = b'<testsuite>\n<testcase name="a"/>\n<testcase name="b"><failure message="no"/></testcase>\n'


@pytest.mark.parametrize(
    ("end", "problem"),
    [
        (b"", "the XML breaks off in line 4: no element found"),
        (b'<testcase name="c"><system-out>', "the XML breaks off in line 4: no element found"),
        (b'<testcase name="c" ', "the XML breaks off in line 4: unclosed token"),
        (b"</testsuites>", "the XML breaks off in line 4: mismatched tag"),
    ],
)
def test_broken_xml_gives_the_tests_before_the_break_and_says_where_it_is(end: bytes, problem: str) -> None:
    report = read_junit(_WHOLE + end)
    assert [(case.name, case.outcome) for case in report.cases] == [("a", "passed"), ("b", "failed")]
    assert report.problems == (problem,)


def test_a_case_that_breaks_off_after_its_failure_has_failed() -> None:
    report = read_junit(_WHOLE + b'<testcase name="c"><failure>so f')
    assert [(case.name, case.outcome, case.message) for case in report.cases][2:] == [("c", "failed", "so f")]
    assert report.problems == ("the XML breaks off in line 4: no element found",)


@pytest.mark.parametrize(
    ("end", "note"),
    [
        (b"\x1b[31m</testsuite>", "replaced 1 character that XML forbids"),
        (b"\xff</testsuite>", "replaced 1 character that utf-8 does not know"),
        (b"&unknown; &nbsp; & &#x1b;</testsuite>", "replaced 4 characters that XML forbids"),
    ],
)
def test_what_xml_forbids_is_replaced_and_noted(end: bytes, note: str) -> None:
    report = read_junit(_WHOLE + end)
    assert [(case.name, case.outcome) for case in report.cases] == [("a", "passed"), ("b", "failed")]
    assert (report.problems, report.notes) == ((), (note,))


def test_the_reading_goes_on_after_a_break() -> None:
    report = read_junit(_WHOLE + b'<testcase name="c<d"/>\n<testcase name="e"><error/></testcase></testsuite>')
    assert [(case.name, case.outcome) for case in report.cases] == [("a", "passed"), ("b", "failed"), ("e", "error")]
    assert report.problems == ("the XML breaks off in line 4: not well-formed (invalid token)",)


@pytest.mark.parametrize(
    "declaration",
    [
        b'<!DOCTYPE t [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        b'<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_a_document_type_with_definitions_is_refused_before_anything_is_expanded(declaration: bytes) -> None:
    report = read_junit(b"<?xml version='1.0'?>" + declaration + b'<testsuite><testcase name="&b;"/></testsuite>')
    assert report.cases == ()
    assert report.problems == ("the XML has a document type with definitions of its own, which is not accepted",)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the report is empty"),
        (b" \n", "the report is empty"),
        (b"<html><body/></html>", "there is no JUnit XML in the report"),
        (b"no XML at all", "there is no JUnit XML in the report"),
        (b"<?xml version='1.0'?><html><testsuit/></html>", "this is not JUnit XML, it begins with <html>"),
    ],
)
def test_what_is_not_a_report_is_reported_as_such(data: bytes, problem: str) -> None:
    report = read_junit(data)
    assert (report.cases, len(report.problems)) == ((), 1)
    assert problem in report.problems[0]


def test_levels_without_end_are_refused() -> None:
    report = read_junit(_WHOLE + b"<properties>" * 1_000)
    assert (len(report.cases), report.problems) == (2, ("the XML has more than 100 levels, which is not accepted",))


def test_texts_and_numbers_of_any_size_are_cut_to_what_databases_hold() -> None:
    long = "\N{SNOWMAN}" * 50_000
    name = f'name="{long}" classname="{long}" file="{long}" line="99999999999999999999" time="1e999"'
    report = read_junit(
        f'<testsuite><testcase {name}><failure message="{long}">{long}</failure></testcase>'
        f'<testcase name="b" line="4294967296" time="nan"/>'
        f'<testcase name="c" line="-1" time="-1"/></testsuite>'.encode()
    )
    first = report.cases[0]
    assert len(first.name.encode()) <= cases.NAME_BYTES_MAX
    assert first.name.endswith(" [cut, 150000 bytes in all]")
    assert len(str(first.code_path).encode()) <= cases.NAME_BYTES_MAX
    assert 16_000 < len(str(first.message).encode()) <= cases.MESSAGE_BYTES_MAX
    assert str(first.message).startswith("\N{SNOWMAN}")
    assert [(case.line, case.duration_ns) for case in report.cases] == [(None, None)] * 3


@pytest.mark.parametrize(
    ("inside", "outcome"),
    [
        ("<failure/><skipped/>", "failed"),
        ("<skipped/><error/>", "error"),
        ("<failure/><error/>", "failed"),
        ("<properties><property/></properties><system-err>error</system-err>", "passed"),
        ("<system-out><failure/></system-out>", "failed"),
        ("<ns:failure xmlns:ns='n'/>", "failed"),
    ],
)
def test_of_several_outcomes_the_first_counts_that_is_not_skipped(inside: str, outcome: str) -> None:
    report = read_junit(f'<testsuite><testcase name="t">{inside}</testcase></testsuite>'.encode())
    assert [case.outcome for case in report.cases] == [outcome]


def test_tests_and_messages_beyond_the_limits_are_counted_and_reported() -> None:
    case = '<testcase name="t"><failure message="0123456789"/></testcase>'
    report = read_junit(
        f"<testsuite>{case * 5}</testsuite>".encode(), ReportBuilder(most_cases=4, most_message_bytes=25)
    )
    assert [case.message for case in report.cases] == ["0123456789", "0123456789", None, None]
    assert (report.total, report.failed) == (5, 5)
    assert report.problems == ("only the first 4 of 5 tests are kept",)
    assert report.notes == ("the messages of 2 tests are left out, they are too much text",)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_report_and_never_an_error(data: bytes) -> None:
    for text in (data, b"<testsuite>" + data, _WHOLE + data):
        report = read_junit(text)
        assert report.total == len(report.cases)


_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1)


@given(st.lists(st.tuples(_NAMES, st.sampled_from(["", "<failure/>", "<error/>", "<skipped/>"])), max_size=8))
def test_what_was_written_is_what_is_read(tests: list[tuple[str, str]]) -> None:
    written = "".join(f"<testcase name={quoteattr(name)}>{inside}</testcase>" for name, inside in tests)
    outcomes = {"": "passed", "<failure/>": "failed", "<error/>": "error", "<skipped/>": "skipped"}
    report = read_junit(f"<testsuites><testsuite>{written}</testsuite></testsuites>".encode())
    assert [(case.name, case.outcome) for case in report.cases] == [(name, outcomes[end]) for name, end in tests]
    assert report.problems == ()
