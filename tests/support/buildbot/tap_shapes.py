# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""TAP of many writers, and through many build servers, and what each means."""

from __future__ import annotations

from support.buildbot.report_shapes import REPORTS, Shape

_PROVE = (REPORTS / "prove.txt").read_bytes()
_OF_PROVE = "E t/die.t\nE t/dub.t\nE t/empty.t\nE t/extra.t\nE t/f.t\n. t/g.t\nE t/kill.t\n. t/todo.t"


def _stamped(stamp: str) -> bytes:
    tap = (
        "TAP version 13\n1..4\nok 1 - a\nnot ok 2 - b\n  ---\n  message: no\n  ...\n# Subtest: s\n"
        "    ok 1 - in\n    1..1\nok 3 - s\n\nok 4 - c # SKIP why\n# fail 1"
    )
    return "".join(f"{stamp.format(number)}{line}\n" for number, line in enumerate(tap.split("\n"))).encode()


TAP: dict[str, Shape] = {
    "bats --timing": Shape((REPORTS / "bats-timing.tap").read_bytes(), ". adds\nF fails here\ns skips"),
    "subtests whose names come behind them": Shape(
        b"    ok 1 - in\n    1..1\nok 1 - one\n    ok 1 - in\n    1..1\nok 2 - two\n1..2\n", ". one > in\n. two > in"
    ),
    "tests in any order": Shape(b"1..3\nok 2 - b\nok 1 - a\nok 3 - c\n", ". b\n. a\n. c"),
    "a number twice and one missing": Shape(b"1..3\nok 1 - a\nok 3 - c\nok 3 - d\n", ". a\n. c\n. d", is_whole=False),
    "more than the plan": Shape(b"1..1\nok 1 - a\nok 2 - b\n", ". a\n. b", is_whole=False),
    "a count of failures that are not there": Shape(
        b"TAP version 13\nok 1 - a\n1..1\n# tests 1\n# pass 0\n# fail 1\n", ". a", is_whole=False
    ),
    "PostgreSQL counts failures that are not there": Shape(
        b"ok 1 - a\n1..1\n# 1 of 1 tests failed.\n", ". a", is_whole=False
    ),
    "tape counts none": Shape(b"TAP version 13\nok 1 - a\n1..1\n# tests 1\n# fail  0\n", ". a"),
    "colours": Shape(b"\x1b[32mok 1 - a\x1b[0m\n\x1b[31mnot ok 2 - b\x1b[0m\n1..2\n", ". a\nF b"),
    "UTF-16 without a mark": Shape("1..1\nok 1 - \u00fc\n".encode("utf-16-le"), ". \u00fc"),
    "UTF-16 of the other order": Shape("1..1\nok 1 - \u00fc\n".encode("utf-16-be"), ". \u00fc"),
    "Jenkins writes a time before each line": Shape(
        _stamped("[2024-01-01T00:00:{:02}.123Z] "), ". a\nF b\n. s > in\ns c"
    ),
    "GitHub writes a time before each line": Shape(
        _stamped("2024-01-01T00:00:{:02}.1234567Z "), ". a\nF b\n. s > in\ns c"
    ),
    "GitLab writes a time before each line": Shape(
        _stamped("2024-01-01T00:00:{:02}.123456Z 00O "), ". a\nF b\n. s > in\ns c"
    ),
    "Docker writes a time with its zone": Shape(
        _stamped("2024-01-01T00:00:{:02}.123456789+02:00 "), ". a\nF b\n. s > in\ns c"
    ),
    "log4j writes a time with a comma": Shape(_stamped("2024-01-01 00:00:{:02},123 "), ". a\nF b\n. s > in\ns c"),
    "the clock and two blanks": Shape(_stamped("00:00:{:02}  "), ". a\nF b\n. s > in\ns c"),
    "ts": Shape(_stamped("Jan  1 00:00:{:02} "), ". a\nF b\n. s > in\ns c"),
    "ts -s": Shape(_stamped("00:00:{:02} "), ". a\nF b\n. s > in\ns c"),
    "seconds since the start": Shape(_stamped("[    {}.000123] "), ". a\nF b\n. s > in\ns c"),
    "a time before each line of less than the plan": Shape(
        _stamped("[00:00:{:02}] ").replace(b"1..4", b"1..5"), ". a\nF b\n. s > in\ns c\nE test 5", is_whole=False
    ),
    "prove without --verbose behind a time": Shape(
        b"".join(b"[2024-01-01T00:00:00.123Z] " + line for line in _PROVE.splitlines(keepends=True)), _OF_PROVE
    ),
    "one run behind a time and one without": Shape(
        b"1..1\nnot ok 1 - x\n" + _stamped("[00:00:{:02}] "), "F x\n. a\nF b\n. s > in\ns c"
    ),
    "a program that logs ok with a time": Shape(b"1..1\n12:00:00 not ok 1 - no test\nok 1 - a\n", ". a"),
    "a program that logs a range with a time": Shape(b"1..1\nnot ok 1 - a\n12:00:01 1..5\n", "F a", notes=1),
    "a program that logs none of nothing with a time": Shape(b"1..1\nok 1 - a\n12:00:01 1..0\n", ". a"),
    "a program that logs less than its plan with a time": Shape(
        b"1..2\n[12:00:01] 1..3\n[12:00:01] ok 1 - inner\n[12:00:01] not ok 2 - inner2\nok 1 - a\nok 2 - b\n",
        ". a\n. b",
        notes=1,
    ),
    "a program that logs more than its plan with a time": Shape(
        b"1..1\n12:00:01 1..1\n12:00:01 ok 1 - in\n12:00:01 not ok 2 - more\nok 1 - a\n", ". a", notes=1
    ),
    "prove without --verbose and a program that logs a range with a time": Shape(
        b"12:00:01 1..5\nt/a.t .. ok\nAll tests successful.\nFiles=1, Tests=1,  0 wallclock secs\nResult: PASS\n",
        ". t/a.t",
        notes=1,
    ),
    "two runs behind a time and one without": Shape(
        b"1..1\nnot ok 1 - x\n" + _stamped("[00:00:{:02}] ") + b"[00:01:00] 1..1\n[00:01:00] not ok 1 - y\n",
        "F x\n. a\nF b\n. s > in\ns c\nF y",
    ),
    "Bail out in a subtest": Shape(
        b"TAP version 14\n# Subtest: s\n    ok 1 - a\n    Bail out! db\nBail out! db\n", ". s > a", is_whole=False
    ),
    "ava": Shape(
        b"TAP version 13\n# a\nok 1 - a\n# b\nnot ok 2 - b\n  ---\n    name: AssertionError\n  ...\n\n1..2\n# tests 2\n"
        b"# pass 1\n# fail 1\n",
        ". a\nF b",
    ),
    "jest-tap-reporter": Shape(
        b"TAP version 13\n\n# Subtest: /a.test.js\n    # Subtest: adds\n    ok 1 - adds # time=5ms\n    1..1\n"
        b"ok 1 - /a.test.js # time=10ms\n1..1\n",
        ". /a.test.js > adds",
    ),
    "an escaped hash": Shape(b"1..1\nok 1 - uses \\# todo not really\n", ". uses # todo not really"),
    "a pragma": Shape(b"TAP version 14\npragma +strict\n1..1\nok 1 - a\n", ". a"),
    "bats tap13": Shape((REPORTS / "bats.tap13").read_bytes(), ". adds\nF fails here\ns skips"),
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
        (REPORTS / "node.tap").read_bytes(),
        ". outer > parser > works\nF outer > parser > breaks\ns outer > parser > later\ns outer > parser > skips\n"
        ". printer > works\n. top\n. parent > child\nF parent",
    ),
    "prove without --verbose": Shape(_PROVE, _OF_PROVE),
    "prove --verbose": Shape(
        (REPORTS / "prove-verbose.txt").read_bytes(),
        "E t/die.t\n. a\n. b\nE t/dub.t\nE t/empty.t\n. test 1\n. test 2\n. test 3\nE t/extra.t\n. x\nF s > in\n"
        ". good\n. test 1\nE t/kill.t\n. unexp",
        is_whole=False,
    ),
    "prove --timer": Shape(
        (REPORTS / "prove-timer.txt").read_bytes(),
        "E t/die.t\n. a\n. b\nE t/dub.t\nE t/empty.t\n. test 1\n. test 2\n. test 3\nE t/extra.t\n. x\nF s > in\n"
        ". good\n. test 1\nE t/kill.t\n. unexp",
        is_whole=False,
    ),
    "prove --merge": Shape((REPORTS / "prove-merged.txt").read_bytes(), ". x\nF s > in\nE t/die.t"),
    "prove that breaks off": Shape(
        (REPORTS / "prove-cut.txt").read_bytes(),
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
