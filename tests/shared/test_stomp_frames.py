# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""STOMP frames as bytes: written as the standard says, read however they are cut, and garbage refused as such."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sourcepulse.brokers.stomp.frames import (
    NotStompError,
    frames_to,
    heartbeats,
    take_frame,
)
from support.brokers.stomp_wire import Frame, decode, encode

#: Small, so that a test can exceed it.
MOST_BYTES = 256 * 1024

#: What has an escape of its own, what looks like one, what is not ASCII.
header_texts = st.text(
    st.sampled_from(':\n\r\\cnr"{}\t é→\U0001f600') | st.characters(codec="utf-8", exclude_characters="\0"),
    max_size=12,
)
header_names = header_texts.filter(lambda name: bool(name) and name not in ("content-length", "receipt", "destination"))
commands = st.sampled_from(["MESSAGE", "RECEIPT", "ERROR"])
bodies = st.binary(max_size=200)


@st.composite
def frames(draw: st.DrawFn) -> tuple[Frame, bytes]:
    """A frame that a broker may send, and its bytes in one of the forms that STOMP 1.2 allows."""
    body = draw(bodies)
    headers = draw(st.dictionaries(header_names, header_texts, max_size=4))
    counted = b"\0" in body or draw(st.booleans())
    if counted:
        headers = {"content-length": str(len(body)), **headers}
    frame = Frame(draw(commands), headers, body)
    head, end, _ = encode(frame).partition(b"\n\n")
    line_end = draw(st.sampled_from([b"\n", b"\r\n"]))
    return frame, (head + end).replace(b"\n", line_end) + body + b"\0"


def taken(buffer: bytearray, at: int = 0) -> tuple[list[Frame], int]:
    """Return every frame that is complete, and the index behind the last one."""
    got: list[Frame] = []
    while True:
        frame, at = take_frame(buffer, at)
        if frame is None:
            return got, at
        got.append(Frame(frame.cmd, dict(frame.headers), bytes(frame.body)))


def written(request: str, *arguments: Any, **options: Any) -> bytes:
    """Return the bytes of a request."""
    data: list[bytes] = []
    getattr(frames_to(data.append, "the host"), request)(*arguments, **options)
    return b"".join(data)


@given(frames())
def test_a_frame_is_read_as_it_was_written(sent: tuple[Frame, bytes]) -> None:
    frame, data = sent
    assert taken(bytearray(data)) == ([frame], len(data))


@given(st.lists(frames(), max_size=4), st.lists(st.sampled_from([b"", b"\n", b"\r\n", b"\n\n\n"]), min_size=5))
def test_frames_with_heartbeats_between_are_read_in_order(sent: list[tuple[Frame, bytes]], beats: list[bytes]) -> None:
    data = beats[0] + b"".join(data + beat for (_, data), beat in zip(sent, beats[1:], strict=False))
    assert taken(bytearray(data)) == ([frame for frame, _ in sent], len(data))


@given(frames(), frames())
def test_frames_that_come_byte_by_byte_are_complete_only_at_their_last_byte(
    first: tuple[Frame, bytes], second: tuple[Frame, bytes]
) -> None:
    data = first[1] + second[1]
    ends = {len(first[1]): first[0], len(data): second[0]}
    buffer, at = bytearray(), 0
    for count, byte in enumerate(data, 1):
        buffer.append(byte)
        frame, at = take_frame(buffer, at)
        assert (frame is not None) == (count in ends), bytes(buffer)
        if frame is not None:
            assert frame.body == ends[count].body
            del buffer[:at]
            at = 0


@given(st.lists(frames(), min_size=1, max_size=4), st.lists(st.integers(0, 600), max_size=6))
def test_frames_are_read_however_they_are_cut(sent: list[tuple[Frame, bytes]], cuts: list[int]) -> None:
    data = b"".join(data for _, data in sent)
    buffer, at = bytearray(), 0
    got: list[Frame] = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        buffer += data[begin:end]
        more, at = taken(buffer, at)
        got += more
        del buffer[:at]
        at = 0
    assert got == [frame for frame, _ in sent]


def test_the_first_of_two_headers_of_a_name_counts() -> None:
    (frame,), _ = taken(bytearray(b"MESSAGE\nfoo:first\nfoo:second\n\n\0"))
    assert frame.headers == {"foo": "first"}


def test_the_first_of_two_lengths_counts() -> None:
    (frame,), _ = taken(bytearray(b"MESSAGE\ncontent-length:3\ncontent-length:1\n\na\0b\0"))
    assert frame.body == b"a\0b"


def test_a_body_that_looks_like_a_length_is_a_body() -> None:
    (frame,), _ = taken(bytearray(b"MESSAGE\nfoo:bar\n\ncontent-length:99\n\0"))
    assert frame.body == b"content-length:99\n"


def test_line_ends_of_both_kinds_may_be_mixed() -> None:
    (frame,), _ = taken(bytearray(b"MESSAGE\r\nfoo:bar\n\r\nbody\0"))
    assert (frame.headers, frame.body) == ({"foo": "bar"}, b"body")


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"AMQP\x00\x00\x09\x01",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00",
        b"message\nfoo:bar\n\n\0",
        b"MESSAGEMESSAGEMESSAGEMESSAGEMESSAGE",
        b"MESSAGE foo\n\n\0",
        b"MESSAGE\ncontent-length:3\n\nabcd\0",
    ],
)
def test_garbage_is_refused_with_its_first_bytes(garbage: bytes) -> None:
    with pytest.raises(NotStompError) as caught:
        take_frame(bytearray(b"\n" + garbage), 0)
    assert caught.value.raw == garbage[:32]


@given(st.binary(max_size=300))
@example(b"MESSAGE\ncontent-length:\n\n\0")
@example(b"MESSAGE\ncontent-length:-1\n\nx\0")
@example(b"MESSAGE\ncontent-length:99999999999999999999\n\nx\0")
@example(b"ERROR\n:\n\\\n\xff\xfe:\xff\n\n\0")
def test_any_bytes_are_a_frame_or_incomplete_or_refused_as_garbage(data: bytes) -> None:
    buffer, at = bytearray(data), 0
    try:
        while True:
            frame, after = take_frame(buffer, at)
            assert at <= after <= len(buffer)
            if frame is None:
                break
            assert after > at
            at = after
    except NotStompError:
        pass
    assert buffer == data


@pytest.mark.parametrize(
    "endless",
    [
        b"MESSAGE\n" + b"a:b\n" * (MOST_BYTES // 4),
        b"MESSAGE\n\n" + bytes([1]) * MOST_BYTES,
        b"MESSAGE\ncontent-length:%d\n\n" % MOST_BYTES,
    ],
    ids=["head", "body", "length"],
)
def test_a_frame_larger_than_any_is_not_waited_for(endless: bytes) -> None:
    with pytest.raises(NotStompError):
        take_frame(bytearray(endless), 0, most_bytes=MOST_BYTES)


def test_however_many_headers_a_frame_has_the_next_one_follows() -> None:
    head = b"MESSAGE\nack:1\n" + b"x:%s\n" % (b"y" * 9_000) * 400 + b"\xff\xfe:\\q\\\n\n"
    buffer = bytearray(head + b"one\0MESSAGE\nack:2\n\ntwo\0")
    first, at = take_frame(buffer, 0)
    second, at = take_frame(buffer, at)
    assert [(frame.headers["ack"], frame.body) for frame in (first, second)] == [("1", b"one"), ("2", b"two")]
    assert at == len(buffer)


@given(body=bodies, headers=st.dictionaries(header_names, header_texts, max_size=4), destination=header_texts)
@example(body=b"", headers={}, destination="")
@example(body=b"\0", headers={"a:b": "c\\d\n\r"}, destination="/exchange/a:b/c")
def test_a_message_is_written_so_that_another_reader_finds_it_unchanged(
    body: bytes, headers: dict[str, str], destination: str
) -> None:
    # stomp.py escapes values alone; our names need no escape.
    headers = {name: value for name, value in headers.items() if re.fullmatch(r"[^:\n\r\\]+", name)}
    data = written("send", destination, body, content_type="text/plain", headers=headers)
    decoded = decode(data)
    assert decoded is not None
    frame, length = decoded
    assert (frame.command, frame.body, length) == ("SEND", body, len(data))
    expected = {**headers, "destination": destination, "content-type": "text/plain"}
    assert {**frame.headers, **expected} == frame.headers
    assert set(frame.headers) - set(expected) == ({"content-length"} if body else set())


@pytest.mark.parametrize("secret", ["plain", "a:b", "back\\slash", "\\c", "pässwörd→", "{}", " blank "])
def test_a_login_is_written_as_it_is_given(secret: str) -> None:
    data = written("connect", "me", secret, with_connect_command=True)
    assert data.startswith(b"CONNECT\n")
    assert f"\npasscode:{secret}\n".encode() in data
    assert b"\nhost:the host\n" in data


def test_a_request_with_a_receipt_names_it() -> None:
    for data in (written("commit", "t1", receipt="r7"), written("send_frame", "DISCONNECT", {"receipt": "r7"})):
        assert b"\nreceipt:r7\n" in data
        assert data.endswith(b"\n\n\0")


@pytest.mark.parametrize(
    ("answer", "ours_s", "theirs_s"),
    [
        ("0,0", 0, 0),
        ("10000,0", 0, 30),
        ("0,10000", 30, 0),
        ("60000,60000", 60, 60),
        ("1, 2", 30, 30),
    ],
)
def test_of_two_wishes_for_heartbeats_the_slower_counts(answer: str, ours_s: float, theirs_s: float) -> None:
    (connected, _) = take_frame(bytearray(f"CONNECTED\nheart-beat:{answer}\n\n\0".encode()), 0)
    assert heartbeats(30_000, connected) == (ours_s, theirs_s)


def test_a_broker_that_is_silent_on_heartbeats_has_none() -> None:
    connected, _ = take_frame(bytearray(b"CONNECTED\n\n\0"), 0)
    assert heartbeats(30_000, connected) == (0, 0)


@pytest.mark.parametrize("answer", ["x,y", "1", "1,2,3", "-", ""])
def test_invalid_heartbeats_are_refused(answer: str) -> None:
    connected, _ = take_frame(bytearray(f"CONNECTED\nheart-beat:{answer}\n\n\0".encode()), 0)
    with pytest.raises(ValueError):  # noqa: PT011 - any text will do: another one is shown
        heartbeats(30_000, connected)


def test_importing_asks_no_resolver_and_leaves_the_environment_alone() -> None:
    program = """
import os, socket
def asked(*_): raise SystemExit("the resolver was asked")
for name in ("gethostbyname", "getfqdn", "gethostname", "getaddrinfo"):
    setattr(socket, name, asked)
before = dict(os.environ)
import sourcepulse.brokers.stomp.rabbitmq_publisher, sourcepulse.brokers.stomp.activemq_subscription
assert dict(os.environ) == before
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
