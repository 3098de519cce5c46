# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An EventSource as the WHATWG's text has it (HTML 9.2.5 and 9.2.6), which reads what any gateway sends.

It shares nothing with the gateway: the oracle of what a browser would dispatch.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MessageEvent:
    """What a listener gets: `type` is `message` for a block without `event:`."""

    type: str
    data: str
    last_event_id: str


@dataclass
class EventSourceParser:
    """Takes the bytes of a response in any pieces, and yields what is dispatched.

    `last_event_id` and `retry_ms` are what a reconnect would use; both outlive a response.
    """

    last_event_id: str = ""
    retry_ms: int | None = None
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )
    _text: str = ""
    _begun: bool = False
    _after_cr: bool = False
    _data: list[str] = field(default_factory=list)
    _type: str = ""
    _id: str | None = None

    def feed(self, data: bytes) -> Iterator[MessageEvent]:
        """Read more bytes, and yield the events of every block that is complete now."""
        self._text += self._decoder.decode(data)
        if self._text and not self._begun:
            self._begun = True
            self._text = self._text.removeprefix("\ufeff")
        while (line := self._line()) is not None:
            yield from self._process(line)

    def reconnect(self) -> str:
        """Forget the unfinished block, and return the id that the next request has in its header."""
        last, retry = self.last_event_id, self.retry_ms
        self.__init__(last_event_id=last, retry_ms=retry)  # type: ignore[misc]
        self._id = last
        return last

    def _line(self) -> str | None:
        if self._after_cr and self._text:
            self._after_cr = False
            self._text = self._text.removeprefix("\n")
        ends = [place for place in (self._text.find("\r"), self._text.find("\n")) if place >= 0]
        if not ends:
            return None
        end = min(ends)
        self._after_cr = self._text[end] == "\r"
        line, self._text = self._text[:end], self._text[end + 1 :]
        return line

    def _process(self, line: str) -> Iterator[MessageEvent]:
        if not line:
            yield from self._dispatch()
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            self._field(name, value.removeprefix(" "))

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)

    def _dispatch(self) -> Iterator[MessageEvent]:
        if self._id is not None:
            self.last_event_id = self._id
        data, type_ = self._data, self._type
        self._data, self._type = [], ""
        if data:
            yield MessageEvent(type_ or "message", "\n".join(data), self.last_event_id)
