# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the first version of subunit: lines such as `test: NAME` and `failure: NAME [`, with details up to `]`."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import NamedTuple

from sourcepulse_buildbot.test_case import (
    ERROR,
    FAILED,
    MESSAGE_BYTES_MAX,
    NS_PER_SECOND,
    PASSED,
    SKIPPED,
    ReportBuilder,
)

#: As many tests may run at the same time, more are not followed.
OPEN_TESTS_MAX = 10_000
#: A longer line is no directive and no header.
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
#: A test succeeds silently, so this is said for it.
_UNEXPECTED = "This test passes, but it was expected to fail."
_UNFINISHED = "This test began, but the report does not tell its end."
_PLAIN, _PARTS = b" [", b" [ multipart"
_END = b"]"
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}")


class _Open(NamedTuple):
    """A test that began."""

    name: str
    started: datetime | None


def read_text(data: bytes, builder: ReportBuilder) -> bool:
    """Add the tests of a stream; return false if there is nothing of subunit in it."""
    reader = _Reader(data, builder)
    reader.read()
    return reader.any_test


class _Reader:
    def __init__(self, data: bytes, builder: ReportBuilder) -> None:
        self._input = io.BytesIO(data)
        self._builder = builder
        self._now: datetime | None = None
        #: By the bytes of the name, in the order in which they began.
        self._open: dict[bytes, _Open] = {}
        self.any_test = False

    def read(self) -> None:
        for line in iter(self._input.readline, b""):
            if len(line) <= LINE_BYTES_MAX:
                self._line(line.rstrip(b"\r\n"))
        for test in self._open.values():
            self._builder.add(test.name, ERROR, message=_UNFINISHED)

    def _line(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        has_colon = word.endswith(b":")
        word = word.removesuffix(b":")
        if not rest:
            return
        if word in _STARTS:
            # Tests print what they like; without its colon the word is one of theirs, while one of them runs.
            if (has_colon or not self._open) and len(self._open) < OPEN_TESTS_MAX:
                self._open.setdefault(rest, _Open(_text(rest), self._now))
                self.any_test = True
        elif word in _OUTCOMES:
            self._outcome(word, rest)
        elif word == b"time":
            self._now = _time(rest) or self._now

    def _outcome(self, word: bytes, rest: bytes) -> None:
        for suffix in (b"", _PLAIN, _PARTS):
            name = rest.removesuffix(suffix)
            if rest.endswith(suffix) and name in self._open:
                break
        else:
            # No test of that name runs, so a test printed this.
            return
        test = self._open.pop(name)
        message = self._plain_details() if suffix == _PLAIN else self._parts() if suffix else ""
        if word == b"uxsuccess":
            message = message or _UNEXPECTED
        duration = self._now - test.started if self._now is not None and test.started is not None else None
        self._builder.add(
            test.name,
            _OUTCOMES[word],
            duration_ns=None if duration is None else round(duration.total_seconds() * NS_PER_SECOND),
            message=None if _OUTCOMES[word] == PASSED else message,
        )

    def _plain_details(self) -> str:
        """Read up to the closing bracket; one that is a line of the text is written with a blank before it."""
        kept: list[bytes] = []
        room = MESSAGE_BYTES_MAX
        for line in iter(self._input.readline, b""):
            if line.rstrip(b"\r\n") == _END:
                break
            line = line[1:] if line.startswith(b" ]") else line  # noqa: PLW2901 - the same line, as it was meant
            if room > 0:
                kept.append(line[:room])
                room -= len(line)
        else:
            self._builder.note("the report ends in the details of a test")
        return _text(b"".join(kept))

    def _parts(self) -> str:
        """Read details in parts: their type, their name and chunks with their lengths; keep those that are text."""
        texts: list[str] = []
        while header := self._input.readline():
            if header.rstrip(b"\r\n") == _END:
                return "\n".join(texts)
            name = self._input.readline().strip()
            body = self._chunks()
            if body is None:
                break
            is_text = header.lower().startswith(b"content-type: text/")
            if is_text and body.strip():
                texts.append(_text(body) if not texts else f"{_text(name)}:\n{_text(body)}")
        self._builder.note("the details of a test are broken")
        return "\n".join(texts)

    def _chunks(self) -> bytes | None:
        kept: list[bytes] = []
        room = MESSAGE_BYTES_MAX
        while True:
            header = self._input.readline(LINE_BYTES_MAX).strip()
            if not _CHUNK.fullmatch(header):
                return None
            size = int(header, 16)
            if not size:
                return b"".join(kept)
            # Never more than there is, for the length is only what somebody wrote.
            chunk = self._input.read(size)
            if len(chunk) < size:
                return None
            if room > 0:
                kept.append(chunk[:room])
                room -= size


def _time(text: bytes) -> datetime | None:
    try:
        value = datetime.fromisoformat(text.decode("ascii").strip())
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
