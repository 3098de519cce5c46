# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Answers in HTTP/1.1 as bytes: head and body, each with a limit, and whether the body is whole (RFC 9112)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sourcepulse_web.webhooks.errors import NoAnswerError, Problem

#: Of all heads of an answer together, also of those before the last one, such as 103.
HEAD_MAX_BYTES = 16 * 1024
HEAD_MAX_LINES = 64
#: Digits of a length; more is no length.
LENGTH_MAX_DIGITS = 15
#: Of the empty line at the end of a head, with the end of the line before.
HEAD_END_MAX_BYTES = 4
CHUNK_LINE_MAX_BYTES = 1024
SWITCHING_PROTOCOLS = 101
WITHOUT_BODY = (204, 304)

_BEGINNING = b"HTTP/1."
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: [^\r\n]*)?")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,12})[ \t]*(?:;.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The status and the headers of an answer, with names in small letters, and where the body begins."""

    status: int
    headers: tuple[tuple[str, str], ...]
    end: int

    def values(self, name: str) -> list[str]:
        """Return the values of a header, one for each line."""
        return [value for each, value in self.headers if each == name]

    def value(self, name: str) -> str | None:
        """Return the first value of a header."""
        return next(iter(self.values(name)), None)


class HeadReader:
    """Finds the head of the final answer in what arrives, reading each byte once however small the pieces are.

    Answers of 1xx before it are skipped.

    >>> reader = HeadReader()
    >>> while (head := reader.read(connection.received)) is None:
    ...     connection.receive("answer")
    """

    def __init__(self) -> None:
        self._head: Head | None = None
        #: Where the current head begins, and up to where its end was looked for and lines were counted.
        self._at = 0
        self._seen = 0
        self._lines = 0

    def read(self, data: bytes | bytearray) -> Head | None:
        """Return the head, or None if it is not whole yet; `data` is all that has arrived.

        NoAnswerError if it is not HTTP/1.1 or exceeds the limits.
        """
        while self._head is None:
            if not _BEGINNING.startswith(bytes(data[self._at : self._at + len(_BEGINNING)])):
                raise NoAnswerError("what answered is not HTTP/1.1", Problem.NOT_HTTP)
            found = _HEAD_END.search(data, max(self._at, self._seen - HEAD_END_MAX_BYTES + 1), HEAD_MAX_BYTES)
            end = found.end() if found else len(data)
            if end >= HEAD_MAX_BYTES:
                raise NoAnswerError(f"the headers of the answer exceed {HEAD_MAX_BYTES // 1024} KiB", Problem.TOO_LONG)
            self._lines += data.count(b"\n", self._seen, end)
            if self._lines > HEAD_MAX_LINES + 2:
                raise NoAnswerError(f"the answer has more than {HEAD_MAX_LINES} lines of headers", Problem.TOO_LONG)
            self._seen = end
            if found is None:
                return None
            head = _parse(bytes(data[self._at : found.start()]), end)
            if head.status >= 200 or head.status == SWITCHING_PROTOCOLS:
                self._head = head
            self._at = end
        return self._head


def _parse(text: bytes, end: int) -> Head:
    first, *lines = re.split(rb"\r?\n", text)
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise NoAnswerError("what answered is not HTTP/1.1", Problem.NOT_HTTP)
    headers = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers.append((name.strip().decode("latin-1").lower(), value.strip().decode("latin-1")))
    return Head(status=int(status[1]), headers=tuple(headers), end=end)


@dataclass(slots=True)
class Body:
    """The body of an answer as it arrives: `add` what arrived, until `whole` or the caller has enough.

    >>> body = Body(HeadReader().read(data))
    >>> body.add(data[head.end :])
    """

    head: Head
    content: bytearray = field(default_factory=bytearray)
    whole: bool = False
    _raw: bytearray = field(default_factory=bytearray)
    _length: int | None = None
    _chunked: bool = False
    #: Of the current chunk; None before its size is known.
    _chunk_left: int | None = None

    def __post_init__(self) -> None:
        codings = ",".join(self.head.values("transfer-encoding")).lower()
        if self.head.status in WITHOUT_BODY or self.head.status < 200:
            self.whole = True
        elif codings:
            self._chunked = codings.rpartition(",")[2].strip() == "chunked"
        else:
            self._length = _length(self.head)
            self.whole = self._length == 0

    @property
    def ends_with_connection(self) -> bool:
        """Whether no end was announced, so that the end of the connection is the end of the body."""
        return not self._chunked and self._length is None

    def add(self, data: bytes | bytearray) -> None:
        """Add what arrived; NoAnswerError if it breaks the rules of chunks."""
        if self._chunked:
            self._raw += data
            while not self.whole and self._take_chunk():
                pass
        elif not self.whole:
            self.content += data
            if self._length is not None and len(self.content) >= self._length:
                del self.content[self._length :]
                self.whole = True

    def _take_chunk(self) -> bool:
        """Move what can be moved from the raw bytes to the content; False if more must arrive before."""
        if self._chunk_left is None:
            line, end, _ = self._raw.partition(b"\n")
            if not end:
                if len(line) > CHUNK_LINE_MAX_BYTES:
                    raise _bad_chunks()
                return False
            size = _CHUNK_SIZE.fullmatch(line.rstrip(b"\r"))
            if size is None:
                raise _bad_chunks()
            del self._raw[: len(line) + 1]
            # What follows the last chunk (trailers) is of no use.
            self._chunk_left = int(size[1], 16)
            self.whole = self._chunk_left == 0
            return True
        piece = self._raw[: self._chunk_left]
        self.content += piece
        del self._raw[: len(piece)]
        self._chunk_left -= len(piece)
        if self._chunk_left:
            return False
        ended = re.match(rb"\r?\n", self._raw)
        if ended is None:
            if len(self._raw) >= 2:
                raise _bad_chunks()
            return False
        del self._raw[: ended.end()]
        self._chunk_left = None
        return True


def _length(head: Head) -> int | None:
    found = {part.strip() for value in head.values("content-length") for part in value.split(",")}
    if not found:
        return None
    text = found.pop()
    if found or not (text.isascii() and text.isdigit() and len(text) <= LENGTH_MAX_DIGITS):
        raise NoAnswerError("the answer announces a length that is not one", Problem.NOT_HTTP)
    return int(text)


def _bad_chunks() -> NoAnswerError:
    return NoAnswerError("the chunks of the answer are not HTTP/1.1", Problem.NOT_HTTP)
