# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""TAP of real programs and of the specification is read, also where its plan is not kept."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_buildbot.test_reports.cases import NAME_BYTES_MAX
from sourcepulse_buildbot.test_reports.tap.report import LEVELS_MAX, MISSING_MAX, read_tap
from support.component import require

_KINDS = r"""
use strict; use warnings;
use Test::More tests => 8;
ok(1, 'passes');
is(1, 2, 'fails # of all');
ok(1, 'with a # hash');
SKIP: { skip 'no network', 1; ok(0, 'never'); }
TODO: { local $TODO = 'known bug'; ok(0, 'fails as expected'); }
subtest 'group' => sub { plan tests => 2; ok(1, 'first'); ok(0, 'second'); };
subtest 'skipped group' => sub { plan skip_all => 'not here'; };
note 'said';
die "went away";
"""
_LATE = r"""
use Test::More;
ok(1, 'only one');
subtest 'deep' => sub { subtest 'deeper' => sub { ok(1, 'leaf'); done_testing; }; done_testing; };
TODO: { local $TODO = 'perhaps'; ok(1, 'passes against hope'); }
done_testing;
"""
_NONE = "use Test::More skip_all => 'no display';"

_MISSING = "This test is planned, but it did not run."
_LATE_CASES = [
    ("only one", "passed", None),
    ("deep > deeper > leaf", "passed", None),
    ("passes against hope", "passed", None),
]
_KINDS_CASES = [
    ("passes", "passed", None),
    ("fails # of all", "failed", None),
    ("with a # hash", "passed", None),
    ("test 4", "skipped", "no network"),
    ("fails as expected", "skipped", "known bug"),
    ("group > first", "passed", None),
    ("group > second", "failed", None),
    ("skipped group", "skipped", "not here"),
    ("test 8", "error", _MISSING),
]


@pytest.fixture(scope="module")
def perl_tests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tests of Perl."""
    require(bool(shutil.which("prove")), "prove, which comes with Perl, is not installed")
    folder = tmp_path_factory.mktemp("perl")
    (folder / "t").mkdir()
    for name, text in (("late", _LATE), ("kinds", _KINDS), ("none", _NONE)):
        (folder / "t" / f"{name}.t").write_text(text)
    return folder


def _run(folder: Path, *command: str) -> bytes:
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=False).stdout


def _cases(data: bytes) -> list[tuple[str, str, str | None]]:
    return [(case.name, case.outcome, case.message) for case in read_tap(data).cases]


def test_a_test_of_perl_is_read_with_its_subtests_and_what_it_did_not_run(perl_tests: Path) -> None:
    output = _run(perl_tests, "perl", "t/kinds.t")
    assert _cases(output) == _KINDS_CASES
    assert read_tap(output).problems == ("8 tests are planned, 7 ran",)
    assert _cases(_run(perl_tests, "perl", "t/late.t")) == _LATE_CASES
    assert _cases(_run(perl_tests, "perl", "t/none.t")) == [("all tests", "skipped", "no display")]


def test_the_tests_of_several_files_are_distinguished_in_the_output_of_prove(perl_tests: Path) -> None:
    report = read_tap(_run(perl_tests, "prove", "--verbose", "t/late.t", "t/kinds.t", "t/none.t"))
    assert [(case.name, case.outcome, case.message) for case in report.cases] == [
        *_LATE_CASES,
        *_KINDS_CASES,
        ("t/none.t", "skipped", "no display"),
    ]
    assert [case.code_path for case in report.cases] == ["t/late.t"] * 3 + ["t/kinds.t"] * 9 + ["t/none.t"]
    assert report.problems == ("t/kinds.t: 8 tests are planned, 7 ran",)


def test_outputs_of_several_programs_may_follow_each_other(perl_tests: Path) -> None:
    late, kinds = (_run(perl_tests, "perl", f"t/{name}.t") for name in ("late", "kinds"))
    assert _cases(late + late + kinds + late) == [*_LATE_CASES, *_LATE_CASES, *_KINDS_CASES, *_LATE_CASES]


@pytest.mark.parametrize(
    ("text", "cases"),
    [
        ("1..1\nok", [("test 1", "passed", None)]),
        ("1..2\nok 1\nnot ok 2\n", [("test 1", "passed", None), ("test 2", "failed", None)]),
        ("TAP version 13\n1..1\r\nok 1 - of Windows\r\n", [("of Windows", "passed", None)]),
        ("ok 1 without a dash\n1..1\n", [("without a dash", "passed", None)]),
        ("ok 1 - -1 is below # 0\n1..1\n", [("-1 is below # 0", "passed", None)]),
        ("ok 1 - \\# and \\\\ are # skipped: no\n1..1\n", [("# and \\ are", "skipped", "no")]),
        ("not ok 1 - a # todo\n1..1\n", [("a", "skipped", None)]),
        ("ok 1 - #5 is closed # SKIP it is open\n1..1", [("#5 is closed", "skipped", "it is open")]),
        ("okay, this is no test\nnot okay\n1..1\nok 1 - a\nokra\n", [("a", "passed", None)]),
        ("1..0 # Skipped: no display\n", [("all tests", "skipped", "no display")]),
        ("1..1\nnot ok 1 - a\n# got 1\n# want 2\nnoise\n# the end\n", [("a", "failed", "got 1\nwant 2")]),
        ("1..1\nok 1 - \xfc\n", [("\xfc", "passed", None)]),
        # Subtests without their names, with the name in their own column, and in braces.
        ("1..1\n    ok 1 - in\n    1..1\nok 1 - out\n", [("out > in", "passed", None)]),
        ("1..1\n    # Subtest: out\n    ok 1 - in\n    1..1\nok 1 - out\n", [("out > in", "passed", None)]),
        (
            "1..2\nok 1 - out {\n    ok 1 - in\n    1..1\n}\nnot ok 2 - other {\n    1..1\n    not ok 1 - in\n}\n",
            [("out > in", "passed", None), ("other > in", "failed", None)],
        ),
        (
            "1..1\n    # Subtest: out\n        ok 1 - in\n    ok 1 - mid\nok 1 - out\n",
            [("out > mid > in", "passed", None)],
        ),
        ("1..2\nok 1 - parses {\nok 2 - b\n", [("parses {", "passed", None), ("b", "passed", None)]),
        # None of its tests explains why this one failed.
        (
            "1..1\n# Subtest: out\n    ok 1 - in\n    1..1\nnot ok 1 - out\n",
            [("out > in", "passed", None), ("out", "failed", None)],
        ),
        (
            "1..1\n# Subtest: out\n    1..2\n    ok 1 - in\nnot ok 1 - out\n",
            [("out > in", "passed", None), ("out > test 2", "error", _MISSING)],
        ),
    ],
)
def test_a_line_means_what_the_specification_says(text: str, cases: list[tuple[str, str, str | None]]) -> None:
    assert _cases(text.encode()) == cases


def test_the_yaml_below_a_test_is_its_message_and_may_name_its_place() -> None:
    report = read_tap(
        b"""TAP version 14
1..3
not ok 1 - first line
  ---
  message: 'not what it was'
  data:
    got: 1
  file: t/a.c
  line: 12
  duration_ms: 1.5
  ...
ok 2 - of node
  ---
  duration_ms: 3000
  location: '/srv/project/a.test.js:3:7'
  ...
ok 3 - of node-tap # time=25.5ms
"""
    )
    assert [tuple(case)[:6] for case in report.cases] == [
        (
            "first line",
            "failed",
            "t/a.c",
            12,
            1_500_000,
            "message: 'not what it was'\ndata:\n  got: 1\nfile: t/a.c\nline: 12\nduration_ms: 1.5",
        ),
        ("of node", "passed", "/srv/project/a.test.js", 3, 3_000_000_000, None),
        ("of node-tap", "passed", None, None, 25_500_000, None),
    ]


@pytest.mark.parametrize(
    ("text", "ran", "problems"),
    [
        ("", 0, ("there is no TAP in the report",)),
        ("Segmentation fault\n", 0, ("there is no TAP in the report",)),
        ("ok 1 - a\nok 2 - b\n", 2, ("there is no plan, the run may have ended early",)),
        ("ok - a\n1..1\nok - b\nok - c\n1..2\n", 3, ()),
        ("1..2\nok 1\nok 2\nok 3\n", 3, ("2 tests are planned, 3 ran",)),
        ("1..3\nok 1\nBail out!  disk full\n", 1, ("Bail out! disk full", "3 tests are planned, 1 ran")),
        ("ok 1\nBail out!\n", 1, ("Bail out!",)),
    ],
)
def test_a_run_that_did_not_keep_its_plan_is_reported(text: str, ran: int, problems: tuple[str, ...]) -> None:
    report = read_tap(text.encode())
    assert sum(case.outcome == "passed" for case in report.cases) == ran
    assert report.problems == problems


def test_a_plan_of_any_size_gives_few_tests() -> None:
    report = read_tap(b"1.." + b"9" * 1_000_000 + b"\nok 1\n")
    assert report.counts == {"passed": 1, "error": MISSING_MAX}


def test_what_databases_refuse_is_replaced() -> None:
    (case,) = read_tap(b"1..1\nnot ok 1 - a\0b\tc\xff\xed\xa0\x80\n# \x1bred \x1b[31mor\x1b[0m so\n").cases
    assert case.name == "a\ufffdb c\ufffd\ufffd\ufffd\ufffd"
    assert case.message == "\ufffdred or so"


def test_a_name_has_no_more_parts_than_there_are_levels() -> None:
    text = "".join(f"{'    ' * depth}# Subtest: s{depth}\n" for depth in range(100)) + "    " * 100 + "ok 1 - in\n"
    (case,) = read_tap(text.encode()).cases
    assert case.name.split(" > ") == [*(f"s{depth}" for depth in range(LEVELS_MAX)), "in"]


def test_lines_and_levels_of_any_size_are_read_in_no_time() -> None:
    blanks = b" " * 200_000
    text = b"1..1\n" + blanks + b"ok 1\nok 1 - " + b"x" * 500_000 + b"\n  ---\n  file:" + blanks + b"'a'b\n"
    text += b"".join(b" " * (4 * depth) + b"ok 1 - deep {\n" for depth in range(500))
    text += b"ok 1 " + b"# " * 200_000 + b"\nok " + blanks + b"# skip" + b"!" * 200_000 + b"\n"
    report = read_tap(text)
    assert report.cases
    assert all(len(case.name.encode()) <= NAME_BYTES_MAX for case in report.cases)


_PIECES = ["ok", "not ok", " 1", " - a", " # SKIP", " # TODO x", " {", "}", "1..2", "1..0", "    ", "  ---", "  ..."]
_PIECES += ["# Subtest: s", "# said", "Bail out!", "TAP version 14", "t/a.t .. ", "\n", "\n", "\n"]


@given(st.lists(st.sampled_from(_PIECES)).map("".join))
def test_any_lines_give_a_report_that_counts_every_test_once(text: str) -> None:
    report = read_tap(text.encode())
    assert report.total == len(report.cases)
    assert report.cases or report.problems


@given(st.binary(max_size=200))
def test_any_bytes_give_a_report_and_never_an_error(data: bytes) -> None:
    report = read_tap(b"1..1\nnot ok 1\n" + data)
    assert report.failed >= 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_nothing_of_a_plain_run_is_lost(tests: list[tuple[bool, bool]]) -> None:
    lines = [f"1..{len(tests)}"]
    for number, (good, skipped) in enumerate(tests, start=1):
        lines.append(f"{'' if good else 'not '}ok {number} - t{number}{' # SKIP' if skipped else ''}")
    assert _cases("\n".join(lines).encode()) == [
        (f"t{number}", "skipped" if skipped else "passed" if good else "failed", None)
        for number, (good, skipped) in enumerate(tests, start=1)
    ]
