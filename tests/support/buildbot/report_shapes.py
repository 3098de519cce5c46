# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Reports of many writers and what each means.

The files in `reports/` were written by the programs that they are named after; the texts here follow the formats of
writers that are not installed where the tests run.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

REPORTS = Path(__file__).parents[2] / "buildbot_status" / "reports"


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
    "cases in a case": Shape(
        _suite(
            '<testcase classname="T" name="outer"><testcase classname="T" name="a"/><testcase classname="T" name="b">'
            '<failure message="no"/></testcase></testcase><testcase classname="T" name="c"/>',
            'name="T" tests="3" failures="1"',
        ),
        ". T.outer > a\nF T.outer > b\n. T.c",
    ),
    "cases in a case that is counted as well": Shape(
        _suite('<testcase name="outer"><testcase name="a"/><testcase name="b"/></testcase>', 'name="s" tests="3"'),
        ". s > outer > a\n. s > outer > b",
    ),
    "cases in a case, which are not counted": Shape(
        _suite('<testcase name="outer"><testcase name="a"/><testcase name="b"/></testcase>', 'name="s" tests="1"'),
        ". s > outer > a\n. s > outer > b",
    ),
    "more cases in a case are counted": Shape(
        _suite('<testcase name="outer"><testcase name="a"/><testcase name="b"/></testcase>', 'name="s" tests="4"'),
        ". s > outer > a\n. s > outer > b",
        is_whole=False,
    ),
    "a case that fails by itself around others": Shape(
        _suite(
            '<testcase name="outer"><testcase name="a"><testcase name="deep"><error/></testcase></testcase>'
            '<failure message="torn down"/></testcase>',
            'name="s" failures="2"',
        ),
        "E s > outer > a > deep\nF s > outer",
    ),
    "a case whose cases repeat its name": Shape(
        _suite('<testcase name="outer"><testcase name="outer a"/></testcase>'), ". outer a"
    ),
    "a suite in a case": Shape(
        _suite(
            '<testcase name="outer"><testsuite name="s"><testcase name="a"><failure/></testcase></testsuite></testcase>'
        ),
        "F outer > a",
        notes=1,
    ),
    "cases in a case that breaks off": Shape(
        b'<testsuite><testcase name="outer"><testcase name="a"><failure/></testcase><testcase name="b"><error/>',
        "F outer > a\nE outer > b",
        is_whole=False,
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
    "skips that are counted and not there": Shape(_suite(_OK, 'tests="1" skipped="1"'), ". T.a", is_whole=False),
    "a success that is none": Shape(
        _suite('<testcase name="a" classname="T" success="False"/><testcase name="b" classname="T" success="True"/>'),
        "F T.a\n. T.b",
    ),
    "an error of NUnit 2 that is no success": Shape(
        _suite('<testcase name="a" classname="T" executed="True" result="Error" success="False"/>'), "E T.a"
    ),
    "GoogleTest fails outside of a test": Shape(
        b'<testsuites tests="2" failures="1" name="AllTests"><testsuite name="Foo" tests="1" failures="0">'
        b'<testcase name="A" status="run" result="completed" classname="Foo"/></testsuite><testsuite '
        b'name="NonTestSuiteFailure" tests="1" failures="1"><testcase name="" status="run" result="completed" '
        b'classname=""><failure message="env"/></testcase></testsuite></testsuites>',
        ". Foo.A\nF NonTestSuiteFailure",
    ),
    "GoogleTest": Shape(
        b'<testsuites tests="4" failures="1" disabled="1" errors="0" name="AllTests"><testsuite name="Foo/0" tests="4" '
        b'failures="1" disabled="1" skipped="1" errors="0"><testcase name="A" value_param="1" file="a.cc" line="3" '
        b'status="run" result="completed" classname="Foo/0"/><testcase name="DISABLED_B" status="notrun" '
        b'result="suppressed" classname="Foo/0"/><testcase name="C" status="run" result="skipped" classname="Foo/0">'
        b'<skipped message="why"/></testcase><testcase name="D" status="run" result="completed" classname="Foo/0">'
        b'<failure message="a.cc:5" type=""/><failure message="a.cc:6" type=""/></testcase></testsuite></testsuites>',
        ". Foo/0.A\ns Foo/0.DISABLED_B\ns Foo/0.C\nF Foo/0.D",
    ),
    "cargo-nextest": Shape(
        b'<testsuites name="nextest-run" tests="3" failures="1" errors="0"><testsuite name="crate" tests="3" '
        b'disabled="0" errors="0" failures="1"><testcase name="tests::a" classname="crate"/><testcase name="tests::b" '
        b'classname="crate"><flakyFailure message="m" type="test failure">out</flakyFailure></testcase><testcase '
        b'name="tests::c" classname="crate"><failure type="exit code 101">panicked</failure><rerunFailure '
        b'type="test failure">again</rerunFailure></testcase></testsuite></testsuites>',
        ". crate.tests::a\n. crate.tests::b\nF crate.tests::c",
    ),
    "go-junit-report of a build that failed": Shape(
        b'<testsuites tests="2" errors="1"><testsuite name="p/ok" tests="1"><testcase classname="p/ok" '
        b'name="TestA/sub"/></testsuite><testsuite name="p/bad" tests="1" errors="1"><testcase classname="p/bad" '
        b'name="[build failed]"><error message="Build error"/></testcase></testsuite></testsuites>',
        ". p/ok.TestA/sub\nE p/bad.[build failed]",
    ),
    "a suite of mocha whose hook fails": Shape(
        b'<testsuites name="Mocha Tests" tests="1" failures="1"><testsuite name="s" tests="1" failures="1"><testcase '
        b'name="s &quot;before each&quot; hook for &quot;a&quot;" classname="&quot;before each&quot; hook for '
        b'&quot;a&quot;"><failure message="no"/></testcase></testsuite></testsuites>',
        'F s "before each" hook for "a"',
    ),
    "pytest-xdist whose worker crashes": Shape(
        b'<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" skipped="0" tests="2">'
        b'<testcase classname="" name="t.py"><failure message="worker gw0 crashed"/></testcase><testcase '
        b'classname="t" name="test_y"/></testsuite></testsuites>',
        "F pytest > t.py\n. t.test_y",
    ),
    "JUnit 5 with a comma for decimals": Shape(
        _suite(
            '<testcase name="a()" classname="com.T" time="0,012"/><testcase name="b()" classname="com.T">'
            "<skipped><![CDATA[off]]></skipped></testcase>",
            'name="JUnit Jupiter" tests="2" skipped="1" failures="0" errors="0" time="0,023"',
        ),
        ". com.T.a()\ns com.T.b()",
    ),
    "Gradle repeats a test": Shape(
        _suite(
            '<testcase name="a" classname="T"><failure/></testcase><testcase name="a" classname="T"/>',
            'name="T" tests="2" failures="1"',
        ),
        "F T.a\n. T.a",
    ),
    "bazel": Shape(
        b'<testsuites><testsuite name="p/t" tests="1" failures="0" errors="1"><testcase name="p/t" status="run">'
        b'<error message="exited with error code 1"></error></testcase></testsuite></testsuites>',
        "E p/t",
    ),
    "XML 1.1": Shape(
        b"<?xml version='1.1'?><testsuite><testcase name='a'/><testcase name='b'><failure/></testcase></testsuite>",
        ". a\nF b",
    ),
    "a page of HTML": Shape(b"<html><body>500</body></html>", "", is_whole=False),
    "NUnit 3 is another format": Shape(b'<test-run result="Failed"><test-case/></test-run>', "", is_whole=False),
    "Windows-1252": Shape(_utf("cp1252", "windows-1252", "\u201ca"), ". \u201ca"),
    "UTF-8 that declares UTF-16": Shape(_utf("utf-8", "utf-16"), ". \u00fc\u6f22", notes=1),
    "UTF-8 that declares Latin-1": Shape(_utf("utf-8", "ISO-8859-1"), ". \u00fc\u6f22", notes=1),
    "Latin-1": Shape(_utf("latin-1", "ISO-8859-1", "\u00fc"), ". \u00fc"),
    "Latin-1 that declares UTF-8": Shape(_utf("latin-1", "UTF-8", "\u00fc"), ". \ufffd", notes=1),
    "an encoding that does not exist": Shape(_utf("utf-8", "klingon"), ". \u00fc\u6f22", notes=1),
    "a mark and UTF-8": Shape(b"\xef\xbb\xbf" + _suite(_OK), ". T.a"),
}

SUBUNIT: dict[str, Shape] = {
    "a log before the traceback": Shape(
        (REPORTS / "log_first_text.subunit").read_bytes(),
        "F setUpClass (test_api.Bad)\n. test_api.ServersTest.test_ok\nF test_api.ServersTest.test_resize",
        notes=1,
    ),
    "more tests are announced": Shape(b"progress: 3\ntest: a\nsuccess: a\n", ". a", is_whole=False),
    "a test without an end": Shape(b"test: a\nsuccess: a\ntest: b\n", ". a\nE b"),
    "a packet that is announced only": Shape(bytes.fromhex("b329010c03666f6f08555f1b"), "", is_whole=False),
}

FILES: dict[str, Shape] = {
    "ctest.xml": Shape(
        (REPORTS / "ctest.xml").read_bytes(),
        ". good\nF bad\nE noexe\ns skipme\ns off\nF setup\nE needs\nF slow\nE req",
    ),
    "node.xml": Shape(
        (REPORTS / "node.xml").read_bytes(),
        ". outer > parser > works\nF outer > parser > breaks\ns outer > parser > later\ns outer > parser > skips\n"
        ". printer > works\n. top\n. parent > child",
        # The failure of `parent` itself is only in the count of node.
        is_whole=False,
    ),
    "bats.xml": Shape((REPORTS / "bats.xml").read_bytes(), ". a.bats.adds\nF a.bats.fails here\ns a.bats.skips"),
    "pytest-reruns.xml": Shape(
        (REPORTS / "pytest-reruns.xml").read_bytes(),
        ". test_r.test_flaky\nE test_r.test_pass_then_teardown\nF test_r.test_fail_then_teardown\n"
        "E test_r.test_fail_then_teardown\nF test_r.test_never\n. test_r.test_ok",
    ),
}
