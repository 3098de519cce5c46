# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever a receiver does to its answer, an attempt ends in time, in a sentence, and keeps little."""

from __future__ import annotations

import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse_web.webhooks.errors import NoAnswerError, Problem
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.handshake import ask
from sourcepulse_web.webhooks.post.http_answer import HEAD_MAX_BYTES, Body, HeadReader
from sourcepulse_web.webhooks.post.post import Answer, Poster
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.webhooks.receiver import Manner, Receiver, Reply

LONG_SECONDS = 60.0
SHORT_SECONDS = 1.5
#: More than the buffers of a connection on loopback.
BIG_BODY = b"e" * 16_000_000


def post(receiver: Receiver, *, seconds: float = LONG_SECONDS, body: bytes = b"{}") -> Answer:
    poster = Poster(WebhookSettings(allow=(receiver.allowed,), post_seconds=seconds))
    return poster.post(Hook(name="a", url=receiver.url, topics=("hg.#",)), [new_secret()], "msg_1", body, time.time())


def raw(text: bytes) -> Reply:
    return Reply(raw=text)


@pytest.mark.parametrize(
    ("manner", "problem", "words"),
    [
        (Manner.NEVER, Problem.TIME, "did not answer in time"),
        (Manner.DRIP_HEADERS, Problem.TIME, "did not answer in time"),
        (Manner.DRIP_BODY, Problem.TIME, "did not end its answer in time (status 200)"),
    ],
)
def test_a_receiver_that_takes_too_long_is_left_at_the_deadline(manner: Manner, problem: Problem, words: str) -> None:
    with Receiver(usual=Reply(status=200, manner=manner)) as receiver:
        answer = post(receiver, seconds=SHORT_SECONDS)
    assert (answer.status, answer.problem) == (None, problem)
    assert words in answer.reason
    assert SHORT_SECONDS - 0.1 < answer.took_s < SHORT_SECONDS + 20


@pytest.mark.parametrize(
    ("reply", "problem", "words"),
    [
        (Reply(manner=Manner.CLOSE), Problem.CUT, "closed the connection without an answer"),
        (Reply(manner=Manner.RESET), Problem.CONNECTION, "broke: Connection reset by peer"),
        (Reply(status=200, body=b"x" * 100, manner=Manner.CUT), Problem.CUT, "cut before its end (status 200)"),
        (Reply(status=422, body=b"x" * 100, manner=Manner.CUT), Problem.CUT, "cut before its end (status 422)"),
        # Which limit is met first is a matter of how the flood arrives.
        (Reply(status=200, manner=Manner.FLOOD_HEADERS), Problem.TOO_LONG, "headers"),
        (Reply(status=200, manner=Manner.ENDLESS_LINE), Problem.TOO_LONG, "exceed 16 KiB"),
        (Reply(status=200, headers=tuple((f"x-{n}", "h") for n in range(65))), Problem.TOO_LONG, "64 lines"),
        (Reply(status=200, headers=(("x-long", "h" * 16_384),)), Problem.TOO_LONG, "16 KiB"),
        (Reply(status=204, interim=(103,) * 3000), Problem.TOO_LONG, "64 lines"),
        (raw(b"HTTP/1.1 200 OK\r\n"), Problem.CUT, "without an answer"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5"), Problem.CUT, "without an answer"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), Problem.CUT, "without an answer"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"), Problem.CUT, "was cut"),
        (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"), Problem.CUT, "was cut"),
        (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel"), Problem.CUT, "was cut"),
        (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello"), Problem.NOT_HTTP, "chunks"),
        (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloxx"), Problem.NOT_HTTP, "chunks"),
        (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 5000), Problem.NOT_HTTP, "chunks"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"), Problem.NOT_HTTP, "length"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx"), Problem.NOT_HTTP, "length"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: \xb2\r\n\r\nxx"), Problem.NOT_HTTP, "length"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Problem.NOT_HTTP, "not HTTP/1.1"),
        (raw(b"HTTP/2.0 200 OK\r\n\r\n"), Problem.NOT_HTTP, "not HTTP/1.1"),
        (raw(b"HTTP/1.1 20 OK\r\n\r\n"), Problem.NOT_HTTP, "not HTTP/1.1"),
        (raw(b"HTTP/1.1 2000 OK\r\n\r\n"), Problem.NOT_HTTP, "not HTTP/1.1"),
        (raw(b"\x15\x03\x01\x00\x02\x02"), Problem.NOT_HTTP, "not HTTP/1.1"),
        (raw(b"HTTP/1.1\x00200 OK\r\n\r\n"), Problem.NOT_HTTP, "not HTTP/1.1"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_whole_or_not_http_is_no_answer(reply: Reply, problem: Problem, words: str) -> None:
    with Receiver(usual=reply) as receiver:
        answer = post(receiver)
    assert (answer.status, answer.problem, answer.accepted) == (None, problem, False)
    assert words in answer.reason
    assert answer.took_s < LONG_SECONDS


@pytest.mark.parametrize(
    ("reply", "status", "excerpt"),
    [
        (Reply(status=200, body=b"fine"), 200, "fine"),
        (Reply(status=204, interim=(100, 102, 103)), 204, ""),
        (Reply(status=200, body=b"late", delay_s=0.3), 200, "late"),
        (Reply(status=599), 599, ""),
        (raw(b"HTTP/1.0 200 OK\n\nold"), 200, "old"),
        (raw(b"HTTP/1.1 200\r\n\r\n"), 200, ""),
        (raw(b"HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n"), 204, ""),
        (raw(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\nodd bytes"), 101, ""),
        (raw(b"HTTP/1.1 202 OK\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nx"), 202, "hello"),
        (raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ncontent-length: 99\r\n\r\nabc"), 200, "abc"),
        (raw(b"HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 2\r\n\r\nokay"), 200, "ok"),
        (raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok"), 200, "ok"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"to the end"), 200, "to the end"),
    ],
)  # fmt: skip
def test_an_unusual_answer_is_one(reply: Reply, status: int, excerpt: str) -> None:
    with Receiver(usual=reply) as receiver:
        answer = post(receiver)
    assert (answer.status, answer.problem, answer.excerpt) == (status, Problem.NONE, excerpt)


def test_of_a_body_without_end_little_is_read() -> None:
    with Receiver() as receiver:
        receiver.then(Reply(status=200, manner=Manner.FLOOD_BODY), Reply(status=200, body=b"h" * 10_000_000))
        answers = [post(receiver) for _ in range(2)]
    assert [(each.status, len(each.excerpt)) for each in answers] == [(200, 1024)] * 2
    assert max(each.took_s for each in answers) < LONG_SECONDS / 2


def test_an_answer_before_the_event_was_read_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stay = threading.Event()

        def answer_at_once() -> None:
            sock, _ = server.accept()
            with sock:
                sock.sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nbig!")
                stay.wait(LONG_SECONDS)

        thread = threading.Thread(target=answer_at_once)
        thread.start()
        host = f"127.0.0.1:{server.getsockname()[1]}"
        poster = Poster(WebhookSettings(allow=(host,), post_seconds=LONG_SECONDS))
        hook = Hook(name="a", url=f"http://{host}/in", topics=("hg.#",))
        answer = poster.post(hook, [new_secret()], "msg_1", BIG_BODY, time.time())
        stay.set()
        thread.join(LONG_SECONDS)
    assert (answer.status, answer.excerpt) == (413, "big!")
    assert answer.took_s < LONG_SECONDS / 2


def test_a_receiver_that_reads_nothing_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        poster = Poster(WebhookSettings(allow=(host,), post_seconds=SHORT_SECONDS))
        hook = Hook(name="a", url=f"http://{host}/in", topics=("hg.#",))
        answer = poster.post(hook, [new_secret()], "msg_1", BIG_BODY, time.time())
    assert (answer.status, answer.problem) == (None, Problem.TIME)
    assert "did not read the event in time" in answer.reason


def test_a_process_without_free_files_reports_it() -> None:
    with Receiver() as receiver:
        limits = WebhookSettings(allow=(receiver.allowed,))
        poster = Poster(limits)
        hook = Hook(name="a", url=receiver.url, topics=("hg.#",))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            answer = poster.post(hook, [new_secret()], "msg_1", b"{}", time.time())
            consent = ask(hook, limits)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (answer.status, answer.problem, consent.given) == (None, Problem.CONNECTION, False)
    assert answer.reason == "no connection to 127.0.0.1: Too many open files"
    assert "Too many open files" in consent.reason


def test_one_poster_serves_good_and_bad_receivers_at_once() -> None:
    bad = [Reply(status=200, manner=manner, body=b"xx") for manner in Manner if manner is not Manner.WHOLE]
    receivers = [Receiver(usual=reply) for reply in bad] + [Receiver() for _ in range(10)]
    poster = Poster(WebhookSettings(allow=tuple(each.allowed for each in receivers), post_seconds=5))

    def one(receiver: Receiver) -> Answer:
        hook = Hook(name="a", url=receiver.url, topics=("hg.#",))
        return poster.post(hook, [new_secret()], "msg_1", b"{}", time.time())

    with ThreadPoolExecutor(len(receivers)) as pool:
        answers = list(pool.map(one, receivers))
    for receiver in receivers:
        receiver.stop()
    assert [each.status for each in answers[-10:]] == [204] * 10
    # Only the one whose body floods answered in a whole head, and more of its body is not wanted.
    assert {reply.manner for reply, each in zip(bad, answers, strict=False) if each.accepted} == {Manner.FLOOD_BODY}


ODD_HEADS = st.lists(
    st.sampled_from(
        [b"HTTP/1.1 200 OK", b"HTTP/1.1 100 C", b"\r\n", b"\n", b"\r", b": ", b"content-length", b"5", b"x", b"\x00",
         b"transfer-encoding: chunked", b"HTTP/", b"1.1", b" ", b"a" * 500, b"0\r\n\r\n", b"\xff"]
    ),
    max_size=40,
).map(b"".join)  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(ODD_HEADS, ODD_HEADS.map(b"HTTP/1.1 200 OK\r\n".__add__), st.binary(max_size=200)), st.data())
def test_any_bytes_are_read_alike_however_they_arrive(sent: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    assert read_in(pieces) == read_in([sent])


def read_in(pieces: list[bytes]) -> tuple[object, ...]:
    """Return what a reader makes of an answer that arrives in pieces."""
    received = bytearray()
    reader = HeadReader()
    head = body = None
    try:
        for piece in pieces:
            received += piece
            if head is None:
                head = reader.read(received)
                assert head is not None or len(received) <= HEAD_MAX_BYTES
                if head is not None:
                    body = Body(head)
                    body.add(received[head.end :])
            elif body is not None:
                body.add(piece)
    except NoAnswerError as error:
        return error.problem, str(error)
    return (head, body and bytes(body.content), body and body.whole) if head else (None, bytes(received))


class CountedBytes(bytearray):
    """Counts the bytes that are copied or searched."""

    touched = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        self.touched += len(found) if isinstance(index, slice) else 1
        return found

    def count(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
        end = len(self) if end is None else end
        self.touched += end - start
        return super().count(sub, start, end)


@pytest.mark.parametrize(
    "begins", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 30 + b"HTTP/1.1 200 OK\n"]
)
def test_a_head_that_arrives_byte_by_byte_costs_no_more_than_its_length(begins: bytes) -> None:
    sent = begins + b"x: " + b"f" * (HEAD_MAX_BYTES - 1_000) + b"\r\n\r\n"
    reader = HeadReader()
    received = CountedBytes()
    for byte in sent[:-1]:
        received.append(byte)
        assert reader.read(received) is None
    received.append(sent[-1])
    assert reader.read(received) is not None
    assert received.touched < 20 * len(sent)
