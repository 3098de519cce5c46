# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read TAP, the Test Anything Protocol, versions 12 to 14, as Perl's tests, `prove --verbose`, node or bats write it.

A subtest is indented by four columns; its tests are reported as `outer > inner`, and the test point that sums them up
only if none of them explains it. A test that is `not ok` and marked TODO fails as expected and is reported as skipped.
Tests of the plan that did not run are errors. Other lines are skipped, so several outputs may follow each other, and so
are the timestamps that build servers add. The verdicts of `prove` on a file and on all files count as well.
"""

from __future__ import annotations

import re

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED, Report, ReportBuilder
from sourcepulse_buildbot.test_reports.numbers import duration_ns
from sourcepulse_buildbot.test_reports.tap.level import Level, counted_failures
from sourcepulse_buildbot.test_reports.tap.line_stamps import find_stamps, lines_of
from sourcepulse_buildbot.test_reports.tap.names import Named, without_times
from sourcepulse_buildbot.test_reports.tap.point import Point
from sourcepulse_buildbot.test_reports.tap.prove_verdicts import Prove
from sourcepulse_buildbot.test_reports.text import decode_text

#: Deeper levels count as the deepest.
LEVELS_MAX = 30
#: At most this many tests that did not run are reported one by one; a plan may name any number.
MISSING_MAX = 100
#: Python would need long to convert a number of unlimited length.
PLAN_MAX_DIGITS = 18

_INDENT = 4
_POINT = re.compile(r"(?P<bad>not )?ok(?=\s|$|#)(?:[ \t]+(?P<number>[0-9]+)\b)?(?P<rest>.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"(?:^|\s)#\s*(?P<word>skip\S*|todo)\b:?\s*(?P<reason>.*)$", re.IGNORECASE | re.DOTALL)
_PLAN = re.compile(r"1\.\.(?P<number>[0-9]+)\s*(?:#\s*skip\S*\s*(?P<reason>.*))?$", re.IGNORECASE)
_VERSION = re.compile(r"TAP version [0-9]+\s*$", re.IGNORECASE)
_BAIL_OUT = re.compile(r"Bail out!\s*(?P<reason>.*)$", re.IGNORECASE)
_SUBTEST = re.compile(r"#\s*Subtest(?::\s*(?P<name>.*))?$")
_ESCAPED = re.compile(r"\\([\\#])")
#: Colour codes, which are removed before a line is read.
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
#: node-tap writes a test's duration like this; node itself has `duration_ms` in the YAML.
_TIME = re.compile(r"\s#\s*time=(?P<value>[0-9.]+)(?P<unit>ms|s)$")
_ALL_SKIPPED = "all tests"
_PLAN_LEFT_OUT = "the plan behind a timestamp is not kept; its lines are taken for the log of a program and not read"


def read_tap(data: bytes, builder: ReportBuilder | None = None) -> Report:
    """Return the tests of one TAP output or of several in sequence.

    With a builder, they are added to its report. Defects of the output become problems of the report: no plan (it may
    have ended early), a plan that is not kept, Bail out!.
    """
    builder = builder or ReportBuilder()
    _Reader(builder).read(data)
    return builder.report()


class _Reader:
    def __init__(self, builder: ReportBuilder) -> None:
        self._builder = builder
        self._levels = [Level()]
        self._point: Point | None = None
        self._path: str | None = None
        self._any_tap = False
        #: The tests of the stream being read, whose names are cleaned together.
        self._cases: list[Named] = []
        self._prove = Prove(builder)
        #: Whether tests have numbers in this report, so that a line that only begins with "ok" is not one.
        self._has_numbers = False
        #: Whether anything of the outermost stream was seen.
        self._is_begun = False
        #: The announced name of the subtest that is expected next.
        self._announced = ""
        self._bailed_out = False
        #: The number of `not ok` test points in the whole report, and the highest count of failures in a comment.
        self._bad = self._counted = 0

    def read(self, data: bytes) -> None:
        decoded = decode_text(data)
        for note in decoded.notes:
            self._builder.note(note)
        text = _COLOUR.sub("", decoded.text)
        blanks, is_plan_left_out = find_stamps(lines_of(text), _is_tap, _planned, _is_numbered)
        if is_plan_left_out:
            self._builder.note(_PLAN_LEFT_OUT)
        self._has_numbers = any(_is_numbered(line) for line in lines_of(text, blanks))
        for line in lines_of(text, blanks):
            self._line(line)
        self._end_stream()
        self._prove.end()
        if self._counted and not self._bad:
            self._builder.problem(f"{self._counted} failures are counted, none is there")
        if not self._any_tap:
            self._builder.problem("there is no TAP in the report")

    def _line(self, line: str) -> None:
        if failures := counted_failures(line):
            self._counted = max(self._counted, failures)
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        text = text.rstrip()
        is_comment = text.startswith("#") and not _SUBTEST.match(text)
        if self._point is not None and self._point.add_line(text, indent, is_comment=is_comment):
            return
        self._end_point()
        if indent % _INDENT or not text:
            return
        if not indent and self._of_prove(line):
            return
        depth = min(indent // _INDENT, LEVELS_MAX)
        if match := _SUBTEST.match(text):
            self._announce(depth, match["name"] or "")
        elif match := _PLAN.match(text):
            self._plan(depth, match["number"], match["reason"])
        elif match := _POINT.match(text):
            self._test(depth, indent, match)
        elif match := _BAIL_OUT.match(text):
            self._any_tap = self._is_begun = self._bailed_out = True
            self._builder.problem(f"Bail out! {match['reason']}".strip())
        elif not depth and _VERSION.match(text):
            self._end_stream()
            self._any_tap = self._is_begun = True
        elif text == "}":
            self._close_below(depth)

    def _of_prove(self, line: str) -> bool:
        """Read a line of `prove`; return whether it is one."""
        if file := self._prove.file(line):
            self._end_stream()
            self._path = file.path
            self._any_tap = True
            self._prove.begin(file)
            return True
        is_done = not self._is_begun or self._levels[0].is_complete() or not self._has_numbers
        if self._prove.verdict(line, is_done=is_done):
            return True
        if self._prove.is_summary(line):
            self._end_stream()
            self._prove.summary(line)
            return True
        return False

    def _plan(self, depth: int, number: str, reason: str | None) -> None:
        if not depth and self._levels[0].planned is not None:
            self._end_stream()
        self._any_tap = self._is_begun = True
        level = self._level(depth)
        level.planned = int(number[:PLAN_MAX_DIGITS])
        level.plan_came_last = level.seen > 0
        if not level.planned and not depth:
            self._add(self._path or _ALL_SKIPPED, SKIPPED, message=reason)

    def _test(self, depth: int, indent: int, match: re.Match[str]) -> None:
        rest = match["rest"].strip()
        top = self._levels[0]
        if match["number"] is None and self._has_numbers and not self._accepts_unnumbered(depth):
            return
        if not depth and top.begins_again(match["number"]):
            self._end_stream()
        self._any_tap = self._is_begun = True
        level = self._level(depth)
        self._close_below(depth)
        level.add(match["number"], is_bad=bool(match["bad"]))
        self._bad += bool(match["bad"])
        if depth and match["bad"]:
            self._levels[depth - 1].below_failed = True
        self._point = self._read_point(level, depth, indent, match, rest)
        level.below_seen = level.below_failed = False
        if depth:
            self._levels[depth - 1].below_seen = True

    def _accepts_unnumbered(self, depth: int) -> bool:
        """Return whether a line without a number may be a test although others have numbers."""
        level = self._levels[depth] if depth < len(self._levels) else None
        if level is None:
            return depth > 0 and self._is_begun
        return level.planned is not None and not level.is_complete() and not level.numbered

    def _read_point(self, level: Level, depth: int, indent: int, match: re.Match[str], rest: str) -> Point | None:
        """Return the test of a test point; None if it only sums up a subtest."""
        directive = _DIRECTIVE.search(rest)
        took = None if directive else _TIME.search(rest)
        cut = directive or took
        description = _ESCAPED.sub(r"\1", rest[: cut.start()] if cut else rest).strip()
        description = "" if description == "-" else description.removeprefix("- ").lstrip()
        outcome = _outcome(bool(match["bad"]), directive["word"].lower() if directive else "")
        announced, self._announced = self._announced, ""
        if level.below_seen and level.unnamed_below is not None and description:
            self._name_below(depth, level.unnamed_below, description)
        level.unnamed_below = None
        if level.below_seen and (outcome != FAILED or level.below_failed):
            return None
        if description.endswith("{") and not directive and not level.below_seen:
            self._levels.append(Level(description[:-1].rstrip(), (description, outcome)))
            return None
        return Point(
            self._full_name(depth, description or announced or f"test {match['number'] or level.seen}"),
            outcome,
            indent,
            reason=directive["reason"] if directive else "",
            duration_ns=duration_ns(took["value"], took["unit"]) if took else None,
        )

    def _name_below(self, depth: int, begin: int, name: str) -> None:
        """Put the name of a subtest, which came after its tests, into their names."""
        above = self._full_name(depth, "")
        for position in range(begin, len(self._cases)):
            case = self._cases[position]
            self._cases[position] = case._replace(name=f"{above}{name} > {case.name.removeprefix(above)}")

    def _announce(self, depth: int, name: str) -> None:
        """Remember the announced name of a subtest; the line is in its own column or in that of the level above."""
        if depth and len(self._levels) <= depth:
            is_own_column = not self._announced
            self._announced = self._announced or name
            self._level(depth)
            if is_own_column:
                return
        self._announced = name

    def _level(self, depth: int) -> Level:
        """Return the level of this depth; a deeper one than before begins a subtest."""
        while len(self._levels) <= depth:
            self._levels[-1].unnamed_below = None if self._announced else len(self._cases)
            self._levels.append(Level(self._announced))
            self._announced = ""
        return self._levels[depth]

    def _close_below(self, depth: int) -> None:
        while len(self._levels) > depth + 1:
            below = self._levels.pop()
            above = self._levels[-1]
            self._announced = below.name
            above.below_seen = above.below_seen or below.seen > 0
            has_missing = self._check_plan(below, len(self._levels))
            above.below_failed = above.below_failed or has_missing
            if below.block is not None:
                self._end_block(above, *below.block)

    def _end_block(self, above: Level, description: str, outcome: str) -> None:
        """Add the outcome of a subtest in braces, unless its tests explain it."""
        if not above.below_seen or (outcome == FAILED and not above.below_failed):
            self._add(self._full_name(len(self._levels) - 1, description), outcome)
        above.below_seen = above.below_failed = False
        self._announced = ""

    def _full_name(self, depth: int, name: str) -> str:
        return " > ".join([level.name for level in self._levels[1 : depth + 1] if level.name] + [name])

    def _end_point(self) -> None:
        point, self._point = self._point, None
        if point is not None:
            self._add_named(point.named(self._path))

    def _add(self, name: str, outcome: str, message: str | None = None) -> None:
        self._add_named(Named(name, outcome, self._path, None, None, message))

    def _add_named(self, case: Named) -> None:
        self._cases.append(case)
        self._prove.add(case.outcome)

    def _end_stream(self) -> None:
        self._end_point()
        self._close_below(0)
        top = self._levels[0]
        if top.planned is None and self._is_begun and not self._bailed_out:
            self._builder.problem(f"{self._where()}there is no plan, the run may have ended early")
        self._check_plan(top, 0)
        cases, self._cases = self._cases, []
        for case in without_times(cases):
            self._builder.add(**case._asdict())
        self._prove.end_file(top.seen)
        self._levels, self._announced, self._bailed_out, self._path = [Level()], "", False, None
        self._is_begun = False

    def _check_plan(self, level: Level, depth: int) -> bool:
        """Add the tests of the plan that are missing; return whether there are any."""
        defect = level.defect()
        if defect is None:
            return False
        where = self._where() + (f"{level.name}: " if level.name else "")
        self._builder.problem(f"{where}{defect}")
        if level.planned is None:
            return False
        for number in range(level.seen + 1, min(level.planned, level.seen + MISSING_MAX) + 1):
            name = self._full_name(depth - 1, level.name) + " > " if depth and level.name else ""
            self._add(f"{name}test {number}", ERROR, message="This test is planned, but it did not run.")
        return level.planned > level.seen

    def _where(self) -> str:
        return f"{self._path}: " if self._path else ""


def _outcome(is_bad: bool, directive: str) -> str:
    if directive.startswith("skip"):
        return SKIPPED
    if directive == "todo":
        return SKIPPED if is_bad else PASSED
    return FAILED if is_bad else PASSED


def _is_numbered(line: str) -> bool:
    match = _POINT.match(line)
    return match is not None and match["number"] is not None and not Prove.is_verdict(line)


def _planned(line: str) -> int:
    match = _PLAN.match(line)
    return int(match["number"][:PLAN_MAX_DIGITS]) if match else 0


def _is_tap(line: str) -> bool:
    return bool(_PLAN.match(line)) or bool(_VERSION.match(line)) or _is_numbered(line) or Prove.is_summary(line)
