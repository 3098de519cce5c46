# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read JUnit XML as pytest, Maven's Surefire, Gradle, GoogleTest, ctest, Jest, node, bats and PHPUnit write it.

There is no standard, so this reads what these have in common: `testcase` anywhere below `testsuite`, with `failure`,
`error` or `skipped` inside. What XML forbids is replaced, several documents may follow each other, and after a syntax
error the reading resumes at the next suite or case. A document type is accepted unless it has definitions, because
no writer needs these and they can make a small file expand into a huge one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.parsers import expat

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED, Report, ReportBuilder
from sourcepulse_buildbot.test_reports.junit.case import Case
from sourcepulse_buildbot.test_reports.junit.counts import Suite
from sourcepulse_buildbot.test_reports.junit.names import case_name
from sourcepulse_buildbot.test_reports.numbers import duration_ns, whole_number
from sourcepulse_buildbot.test_reports.text import decode_xml, fit_for_xml

#: The report is parsed in pieces, so that cases before a syntax error are kept.
PIECE_BYTES = 64 * 1024
#: The parser keeps all open elements; real reports have a handful.
DEPTH_MAX = 100
#: After this many syntax errors, the rest is not a report.
BREAKS_MAX = 200

#: Where the XML begins in a log that has other lines before it.
_BEGIN = re.compile(rb"<\?xml|<(?:[\w.-]+:)?testsuite|<!DOCTYPE")
_NEXT_DOCUMENT = re.compile(rb"<\?xml|<(?:[\w.-]+:)?testsuites[\s>/]")
#: Where the reading resumes after a syntax error.
_RESUME = re.compile(rb"</?(?:[\w.-]+:)?testsuites?[\s>/]|<(?:[\w.-]+:)?testcase[\s>/]|<\?xml")
_SUITE, _SUITES, _CASE = "testsuite", "testsuites", "testcase"
_ROOTS = frozenset({_SUITES, _SUITE})
#: The children that writers put into a suite; `failure` and the like are then about the suite itself.
_OF_SUITE = frozenset({_SUITE, _CASE, "properties", "property", "system-out", "system-err"})
_OF_A_SUITE_ITSELF = frozenset({"failure", "error", "skipped"})
_NODE_COUNT = re.compile(r"\s*(?:fail|cancelled) (?P<number>[0-9]{1,9})\s*")
#: pytest counts lines from 0, all other writers from 1.
_PYTEST, _PYTEST_ROOT = "pytest", "pytest tests"


def read_junit(data: bytes, builder: ReportBuilder | None = None) -> Report:
    """Return the cases of JUnit XML; if it is broken, those that can still be read.

    With a builder, they are added to its report.
    """
    builder = builder or ReportBuilder()
    _Reader(builder).read(data)
    return builder.report()


class _RefusedError(Exception):
    """The document is refused; the text says why."""


class _ForeignError(Exception):
    """The document is XML, but not JUnit XML."""


class _DocumentEnd(Exception):  # noqa: N818 - it is not an error
    """The root element is closed."""


class _Reader:
    def __init__(self, builder: ReportBuilder) -> None:
        self._builder = builder
        self._breaks = 0
        self._any_document = False
        self._begin_document()

    def read(self, data: bytes) -> None:
        if not data.strip(b"\0 \t\r\n"):
            self._builder.problem("the report is empty")
            return
        decoded = decode_xml(data)
        fit = fit_for_xml(decoded.text)
        for note in (*decoded.notes, *fit.notes):
            self._builder.note(note)
        raw = fit.text.encode("utf-8", "replace")
        match = _BEGIN.search(raw)
        position = match.start() if match else None
        foreign: list[str] = []
        while position is not None:
            self._begin_document()
            position = self._document(raw, position, foreign)
        if not self._any_document:
            for sentence in foreign or ["there is no JUnit XML in the report"]:
                self._builder.problem(sentence)
        else:
            for sentence in foreign:
                self._builder.note(sentence)

    def _begin_document(self) -> None:
        #: Tags of the open elements that are suites, as they are written; `_suites` has the facts of each.
        self._open_tags: list[str] = []
        self._suites: list[Suite] = []
        self._depth = 0
        self._is_replaying = False
        self._is_pytest = False
        self._case: Case | None = None
        self._case_depth = 0
        #: The enclosing cases with their depths, the outermost first.
        self._outer: list[tuple[Case, int]] = []
        #: Whether the open case is a failure directly in a suite, which is read like a case.
        self._is_of_suite = False
        #: The failures that node counts in comments at the end, and those that were read.
        self._failures_of_node = self._failed = 0
        #: A case of pytest with nothing to report, which may be an earlier attempt of the next one.
        self._pending: Case | None = None

    def _document(self, raw: bytes, begin: int, foreign: list[str]) -> int | None:
        """Read one document and return where the next one begins."""
        while True:
            parser, offset = self._parser(), 0
            try:
                offset = self._replay(parser)
                for piece in range(begin, len(raw), PIECE_BYTES):
                    parser.Parse(raw[piece : piece + PIECE_BYTES], False)
                parser.Parse(b"", True)
            except _DocumentEnd:
                self._end_document()
                return _next(_BEGIN, raw, begin + parser.CurrentByteIndex - offset + 1)
            except _RefusedError as error:
                self._builder.problem(str(error))
                self._any_document = True
                self._end_document()
                return _next(re.compile(rb"<\?xml"), raw, begin + parser.CurrentByteIndex - offset + 1)
            except _ForeignError as error:
                foreign.append(str(error))
                return _next(_NEXT_DOCUMENT, raw, begin + parser.CurrentByteIndex - offset + 1)
            except expat.ExpatError as error:
                at = min(max(begin + parser.ErrorByteIndex - offset, begin), len(raw))
                line = raw.count(b"\n", 0, at) + 1
                self._builder.problem(f"the XML breaks off in line {line}: {expat.ErrorString(error.code)}")
                self._any_document = True
                self._break_case()
                following = _next(_RESUME, raw, max(at, begin + 1))
                self._breaks += 1
                if following is None or self._breaks > BREAKS_MAX or not self._open_tags:
                    self._end_document()
                    return None if self._breaks > BREAKS_MAX else following
                if raw.startswith(b"<?xml", following):
                    self._end_document()
                    return following
                begin = following
            else:
                self._end_document()
                return None

    def _parser(self) -> expat.XMLParserType:
        # Everything is UTF-8 by now, whatever the declaration says.
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.CommentHandler = self._comment
        return parser

    def _replay(self, parser: expat.XMLParserType) -> int:
        """Reopen the elements that were open before a syntax error; return how many bytes that took."""
        opened = "".join(f"<{tag}>" for tag in self._open_tags).encode()
        self._depth = 0
        self._is_replaying = True
        parser.Parse(opened, False)
        self._is_replaying = False
        return len(opened)

    def _doctype(self, _name: str, _system: str | None, _public: str | None, has_internal_subset: int) -> None:
        if has_internal_subset:
            raise _RefusedError("the XML has a document type with definitions of its own, which is not accepted")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._is_replaying:
            return
        name = tag.rpartition(":")[2]
        if self._depth == 1:
            if name not in _ROOTS:
                raise _ForeignError(f"this is not JUnit XML, it begins with <{name}>")
            self._any_document = True
        if self._depth > DEPTH_MAX:
            raise _RefusedError(f"the XML has more than {DEPTH_MAX} levels, which is not accepted")
        if self._case is not None and name == _CASE and not self._is_of_suite and not self._case.is_in_text:
            self._case.has_cases = True
            self._outer.append((self._case, self._case_depth))
            self._case, self._case_depth = Case(attributes), self._depth
        elif self._case is not None:
            unknown = self._case.start(name, attributes, self._depth - self._case_depth)
            if unknown:
                self._builder.note(f"<{name}> in a test case is not known and left out")
        elif name in _ROOTS:
            self._open_suite(tag, name, attributes)
        elif name == _CASE:
            self._case, self._case_depth, self._is_of_suite = Case(attributes), self._depth, False
        elif name in _OF_A_SUITE_ITSELF and self._is_in_suite():
            self._case = Case({"name": self._suites[-1].name if self._suites else ""})
            self._case_depth, self._is_of_suite = self._depth - 1, True
            self._case.start(name, attributes, 1)
        elif self._is_in_suite() and name not in _OF_SUITE:
            self._builder.note(f"<{name}> in a suite is not known and left out")

    def _is_in_suite(self) -> bool:
        return self._depth == len(self._open_tags) + 1

    def _open_suite(self, tag: str, name: str, attributes: dict[str, str]) -> None:
        if name == _SUITES:
            self._is_pytest = self._is_pytest or attributes.get("name") == _PYTEST_ROOT
        if self._suites and name == _SUITE:
            self._suites[-1].direct_suites += 1
        is_pytest = self._is_pytest or attributes.get("name") == _PYTEST
        self._suites.append(Suite(attributes, is_pytest=is_pytest, is_whole=name == _SUITES))
        self._open_tags.append(tag)

    def _characters(self, text: str) -> None:
        if self._case is not None and not self._is_replaying:
            self._case.characters(text)

    def _comment(self, text: str) -> None:
        match = _NODE_COUNT.fullmatch(text)
        if match and self._depth == 1 and self._suites:
            self._failures_of_node += int(match["number"])

    def _end(self, tag: str) -> None:
        depth, self._depth = self._depth, self._depth - 1
        if self._case is not None:
            self._case.end(depth - self._case_depth)
            if depth == self._case_depth + self._is_of_suite:
                self._finish(self._close_case(self._case))
        elif tag.rpartition(":")[2] in _ROOTS and depth == len(self._open_tags):
            self._close_suite()
            if not self._open_tags:
                raise _DocumentEnd

    def _close_suite(self) -> None:
        self._flush()
        suite = self._suites.pop()
        self._open_tags.pop()
        if not self._suites and self._failures_of_node > self._failed:
            # The failure of a test with subtests is nowhere else in the report of node.
            self._builder.problem(f"{self._failures_of_node} failures are counted, {self._failed} are there")
        if defect := suite.defect():
            self._builder.problem(defect)

    def _close_case(self, case: Case) -> Case:
        """Close the innermost case and return it; the enclosing one becomes the open case."""
        self._case, self._case_depth = self._outer.pop() if self._outer else (None, 0)
        return case

    def _break_case(self) -> None:
        """Finish the cases that a syntax error interrupted; those without an outcome are left out."""
        while self._case is not None:
            case = self._close_case(self._case)
            if case.outcome != PASSED:
                self._finish(case)

    def _end_document(self) -> None:
        self._flush()
        while self._open_tags:
            self._close_suite()

    def _finish(self, case: Case) -> None:
        if self._is_of_suite:
            self._flush()
            for suite in self._suites:
                if case.outcome != SKIPPED:
                    suite.add_failure()
            self._add(case)
            return
        case.end_case()
        if case.is_holder:
            for suite in self._suites:
                suite.add_holder(is_direct=suite is self._suites[-1] and self._case is None)
            return
        for suite in self._suites:
            suite.add_case(
                case.attributes,
                is_direct=suite is self._suites[-1] and self._case is None,
                is_skipped=case.outcome == SKIPPED,
                failing_elements=case.failing_elements,
            )
        if self._case is not None or not (self._suites and self._suites[-1].is_pytest):
            self._add(case)
            return
        before, self._pending = self._pending, None
        if before is not None and before.is_same(case):
            # pytest runs each test once, so the previous case was an attempt that pytest-rerunfailures repeated.
            case.attempts += before.attempts
        elif before is not None:
            self._add(before)
        if case.outcome == PASSED and not case.failing_elements:
            self._pending = case
        else:
            self._add(case)

    def _flush(self) -> None:
        before, self._pending = self._pending, None
        if before is not None:
            self._add(before)

    def _add(self, case: Case) -> None:
        attributes = case.attributes
        self._failed += case.outcome in (FAILED, ERROR)
        line = whole_number(attributes.get("line"))
        if line is not None and self._suites and self._suites[-1].is_pytest:
            line += 1
        # The root is not a suite of tests, and a failure of a suite is named after the suite.
        around = [suite.attributes for suite in self._suites if not suite.is_whole]
        self._builder.add(
            attributes["name"] if self._is_of_suite else case_name(attributes, around, self._cases_around()),
            case.outcome,
            code_path=attributes.get("file"),
            line=line,
            duration_ns=duration_ns(attributes.get("time", "")),
            message=case.message(),
            attempts=case.attempts,
        )

    def _cases_around(self) -> list[Mapping[str, str]]:
        cases = [case for case, _ in self._outer] + ([self._case] if self._case is not None else [])
        return [case.attributes for case in cases]


def _next(pattern: re.Pattern[bytes], raw: bytes, begin: int) -> int | None:
    match = pattern.search(raw, begin)
    return match.start() if match else None
