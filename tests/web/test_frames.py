# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a browser and a reader of lines get is what was sent."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse_web.stream.frames import EVENT_STREAM, LINES, chunk, event_frame
from sourcepulse_web.stream.ids import POSITION_MAX, Place, parse_id
from support.web.event_source import EventSourceParser, MessageEvent
from support.web.rows import row

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)
#: JSON as others may write it, with white space of every kind between its values.
BODIES = st.builds(
    lambda value, indent, line_end: (
        json.dumps(value, ensure_ascii=False, indent=indent).replace("\n", line_end).encode()
    ),
    st.dictionaries(TEXT, VALUES),
    st.sampled_from([None, 0, 2, "\t"]),
    st.sampled_from(["\n", "\r\n", "\r", "\n\r\n"]),
)


def _in_pieces(parser: EventSourceParser, data: bytes, cuts: list[int]) -> list[MessageEvent]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [event for begin, end in pairwise(places) for event in parser.feed(data[begin:end])]


@settings(max_examples=40)
@given(bodies=st.lists(BODIES, max_size=4), cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_a_browser_reads_what_was_sent_however_it_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    parser = EventSourceParser()
    data = b"".join(
        EVENT_STREAM.keep_alive(f"ab.{number}") + event_frame(EVENT_STREAM, f"cd.{number}", row(body=body))
        for number, body in enumerate(bodies)
    )
    events = _in_pieces(parser, data, cuts)
    assert [event.last_event_id for event in events] == [f"cd.{number}" for number in range(len(bodies))]
    assert {event.type for event in events} <= {"message"}
    assert [json.loads(event.data) for event in events] == [json.loads(body) for body in bodies]
    # Where there is no CR, not only the value is the same but every byte.
    assert [event.data.encode() for event in events] == [body.replace(b"\r", b" ") for body in bodies]


@settings(max_examples=40)
@given(body=BODIES)
def test_an_event_is_one_line_of_json(body: bytes) -> None:
    line = event_frame(LINES, "ab.7", row(body=body))
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"id": "ab.7", "event": json.loads(body)}


def test_an_event_of_ours_is_one_line_of_data_with_its_very_bytes() -> None:
    body = '{"id":"1","data":{"desc":"a\\nb: ü\u2028"}}'.encode()
    assert event_frame(EVENT_STREAM, "ab.1", row(body=body)) == b"id: ab.1\ndata: " + body + b"\n\n"


def test_a_named_frame_never_reaches_onmessage_and_sets_the_pause() -> None:
    parser = EventSourceParser()
    assert list(parser.feed(EVENT_STREAM.named("bye", "ab.3", b"{}", retry_ms=4500))) == [
        MessageEvent("bye", "{}", "ab.3")
    ]
    assert parser.retry_ms == 4500
    assert json.loads(LINES.named("bye", None, b"{}", retry_ms=4500)) == {"bye": {}, "retry_ms": 4500}


def test_a_keep_alive_dispatches_nothing_and_moves_the_id() -> None:
    parser = EventSourceParser()
    assert list(parser.feed(EVENT_STREAM.keep_alive("ab.9"))) == []
    assert parser.last_event_id == "ab.9"
    assert json.loads(LINES.keep_alive("ab.9")) == {"id": "ab.9"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"\xff", "not UTF-8"), (b"<xml/>", "not JSON"), (b"[NaN]", "not JSON"), (b"[" * 9999, "not JSON")],
)
def test_what_is_not_json_is_named_and_keeps_its_place(body: bytes, reason: str) -> None:
    (event,) = EventSourceParser().feed(event_frame(EVENT_STREAM, "ab.5", row(5, body=body)))
    about: dict[str, Any] = json.loads(event.data)
    assert (event.type, event.last_event_id, about["reason"], about["bytes"]) == (
        "unreadable",
        "ab.5",
        reason,
        len(body),
    )


def test_chunks_are_those_of_http() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@given(position=st.integers(0, POSITION_MAX))
def test_an_id_is_read_as_it_is_written(position: int) -> None:
    assert parse_id(str(Place("0af3", position))) == Place("0af3", position)


@pytest.mark.parametrize(
    "text", ["", "7", "ab.", ".7", "AB.7", "ab.-7", "ab.7 ", "ab.7\n", "ab.9223372036854775808", "ab.\u0667"]
)
def test_what_is_no_id_is_recognised(text: str) -> None:
    assert parse_id(text) is None


def test_the_parser_follows_the_examples_of_the_standard() -> None:
    parser = EventSourceParser()
    text = b"\xef\xbb\xbfdata\n\ndata\ndata\n\n: a comment\r\ndata:  two\rid\rid: 1\0\nretry: 5x\nevent: add\n\ndata:"
    assert list(parser.feed(text)) == [
        MessageEvent("message", "", ""),
        MessageEvent("message", "\n", ""),
        MessageEvent("add", " two", ""),
    ]
    assert parser.retry_ms is None
    assert parser.reconnect() == ""
