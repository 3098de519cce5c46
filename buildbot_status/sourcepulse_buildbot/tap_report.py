# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read TAP, the Test Anything Protocol, versions 12 to 14: what Perl's tests, `prove --verbose`, node or bats write.

A subtest is indented by four columns; its tests are told as `outer > inner`, and the test point that sums them up only
if none of them explains it. A test that is `not ok` and marked TODO fails as expected and is told as skipped. Tests of
the plan that did not run are errors. Lines that are no TAP are passed over, so several outputs may follow each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sourcepulse_buildbot.test_case import (
    ERROR,
    FAILED,
    MESSAGE_BYTES_MAX,
    PASSED,
    SKIPPED,
    Report,
    ReportBuilder,
    duration_ns,
    line_number,
)

#: Deeper ones count as the deepest.
LEVELS_MAX = 30
#: How many tests that did not run are told one by one; a plan may name any number.
MISSING_MAX = 100

_INDENT = 4
_POINT = re.compile(r"(?P<bad>not )?ok\b(?:[ \t]+(?P<number>[0-9]+)\b)?(?P<rest>.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"(?:^|\s)#\s*(?P<word>skip\S*|todo)\b:?\s*(?P<reason>.*)$", re.IGNORECASE | re.DOTALL)
_PLAN = re.compile(r"1\.\.(?P<number>[0-9]+)\s*(?:#\s*skip\S*\s*(?P<reason>.*))?$", re.IGNORECASE)
_VERSION = re.compile(r"TAP version [0-9]+\s*$", re.IGNORECASE)
_BAIL_OUT = re.compile(r"Bail out!\s*(?P<reason>.*)$", re.IGNORECASE)
_SUBTEST = re.compile(r"#\s*Subtest(?::\s*(?P<name>.*))?$")
#: What `prove` writes before the TAP of a file, with its verdict where there is none. The blank at the end is its own.
_PROVE_FILE = re.compile(r"(?P<path>\S+) \.\.+ (?:skipped: (?P<reason>.*))?$")
_ESCAPED = re.compile(r"\\([\\#])")
#: How node-tap tells how long a test took; node itself has `duration_ms` in the YAML.
_TIME = re.compile(r"\s#\s*time=(?P<value>[0-9.]+)(?P<unit>ms|s)$")
#: What is understood of a block of YAML, the rest is only text.
_YAML_KEYS = frozenset({"duration_ms", "file", "line", "location"})
_ALL_SKIPPED = "all tests"


def read_tap(data: bytes, builder: ReportBuilder | None = None) -> Report:
    """Give the tests of one TAP output or of several ones after each other.

    With a builder, they are added to what it has. What is wrong with the output is among its problems: no plan, which
    tells that it may have ended early, a plan that is not kept, Bail out!.
    """
    builder = builder or ReportBuilder()
    _Reader(builder).read(data)
    return builder.report()


class _Level:
    """One stream of TAP: the outermost one or a subtest."""

    def __init__(self, name: str = "", block: tuple[str, str] | None = None) -> None:
        self.name = name
        #: Description and outcome of the test point that summed a subtest in braces up before it came.
        self.block = block
        self.planned: int | None = None
        self.plan_came_last = False
        self.seen = 0
        #: What the subtest below had, for the test point that sums it up.
        self.below_seen = False
        self.below_failed = False

    def is_complete(self) -> bool:
        return self.planned is not None and self.seen >= self.planned


class _Point:
    """A test of which more may follow: a block of YAML or, if it failed, comments."""

    def __init__(self, name: str, outcome: str, indent: int, *, reason: str, duration_ns: int | None) -> None:
        self.name = name
        self.outcome = outcome
        self.indent = indent
        self.duration_ns = duration_ns
        self.yaml_indent: int | None = None
        self.values: dict[str, str] = {}
        self._lines = [reason] if reason else []
        self._room = MESSAGE_BYTES_MAX

    def say(self, line: str) -> None:
        if self._room > 0:
            self._lines.append(line)
            self._room -= len(line) + 1

    def message(self) -> str:
        return "\n".join(self._lines)


class _Reader:
    def __init__(self, builder: ReportBuilder) -> None:
        self._builder = builder
        self._levels = [_Level()]
        self._point: _Point | None = None
        self._path: str | None = None
        self._any_tap = False
        #: Something of the outermost stream was seen.
        self._is_begun = False
        #: The name of the subtest that is announced, for when it comes.
        self._announced = ""
        self._bailed_out = False

    def read(self, data: bytes) -> None:
        for line in _lines(data):
            self._line(line)
        self._end_stream()
        if not self._any_tap:
            self._builder.note("there is no TAP in the report")

    def _line(self, line: str) -> None:
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        text = text.rstrip()
        if self._point is not None and self._belongs_to(self._point, text, indent):
            return
        self._end_point()
        if indent % _INDENT or not text:
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
            self._builder.note(f"Bail out! {match['reason']}".strip())
        elif not depth and _VERSION.match(text):
            self._end_stream()
            self._any_tap = self._is_begun = True
        elif text == "}":
            self._close_below(depth)
        elif match := _PROVE_FILE.match(line):
            self._begin_file(match["path"], match["reason"])

    def _belongs_to(self, point: _Point, text: str, indent: int) -> bool:
        """Tell whether a line is a part of the test before it, and take it."""
        if point.yaml_indent is not None:
            if text == "..." and indent <= point.yaml_indent:
                point.yaml_indent = None
            else:
                key, _, value = text.partition(":")
                if key in _YAML_KEYS:
                    point.values.setdefault(key, value.strip().strip("'\""))
                point.say(" " * min(indent - point.yaml_indent, LEVELS_MAX) + text)
            return True
        if text == "---" and indent > point.indent:
            point.yaml_indent = indent
            return True
        is_comment = text.startswith("#") and indent == point.indent and not _SUBTEST.match(text)
        if is_comment and point.outcome == FAILED:
            point.say(text[1:].strip())
        return is_comment

    def _begin_file(self, path: str, skipped: str | None) -> None:
        self._end_stream()
        self._path = path
        if skipped is not None:
            self._any_tap = True
            self._builder.add(path, SKIPPED, code_path=path, message=skipped)

    def _plan(self, depth: int, number: str, reason: str | None) -> None:
        if not depth and self._levels[0].planned is not None:
            self._end_stream()
        self._any_tap = self._is_begun = True
        level = self._level(depth)
        # A number of any length would take Python long to read.
        level.planned = int(number[:18])
        level.plan_came_last = level.seen > 0
        if not level.planned and not depth:
            self._builder.add(self._path or _ALL_SKIPPED, SKIPPED, code_path=self._path, message=reason)

    def _test(self, depth: int, indent: int, match: re.Match[str]) -> None:
        rest = match["rest"].strip()
        top = self._levels[0]
        if not depth and top.is_complete() and not rest and match["number"] is None:
            # The verdict of `prove` on the file.
            return
        if not depth and top.seen and (match["number"] == "1" or (top.is_complete() and top.plan_came_last)):
            self._end_stream()
        self._any_tap = self._is_begun = True
        level = self._level(depth)
        self._close_below(depth)
        level.seen += 1
        if depth and match["bad"]:
            self._levels[depth - 1].below_failed = True
        self._point = self._read_point(level, depth, indent, match, rest)
        level.below_seen = level.below_failed = False
        if depth:
            self._levels[depth - 1].below_seen = True

    def _read_point(self, level: _Level, depth: int, indent: int, match: re.Match[str], rest: str) -> _Point | None:
        """Give the test of a test point, None if it only sums up a subtest."""
        directive = _DIRECTIVE.search(rest)
        took = None if directive else _TIME.search(rest)
        cut = directive or took
        description = _ESCAPED.sub(r"\1", rest[: cut.start()] if cut else rest).strip()
        description = "" if description == "-" else description.removeprefix("- ").lstrip()
        outcome = _outcome(bool(match["bad"]), directive["word"].lower() if directive else "")
        announced, self._announced = self._announced, ""
        if level.below_seen and (outcome != FAILED or level.below_failed):
            return None
        if description.endswith("{") and not directive and not level.below_seen:
            self._levels.append(_Level(description[:-1].rstrip(), (description, outcome)))
            return None
        return _Point(
            self._full_name(depth, description or announced or f"test {match['number'] or level.seen}"),
            outcome,
            indent,
            reason=directive["reason"] if directive else "",
            duration_ns=_seconds(took["value"], took["unit"]) if took else None,
        )

    def _announce(self, depth: int, name: str) -> None:
        """Take the name of a subtest, which stands before it in its own column or in that of the level above."""
        if depth and len(self._levels) <= depth:
            is_own_column = not self._announced
            self._announced = self._announced or name
            self._level(depth)
            if is_own_column:
                return
        self._announced = name

    def _level(self, depth: int) -> _Level:
        """Give the level of this depth; a deeper one than before begins a subtest."""
        while len(self._levels) <= depth:
            self._levels.append(_Level(self._announced))
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

    def _end_block(self, above: _Level, description: str, outcome: str) -> None:
        """Tell what a subtest in braces came to, unless its tests explain it."""
        if not above.below_seen or (outcome == FAILED and not above.below_failed):
            self._builder.add(self._full_name(len(self._levels) - 1, description), outcome, code_path=self._path)
        above.below_seen = above.below_failed = False
        self._announced = ""

    def _full_name(self, depth: int, name: str) -> str:
        return " > ".join([level.name for level in self._levels[1 : depth + 1] if level.name] + [name])

    def _end_point(self) -> None:
        point, self._point = self._point, None
        if point is None:
            return
        path, line = point.values.get("file"), point.values.get("line", "")
        if path is None and "location" in point.values:
            path, line, *_ = *point.values["location"].rsplit(":", 2), ""
        self._builder.add(
            point.name,
            point.outcome,
            code_path=path or self._path,
            line=line_number(line),
            duration_ns=point.duration_ns or _seconds(point.values.get("duration_ms", ""), "ms"),
            message=None if point.outcome == PASSED else point.message(),
        )

    def _end_stream(self) -> None:
        self._end_point()
        self._close_below(0)
        top = self._levels[0]
        if top.planned is None and self._is_begun and not self._bailed_out:
            self._builder.note(f"{self._where()}there is no plan, the run may have ended early")
        self._check_plan(top, 0)
        self._levels, self._announced, self._bailed_out, self._path = [_Level()], "", False, None
        self._is_begun = False

    def _check_plan(self, level: _Level, depth: int) -> bool:
        """Tell whether tests of the plan are missing, and enter them."""
        if level.planned is None or level.planned == level.seen:
            return False
        where = self._where() + (f"{level.name}: " if level.name else "")
        self._builder.note(f"{where}{level.planned} tests are planned, {level.seen} ran")
        for number in range(level.seen + 1, min(level.planned, level.seen + MISSING_MAX) + 1):
            name = self._full_name(depth - 1, level.name) + " > " if depth and level.name else ""
            self._builder.add(
                f"{name}test {number}", ERROR, code_path=self._path, message="This test is planned, but it did not run."
            )
        return level.planned > level.seen

    def _where(self) -> str:
        return f"{self._path}: " if self._path else ""


def _outcome(is_bad: bool, directive: str) -> str:
    if directive.startswith("skip"):
        return SKIPPED
    if directive == "todo":
        return SKIPPED if is_bad else PASSED
    return FAILED if is_bad else PASSED


def _seconds(value: str, unit: str) -> int | None:
    nanoseconds = duration_ns(value)
    return nanoseconds // 1000 if nanoseconds is not None and unit == "ms" else nanoseconds


def _lines(data: bytes) -> Iterator[str]:
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        yield data[begin:end].decode("utf-8", "replace").rstrip("\r")
        begin = end + 1
