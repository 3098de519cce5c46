# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read version 1 of subunit: lines such as `test: NAME` and `failure: NAME [`, with details up to `]`."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import NamedTuple

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED, ReportBuilder
from sourcepulse_buildbot.test_reports.message_parts import REASON, Message, MessageParts
from sourcepulse_buildbot.test_reports.numbers import NS_PER_SECOND
from sourcepulse_buildbot.test_reports.subunit.details import OPEN_TESTS_MAX, UNEXPECTED, UNFINISHED, Details

#: A longer line is neither a directive nor a header.
LINE_BYTES_MAX = 64 * 1024

_OUTCOMES = {
    b"success": PASSED,
    b"successful": PASSED,
    b"failure": FAILED,
    b"error": ERROR,
    b"skip": SKIPPED,
    b"xfail": SKIPPED,
    b"uxsuccess": FAILED,
}
_STARTS = frozenset({b"test", b"testing"})
_PLAIN, _PARTS = b" [", b" [ multipart"
_END = b"]"
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}")
#: The end of details whose lengths are wrong.
_LAST_CHUNK = re.compile(rb"^0\r?\n(?=\]\r?$|Content-Type:)", re.MULTILINE)
_PROGRESS = re.compile(rb"[0-9]{1,9}")


class _Open(NamedTuple):
    """A test that began."""

    name: str
    started: datetime | None


def read_text(data: bytes, builder: ReportBuilder) -> bool:
    """Add the tests of a stream; return whether it contains any subunit."""
    reader = _Reader(data, builder)
    reader.read()
    return reader.any_test


class _Reader:
    def __init__(self, data: bytes, builder: ReportBuilder) -> None:
        self._input = io.BytesIO(data)
        self._builder = builder
        self._now: datetime | None = None
        #: The running tests by the bytes of their names, in the order in which they began.
        self._open: dict[bytes, _Open] = {}
        #: The number of tests that the stream announces, and how many ended.
        self._promised = self._seen = 0
        self.any_test = False

    def read(self) -> None:
        for line in iter(self._input.readline, b""):
            if len(line) <= LINE_BYTES_MAX:
                self._line(line.rstrip(b"\r\n"))
        for test in self._open.values():
            self._builder.add(test.name, ERROR, message=UNFINISHED)
        if self._promised > self._seen + len(self._open):
            self._builder.problem(f"{self._promised} tests are announced, {self._seen} ran")

    def _line(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        has_colon = word.endswith(b":")
        word = word.removesuffix(b":")
        if not rest:
            return
        if word in _STARTS:
            # Tests may print the same words: while one runs, a word without its colon is its output.
            if (has_colon or not self._open) and len(self._open) < OPEN_TESTS_MAX:
                self._open.setdefault(rest, _Open(_text(rest), self._now))
                self.any_test = True
        elif word in _OUTCOMES:
            self._outcome(word, rest)
        elif word == b"progress" and has_colon and _PROGRESS.fullmatch(rest.strip()):
            self._promised += int(rest)
        elif word == b"time":
            self._now = _time(rest) or self._now

    def _outcome(self, word: bytes, rest: bytes) -> None:
        for suffix in (b"", _PLAIN, _PARTS):
            name = rest.removesuffix(suffix)
            if rest.endswith(suffix) and name in self._open:
                break
        else:
            # No test of that name is running, so a test printed this line.
            return
        test = self._open.pop(name)
        self._seen += 1
        message = self._plain_details() if suffix == _PLAIN else self._parts() if suffix else Message("", 0)
        if word == b"uxsuccess" and not message.text:
            message = Message(UNEXPECTED, 0)
        duration = self._now - test.started if self._now is not None and test.started is not None else None
        self._builder.add(
            test.name,
            _OUTCOMES[word],
            duration_ns=None if duration is None else round(duration.total_seconds() * NS_PER_SECOND),
            message=None if _OUTCOMES[word] == PASSED else message,
        )

    def _plain_details(self) -> Message:
        """Read up to the closing bracket; a bracket line of the text itself is written with a space before it."""
        parts = MessageParts()
        part = parts.begin(REASON)
        for line in iter(self._input.readline, b""):
            if line.rstrip(b"\r\n") == _END:
                break
            part.write(_text(line[1:] if line.startswith(b" ]") else line))
        else:
            self._builder.problem("the report ends in the details of a test")
        return parts.message()

    def _parts(self) -> Message:
        """Read details in parts: type, name and chunks with their lengths; keep those that are text."""
        details = Details()
        while header := self._input.readline():
            if header.rstrip(b"\r\n") == _END:
                return details.message()
            name = self._input.readline().strip()
            begin = self._input.tell()
            body = self._chunks()
            if body is None:
                body = self._body_to_its_end(begin)
            if body is None:
                break
            kind = header.partition(b":")[2].strip()
            if header.lower().startswith(b"content-type:") and kind.lower().startswith(b"text/"):
                details.add(_text(name), _text(kind), body)
        self._builder.problem("the details of a test are broken")
        return details.message()

    def _chunks(self) -> bytes | None:
        kept: list[bytes] = []
        while True:
            header = self._input.readline(LINE_BYTES_MAX).strip()
            if not _CHUNK.fullmatch(header):
                return None
            size = int(header, 16)
            if not size:
                return b"".join(kept)
            # A read stops at the end of the data, so a wrong length is harmless.
            chunk = self._input.read(size)
            if len(chunk) < size:
                return None
            kept.append(chunk)

    def _body_to_its_end(self, begin: int) -> bytes | None:
        """Read a part whose lengths are wrong, for instance after converted line ends, up to its last line."""
        data = self._input.getbuffer()
        match = _LAST_CHUNK.search(data, begin)
        if match is None:
            return None
        self._input.seek(begin)
        self._input.readline(LINE_BYTES_MAX)
        body = bytes(data[self._input.tell() : match.start()])
        self._input.seek(match.end())
        self._builder.note("the lengths of some details are wrong, they are read up to their end")
        return body


def _time(text: bytes) -> datetime | None:
    try:
        value = datetime.fromisoformat(text.decode("ascii").strip())
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
