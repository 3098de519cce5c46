# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read JUnit XML: what pytest, nose, Maven's Surefire, Gradle, GoogleTest, Jest or `subunit2junitxml` write.

There is no standard, so this takes what these have in common: `testcase` anywhere below `testsuite`, with `failure`,
`error` or `skipped` inside. An expected failure of pytest (xfail) is written as skipped and stays so. A document type
is refused as a whole, for no writer needs one and its entities are how a small file becomes a large one.
"""

from __future__ import annotations

import re
from xml.parsers import expat

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

#: Read in pieces, so that a break in the middle leaves what came before.
PIECE_BYTES = 64 * 1024
#: The parser keeps all open elements, and reports have a handful.
DEPTH_MAX = 100

#: Where the XML begins in a log that has other lines before it.
_BEGIN = re.compile(rb"<\?xml|<testsuite|<!DOCTYPE")
_ROOTS = frozenset({"testsuites", "testsuite"})
_OUTCOMES = {"failure": FAILED, "error": ERROR, "skipped": SKIPPED}
#: GoogleTest marks what it did not run so, without an element.
_NOT_RUN = {"status": frozenset({"notrun", "skipped", "disabled"}), "result": frozenset({"suppressed", "skipped"})}
#: Counts lines from 0, while everybody else begins with 1.
_PYTEST = "pytest"


def read_junit(data: bytes, builder: ReportBuilder | None = None) -> Report:
    """Give the cases of a JUnit XML file; of a broken one those that were complete before the break.

    With a builder, they are added to what it has.
    """
    builder = builder or ReportBuilder()
    _Reader(builder).read(data)
    return builder.report()


class _RefusedError(Exception):
    """The file is not of a kind that is read; the text says why."""


class _Reader:
    def __init__(self, builder: ReportBuilder) -> None:
        self._builder = builder
        self._depth = 0
        self._lines_from_zero = False
        self._case: dict[str, str] | None = None
        self._outcome = PASSED
        self._messages: list[str] = []
        #: The text inside of `failure` and its like, which element it is in and what is left of the room of the case.
        self._text: list[str] | None = None
        self._text_depth = 0
        self._room = 0

    def read(self, data: bytes) -> None:
        if not data.strip():
            self._builder.note("the report is empty")
            return
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            match = _BEGIN.search(data)
            for begin in range(match.start() if match else 0, len(data), PIECE_BYTES):
                parser.Parse(data[begin : begin + PIECE_BYTES], False)
            parser.Parse(b"", True)
        except _RefusedError as error:
            self._builder.note(str(error))
        except expat.ExpatError as error:
            self._builder.note(f"the XML breaks off in line {error.lineno}: {expat.ErrorString(error.code)}")
        except (LookupError, ValueError) as error:
            # An encoding that Python does not know, or that has more than one byte for a character.
            self._builder.note(f"the XML cannot be decoded: {error}")

    def _doctype(self, *_: object) -> None:
        raise _RefusedError("the XML has a document type, which is not accepted")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if not self._depth and name not in _ROOTS:
            raise _RefusedError(f"this is no JUnit XML, for it begins with <{tag}>")
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _RefusedError(f"the XML has more than {DEPTH_MAX} levels, which is not accepted")
        if name == "testsuite":
            self._lines_from_zero = attributes.get("name") == _PYTEST
        elif name == "testcase":
            self._case, self._outcome, self._messages, self._room = attributes, PASSED, [], MESSAGE_BYTES_MAX
        elif name in _OUTCOMES and self._case is not None and self._text is None:
            self._begin_outcome(_OUTCOMES[name], attributes)

    def _begin_outcome(self, outcome: str, attributes: dict[str, str]) -> None:
        # The first counts, but a test that was skipped after it failed has failed.
        if self._outcome in (PASSED, SKIPPED):
            self._outcome = outcome
        if self._room > 0:
            self._text, self._text_depth = [attributes.get("message", "")], self._depth

    def _characters(self, text: str) -> None:
        if self._text is not None and self._room > 0:
            self._text.append(text)
            self._room -= len(text)

    def _end(self, tag: str) -> None:
        if self._text is not None and self._depth == self._text_depth:
            self._messages.append(_message(self._text[0], "".join(self._text[1:])))
            self._room -= len(self._text[0]) + 1
            self._text = None
        self._depth -= 1
        if tag.rpartition(":")[2] == "testcase" and self._case is not None:
            self._add(self._case)
            self._case = None

    def _add(self, case: dict[str, str]) -> None:
        outcome = self._outcome
        if outcome == PASSED and any(case.get(name, "").lower() in words for name, words in _NOT_RUN.items()):
            outcome = SKIPPED
        line = line_number(case.get("line", ""))
        if line is not None and self._lines_from_zero:
            line += 1
        self._builder.add(
            ".".join(part for part in (case.get("classname"), case.get("name")) if part),
            outcome,
            code_path=case.get("file"),
            line=line,
            duration_ns=duration_ns(case.get("time", "")),
            message="\n".join(filter(None, self._messages)),
        )


def _message(short: str, text: str) -> str:
    """Give the text of a failure with the short one before it, unless it says that already."""
    short, text = short.strip(), text.strip()
    first_line = short.partition("\n")[0].strip()
    return text if first_line in text else f"{short}\n{text}".strip()
