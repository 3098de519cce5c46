# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Both versions of subunit are read, from streams that trial and python-subunit wrote and from damaged ones.

`reports/trial_text.subunit` is what `trial --reporter subunit` of Twisted 26.10 wrote, `unittest_packets.subunit` what
`python -m subunit.run` of python-subunit 1.4.6 wrote, `unittest_text.subunit` that after `subunit-2to1`.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_buildbot.test_reports.subunit.details import OPEN_TESTS_MAX
from sourcepulse_buildbot.test_reports.subunit.packets import BROKEN_PACKETS_MAX
from sourcepulse_buildbot.test_reports.subunit.report import read_subunit

_REPORTS = Path(__file__).parent / "reports"
_UNFINISHED = "This test began, but the report does not tell its end."
_PICTURE = "Content-Type: image/png\nshot\n3\r\n\x00\x01\x020\r\n"
_TEXT = "Content-Type: text/plain\n"
_UNEXPECTED = "This test passes, but it was expected to fail."


def _cases(data: bytes) -> list[tuple[str, str, str | None]]:
    return [(case.name, case.outcome, case.message) for case in read_subunit(data).cases]


def _recorded(name: str) -> bytes:
    return (_REPORTS / name).read_bytes()


def test_every_outcome_of_trial_is_read() -> None:
    report = read_subunit(_recorded("trial_text.subunit"))
    assert [(case.name.rpartition(".")[2], case.outcome) for case in report.cases] == [
        ("test_breaks", "error"),
        ("test_fails", "failed"),
        ("test_fails_as_expected", "skipped"),
        ("test_is_skipped", "skipped"),
        ("test_passes", "passed"),
    ]
    breaks, fails, expected, skipped, passes = report.cases
    # A line of the error is a bracket, which trial does not mark; what follows is lost, but no test is.
    assert str(breaks.message).endswith("\nRuntimeError: odd \xfc")
    assert str(fails.message).startswith("Traceback (most recent call last):\n")
    assert str(fails.message).endswith("FailTest: one is not two")
    assert "known bug 5" in str(expected.message)
    assert (skipped.message, passes.message) == ("not on Tuesdays", None)
    assert report.problems == ()


@pytest.mark.parametrize("name", ["unittest_text.subunit", "unittest_packets.subunit"])
def test_both_versions_of_one_run_say_the_same(name: str) -> None:
    report = read_subunit(_recorded(name))
    assert [(case.name.rpartition(".")[2], case.outcome) for case in report.cases] == [
        ("Broken)", "failed"),
        ("test_breaks", "failed"),
        ("test_fails", "failed"),
        ("test_fails_as_expected", "skipped"),
        ("test_is_skipped", "skipped"),
        ("test_passes", "passed"),
        ("test_passes_unexpectedly", "failed"),
    ]
    broken, breaks, _, _, skipped, passes, unexpected = report.cases
    assert broken.name == "setUpClass (kinds.Broken)"
    assert str(broken.message).endswith("RuntimeError: no database")
    assert str(breaks.message).endswith("RuntimeError: odd \xfc\n]\nodd")
    assert (skipped.message, passes.message, unexpected.message) == ("not on Tuesdays", None, _UNEXPECTED)
    assert [0 < (case.duration_ns or 0) < 1_000_000 for case in report.cases[1:]] == [True] * 6
    assert report.problems == ()


@pytest.mark.parametrize(
    ("text", "cases"),
    [
        ("test: a b\nsuccess: a b\n", [("a b", "passed", None)]),
        ("testing a\nsuccessful a\n", [("a", "passed", None)]),
        ("test: a\nfailure: a\n", [("a", "failed", None)]),
        ("test: a\nerror: a [\nx\n ] quoted\n]\n", [("a", "error", "x\n] quoted")]),
        ("test: a\nskip: a [\nwhy\n]\n", [("a", "skipped", "why")]),
        ("test: a\nuxsuccess: a\n", [("a", "failed", _UNEXPECTED)]),
        # What a test prints is not a test, and compilers print "error" too.
        ("error: a.c:5\ntest: a\ntest driver started\nsuccess: b\nfailure x\nsuccess: a\n", [("a", "passed", None)]),
        ("test: a [\nsuccess: a [\n", [("a [", "passed", None)]),
        # Two at the same time, and one that took the process with it.
        (
            "test: a\ntest: b\nsuccess: b\ntest: c\nsuccess: a\n",
            [("b", "passed", None), ("a", "passed", None), ("c", "error", _UNFINISHED)],
        ),
        (
            "test: a\r\nfailure: a [ multipart\r\nContent-Type: text/plain\r\nlog\r\n5\r\nwhy\r\n0\r\n]\r\n",
            [("a", "failed", "why")],
        ),
        (
            f"test: a\nfailure: a [ multipart\n{_PICTURE}{_TEXT}log\n3\r\nwhy0\r\n{_TEXT}more\n2\r\nno0\r\n]\n",
            [("a", "failed", "why\nmore:\nno")],
        ),
    ],
)
def test_a_line_means_what_the_protocol_says(text: str, cases: list[tuple[str, str, str | None]]) -> None:
    report = read_subunit(text.encode())
    assert [(case.name, case.outcome, case.message) for case in report.cases] == cases
    assert report.problems == ()


@pytest.mark.parametrize(
    ("details", "problem"),
    [
        ("[\nbecause", "the report ends in the details of a test"),
        ("[ multipart\nContent-Type: text/plain\nlog\nFFFFFFFF\r\nwhy", "the details of a test are broken"),
        ("[ multipart\nContent-Type: text/plain\nlog\nnone\n]\n", "the details of a test are broken"),
        ("[ multipart\n", "the details of a test are broken"),
    ],
)
def test_broken_details_are_reported_and_the_outcome_is_kept(details: str, problem: str) -> None:
    report = read_subunit(f"test: a\nfailure: a {details}".encode())
    assert [(case.name, case.outcome) for case in report.cases] == [("a", "failed")]
    assert report.problems == (problem,)


@pytest.mark.parametrize("data", [b"", b"\n", b"make: nothing to be done\n", b"\xb3\x29\x01", b"\xb3" * 5_000])
def test_what_is_not_subunit_is_reported_as_such(data: bytes) -> None:
    report = read_subunit(data)
    assert report.cases == ()
    assert len(report.problems) == 1


def test_the_packet_of_the_published_protocol_is_one() -> None:
    # The example of the protocol's own description: the test "foo" exists, which is not an outcome.
    exists = bytes.fromhex("b329010c03666f6f08555f1b")
    assert _cases(exists) == []
    assert read_subunit(exists).problems == ("1 tests are announced and did not run",)


def _number(value: int) -> bytes:
    octets = 1 if value < 1 << 6 else 2 if value < 1 << 14 else 3
    return (value | (octets - 1) << (8 * octets - 2)).to_bytes(octets)


def _packet(test: str, status: int, *, time: int | None = None, said: bytes = b"", route: str = "") -> bytes:
    name, path = test.encode(), route.encode()
    flags = 0x2000 | 0x0800 | 0x0100 | status
    body = b"" if time is None else time.to_bytes(4) + _number(0)
    body += _number(len(name)) + name
    if said:
        body += _number(10) + b"text/plain" + _number(3) + b"log" + _number(len(said)) + said
    if path:
        body += _number(len(path)) + path
    flags |= (0x0200 if time is not None else 0) | (0x0060 if said else 0) | (0x0400 if route else 0)
    rest = 3 + len(body) + 4
    length = next(total for octets in (1, 2, 3) if len(_number(total := rest + octets)) == octets)
    packet = b"\xb3" + flags.to_bytes(2) + _number(length) + body
    return packet + zlib.crc32(packet).to_bytes(4)


_EXISTS, _RUNS, _PASSES, _SKIPS, _FAILS = 1, 2, 3, 5, 6


def test_packets_between_lines_of_other_output_are_found() -> None:
    data = b"compiling\n" + _packet("a", _RUNS, time=5) + _packet("a", _FAILS, time=8, said=b"why") + b"done\n\n"
    data += _packet("b", _PASSES) + "\N{SUPERSCRIPT THREE}\n".encode()
    report = read_subunit(data)
    assert [tuple(case)[:6] for case in report.cases] == [
        ("a", "failed", None, None, 3_000_000_000, "why"),
        ("b", "passed", None, None, None, None),
    ]
    assert report.problems == ()


def test_a_test_of_two_workers_is_listed_twice_and_one_that_never_ended_is_an_error() -> None:
    data = _packet("a", _RUNS, route="0") + _packet("a", _RUNS, route="1") + _packet("a", _RUNS, route="2")
    data += _packet("a", _SKIPS, said=b"no", route="1") + _packet("a", _PASSES, route="0")
    assert _cases(data) == [("a", "skipped", "no"), ("a", "passed", None), ("a", "error", _UNFINISHED)]


def test_a_damaged_packet_is_left_out_and_reported_and_the_next_one_is_read() -> None:
    damaged = bytearray(_packet("b", _FAILS, said=b"why"))
    damaged[9] ^= 1
    report = read_subunit(_packet("a", _PASSES) + damaged + b"\n" + _packet("c", _PASSES))
    assert [case.name for case in report.cases] == ["a", "c"]
    assert report.problems == ("some packets of the report are broken and left out",)


def test_after_too_many_damaged_packets_nothing_more_is_looked_for() -> None:
    damaged = (b"\n" + _packet("b", _FAILS)[:-1] + b"!") * BROKEN_PACKETS_MAX
    report = read_subunit(_packet("a", _PASSES) + damaged + b"\n" + _packet("c", _PASSES))
    assert ([case.name for case in report.cases], len(report.problems)) == (["a"], 1)


def test_tests_that_only_exist_do_not_keep_those_that_run_from_being_followed() -> None:
    exist = b"".join(_packet(f"t{number}", _EXISTS) for number in range(OPEN_TESTS_MAX + 1))
    assert _cases(exist + _packet("a", _RUNS, said=b"why") + _packet("a", _FAILS)) == [("a", "failed", "why")]


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_a_report_and_never_an_error(data: bytes, is_text: bool) -> None:
    start = b"test: a\nsuccess: a\n" if is_text else _packet("a", _PASSES)
    assert _cases(start + data)[0] == ("a", "passed", None)


@given(st.data())
def test_a_stream_cut_anywhere_gives_the_tests_before_the_cut(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["trial_text.subunit", "unittest_text.subunit", "unittest_packets.subunit"]))
    whole = _recorded(name)
    read = [case for case in _cases(whole[: data.draw(st.integers(0, len(whole)))]) if case[1] != "error"]
    names = [case[0] for case in read]
    assert names == [case[0] for case in _cases(whole) if case[0] in names]
