# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is POSTed, and what is kept of an answer."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from pathlib import Path

import pytest

import sourcepulse
from sourcepulse.errors import DecodeError
from sourcepulse.events.wire import encode, encode_pulse
from sourcepulse.testing import system_event
from sourcepulse_web.webhooks.errors import Problem
from sourcepulse_web.webhooks.hook import Handshake, Hook
from sourcepulse_web.webhooks.post.body import cloudevent_of
from sourcepulse_web.webhooks.post.post import Answer, Poster
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.webhooks.receiver import Receiver, Reply, later, redirect

BODY = b'{"specversion":"1.0"}'
SECRET = new_secret()


def post(receiver: Receiver, *, hook: Hook | None = None, now: float | None = None) -> Answer:
    """POST once to an allowed receiver."""
    poster = Poster(WebhookSettings(allow=(receiver.allowed,), origin="tree.example.org", post_seconds=60))
    hook = hook or Hook(name="chat-room", url=receiver.url, topics=("hg.#",))
    return poster.post(hook, [SECRET], "msg_1", BODY, time.time() if now is None else now)


def test_a_post_is_one_complete_request_with_the_headers_of_the_standards() -> None:
    with Receiver(path="/in?room=7&key=a%20b") as receiver:
        answer = post(receiver, now=1_700_000_000.9)
        request = receiver.requests[0]
    assert (answer.status, answer.reason, answer.problem) == (204, "", Problem.NONE)
    assert answer.accepted
    assert 0 < answer.took_s < 60
    assert (request.method, request.path, request.body) == ("POST", "/in?room=7&key=a%20b", BODY)
    signature = request.headers.pop("webhook-signature")
    assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", signature)
    assert request.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "content-type": "application/cloudevents+json; charset=utf-8",
        "content-length": str(len(BODY)),
        "user-agent": f"sourcepulse/{sourcepulse.__version__}",
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "accept-encoding": "identity",
        "connection": "close",
    }


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert post(receiver).accepted
        assert (proxy.connections, receiver.connections) == (0, 1)


def test_a_token_is_read_at_each_attempt_and_appears_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with Receiver() as receiver:
        receiver.rule = lambda request: Reply(
            status=400,
            headers=(("x-echo", request.headers.get("authorization", "")),),
            body=" ".join(request.lines).encode(),
        )
        hook = Hook(name="chat-room", url=receiver.url, topics=("hg.#",), bearer_file=str(file))
        sentences = []
        for content, mode in ((b"first-token\n", 0o600), (b"second-token", 0o640), (b"third-token", 0o644)):
            file.write_bytes(content)
            file.chmod(mode)
            sentences.append(post(receiver, hook=hook))
        file.chmod(0o600)
        for content in (b"", b"two tokens", b"line\r\nx-forged: 1", b"t" * 20_000, "tökén".encode()):
            file.write_bytes(content)
            sentences.append(post(receiver, hook=hook))
        file.unlink()
        sentences.append(post(receiver, hook=hook))
        file.mkdir()
        sentences.append(post(receiver, hook=hook))
        seen = [request.headers["authorization"] for request in receiver.requests]
    assert seen == ["Bearer first-token", "Bearer second-token"]
    assert [each.status for each in sentences] == [400, 400, *[None] * 8]
    assert "authorization: Bearer (hidden)" in sentences[0].excerpt.lower().replace(
        "authorization: b", "authorization: B"
    )
    assert {each.problem for each in sentences[2:]} == {Problem.SETTINGS}
    assert "chmod o-r" in sentences[2].reason
    assert all("nothing else" in each.reason for each in sentences[3:8])
    assert "No such file" in sentences[8].reason
    assert "is not a file" in sentences[9].reason
    for answer in sentences:
        assert not re.search("token|v1,|forged", repr(answer).replace("bearer token", "").replace("the token", ""))


def test_the_origin_is_named_where_a_handshake_is_asked_for() -> None:
    with Receiver() as receiver:
        for handshake in Handshake:
            post(receiver, hook=Hook(name="a", url=receiver.url, topics=("hg.#",), handshake=handshake))
        named = [request.headers.get("webhook-request-origin") for request in receiver.requests]
    assert named == [None, "tree.example.org", "tree.example.org"]


def test_secrets_that_a_receiver_echoes_are_not_kept() -> None:
    old = new_secret()
    with Receiver() as receiver:
        receiver.rule = lambda request: Reply(
            status=400,
            headers=(("x-echo", f"{SECRET} {request.headers['webhook-signature']}"),),
            body=f"expected {old}, not {SECRET}: {request.headers['webhook-signature']}".encode(),
        )
        poster = Poster(WebhookSettings(allow=(receiver.allowed,)))
        hook = Hook(name="a", url=receiver.url, topics=("hg.#",))
        answer = poster.post(hook, [SECRET, old], "msg_1", BODY, time.time())
        signatures = receiver.requests[0].headers["webhook-signature"].split(" ")
    assert answer.excerpt == "expected whsec_(hidden), not whsec_(hidden): (hidden) (hidden)"
    for secret in (SECRET.removeprefix("whsec_"), old.removeprefix("whsec_"), *signatures):
        assert secret not in repr(answer)


def test_redirects_are_failures_and_lead_nowhere() -> None:
    with Receiver() as elsewhere, Receiver() as receiver:
        statuses = (300, 301, 302, 303, 304, 307, 308)
        receiver.then(*(redirect(elsewhere.url, status) for status in statuses))
        answers = [post(receiver) for _ in statuses]
        assert elsewhere.connections == 0
    assert [answer.status for answer in answers] == list(statuses)
    assert all("not followed" in answer.reason for answer in answers)
    assert f"location: {elsewhere.url}" in answers[0].headers


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), ("0", 0.0), ("999999999", 999_999_999.0), ("99999999999", 999_999_999.0),
     ("1" + "0" * 4_000, 100_000_000.0), ("00000000000030", 30.0), ("000", 0.0), ("-5", None), ("1.5", None),
     ("soon", None), ("", None), ("Fri, 99 Foo 2023 00:00:00 GMT", None)],
)  # fmt: skip
def test_retry_after_in_seconds(text: str, expected: float | None) -> None:
    with Receiver(usual=later(text)) as receiver:
        answer = post(receiver)
    assert (answer.status, answer.retry_after_s) == (503, expected)


def test_retry_after_as_a_date_is_counted_from_now() -> None:
    now = 1_700_000_000.0
    with Receiver() as receiver:
        receiver.then(*(later(formatdate(now + s, usegmt=True), 429) for s in (90, -90)))
        assert [post(receiver, now=now).retry_after_s for _ in range(2)] == [90.0, 0.0]


def test_what_is_kept_of_an_answer_is_short_printable_and_without_cookies() -> None:
    headers = (
        ("X-First", "\x1b[31mred\x07"),
        ("Set-Cookie", "session=topsecret"),
        ("Authorization", "topsecret"),
        *((f"x-{n}", "h" * 100) for n in range(50)),
    )
    body = b"\x1b]0;title\x07\xff line\nnext \xc3\xa9 " + b"e" * 100_000
    with Receiver(usual=Reply(status=422, headers=headers, body=body)) as receiver:
        answer = post(receiver)
    assert answer.headers.startswith("x-first: \\x1b[31mred\\x07\nset-cookie: (hidden)\nauthorization: (hidden)\n")
    assert len(answer.headers.encode()) <= 2048
    assert answer.headers.endswith("h" * 100)
    assert len(answer.excerpt.encode()) <= 1024
    assert answer.excerpt.startswith("\\x1b]0;title\\x07\ufffd line\\nnext é eee")
    assert "topsecret" not in repr(answer)


@pytest.mark.parametrize(
    ("content_type", "body", "excerpt"),
    [
        ("text/plain; charset=iso-8859-1", b"caf\xe9", "café"),
        ('text/plain; charset="UTF-8"', "café".encode(), "café"),
        ("text/plain; charset=rot13", b"abc", "abc"),
        ("text/plain; charset=zip", b"abc", "abc"),
        ("text/plain; charset=utf-16", "hé".encode("utf-16"), "hé"),
        ("application/octet-stream", b"\x00\x01", "\\x00\\x01"),
    ],
)
def test_an_excerpt_is_read_in_the_charset_of_the_answer(content_type: str, body: bytes, excerpt: str) -> None:
    with Receiver(usual=Reply(status=400, headers=(("content-type", content_type),), body=body)) as receiver:
        assert post(receiver).excerpt == excerpt


def test_a_compressed_answer_is_only_counted() -> None:
    reply = Reply(status=400, headers=(("content-encoding", "gzip"),), body=b"\x1f\x8b" * 50)
    with Receiver(usual=reply) as receiver:
        assert post(receiver).excerpt == "(100 bytes that are compressed)"


def test_the_body_is_the_event_as_the_log_has_it_or_made_a_cloudevent() -> None:
    event = system_event(7)
    body = encode(event)
    assert cloudevent_of(body, event.routing_key) is body
    pulse = encode_pulse(event, exchange="exchange/test", sent="2026-11-28T00:00:00Z")
    assert cloudevent_of(pulse, event.routing_key) == body
    with pytest.raises(DecodeError, match="not an event"):
        cloudevent_of(b'{"hello": "world"}', "hg.push")
