# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The receiver that the tests of webhooks POST to is a real one: a client that is not ours agrees with it."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path

import pytest

from support.webhooks.receiver import Authority, Manner, Receiver, Reply, later, redirect

CLIENT_SECONDS = 30.0


def ask(receiver: Receiver, body: bytes = b"{}") -> http.client.HTTPResponse:
    client = http.client.HTTPConnection(receiver.host, receiver.port, timeout=CLIENT_SECONDS)
    client.request("POST", "/in?key=1", body, {"webhook-id": "msg_1"})
    return client.getresponse()


def test_each_request_is_answered_as_asked_and_recorded() -> None:
    with Receiver() as receiver:
        receiver.then(Reply(status=422, body=b"no"), redirect("http://127.0.0.1/"), later(7))
        receiver.rule = lambda request: Reply(status=410) if request.body == b"last" else None
        answers = [ask(receiver) for _ in range(4)] + [ask(receiver, b"last")]
        assert [answer.status for answer in answers] == [422, 302, 503, 204, 410]
        assert answers[0].read() == b"no"
        assert answers[2].getheader("retry-after") == "7"
        first = receiver.wait_for(5)[0]
        assert (first.method, first.path, first.headers["webhook-id"], first.body) == (
            "POST",
            "/in?key=1",
            "msg_1",
            b"{}",
        )
        assert receiver.connections == 5


def test_an_answer_can_be_cut_missing_or_late() -> None:
    with Receiver() as receiver:
        receiver.then(Reply(status=200, body=b"12345678", manner=Manner.CUT))
        with pytest.raises(http.client.IncompleteRead):
            ask(receiver).read()
        receiver.then(Reply(manner=Manner.CLOSE), Reply(manner=Manner.RESET))
        for _ in range(2):
            with pytest.raises(ConnectionError):
                ask(receiver)
        receiver.then(Reply(status=200, interim=(103,), delay_s=0.1))
        assert ask(receiver).status in (103, 200)


def test_a_receiver_is_away_and_comes_back_at_its_port() -> None:
    receiver = Receiver()
    receiver.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(receiver)
    receiver.start()
    assert ask(receiver).status == 204
    receiver.stop()


def test_over_tls_the_name_that_was_asked_for_is_recorded(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Receiver(tls=authority.server("localhost")) as receiver:
        context = ssl.create_default_context(cafile=str(authority.file))
        client = http.client.HTTPSConnection("localhost", receiver.port, timeout=CLIENT_SECONDS, context=context)
        client.request("POST", "/in", b"{}")
        assert client.getresponse().status == 204
        assert receiver.requests[0].asked_name == "localhost"
