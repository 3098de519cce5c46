# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events and control frames as bytes: the blocks of an event stream (WHATWG HTML 9.2), and lines of JSON.

An event of ours is one line, so that its block has one `data:` line with exactly its bytes. JSON of others may have
line breaks between its values: LF begins another `data:` line, which a browser joins by LF again, and CR, which no
event stream can carry, becomes a space. Neither can stand within a JSON string, so that the value is the same. In a
line of JSON both become spaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from sourcepulse_web.stream.ports import Row

#: The names of control frames.
HELLO, RESET, WITHDRAW, BYE, UNREADABLE, ALIVE = "hello", "reset", "withdraw", "bye", "unreadable", "alive"
#: The name that an event has in a line; its block in an event stream has none, so that `onmessage` gets it.
EVENT = "event"


class Framing(Protocol):
    """One way to write a stream."""

    content_type: bytes

    def event(self, place: str, body: bytes) -> bytes:
        """Return an event, which is JSON, at its place."""

    def named(self, name: str, place: str | None, data: bytes, *, retry_ms: int | None = None) -> bytes:
        """Return a frame with a name; `data` is one line of JSON."""

    def keep_alive(self, place: str) -> bytes:
        """Return a frame that only moves the place."""


class EventStream:
    """Blocks for an EventSource."""

    content_type = b"text/event-stream; charset=utf-8"

    def event(self, place: str, body: bytes) -> bytes:
        if b"\r" in body:
            body = body.replace(b"\r", b" ")
        if b"\n" in body:
            body = body.replace(b"\n", b"\ndata: ")
        return b"id: %b\ndata: %b\n\n" % (place.encode("ascii"), body)

    def named(self, name: str, place: str | None, data: bytes, *, retry_ms: int | None = None) -> bytes:
        return b"%bevent: %b\n%bdata: %b\n\n" % (
            b"" if retry_ms is None else b"retry: %d\n" % retry_ms,
            name.encode("ascii"),
            b"" if place is None else b"id: %b\n" % place.encode("ascii"),
            data,
        )

    def keep_alive(self, place: str) -> bytes:
        return b"id: %b\n\n" % place.encode("ascii")


class Lines:
    """Lines of JSON: `{"id": place, NAME: value}`, where NAME is `event` or that of the frame."""

    content_type = b"application/x-ndjson; charset=utf-8"

    def event(self, place: str, body: bytes) -> bytes:
        return self.named(EVENT, place, body.replace(b"\r", b" ").replace(b"\n", b" "))

    def named(self, name: str, place: str | None, data: bytes, *, retry_ms: int | None = None) -> bytes:
        return b'{%b"%b":%b%b}\n' % (
            b"" if place is None else b'"id":"%b",' % place.encode("ascii"),
            name.encode("ascii"),
            data,
            b"" if retry_ms is None else b',"retry_ms":%d' % retry_ms,
        )

    def keep_alive(self, place: str) -> bytes:
        return b'{"id":"%b"}\n' % place.encode("ascii")


EVENT_STREAM: Framing = EventStream()
LINES: Framing = Lines()


def event_frame(framing: Framing, place: str, row: Row) -> bytes:
    """Return the frame of an event; of what is not JSON, a named one that says so, because no number may vanish."""
    problem = _problem(row.body)
    if problem is None:
        return framing.event(place, row.body)
    about = {"position": row.position, "routing_key": row.routing_key, "bytes": len(row.body), "reason": problem}
    return framing.named(UNREADABLE, place, as_json(about))


def chunk(data: bytes) -> bytes:
    """Return bytes as one chunk of an HTTP/1.1 body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def as_json(document: Mapping[str, Any]) -> bytes:
    """Return a document as one line of ASCII."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _problem(body: bytes) -> str | None:
    try:
        json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        return "not UTF-8"
    except (ValueError, RecursionError):
        return "not JSON"
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
