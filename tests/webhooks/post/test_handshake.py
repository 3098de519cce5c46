# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A receiver consents only by the two headers of the CloudEvents HTTP webhook specification 1.0.2."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sourcepulse_web.webhooks.errors import Problem
from sourcepulse_web.webhooks.hook import Handshake, Hook
from sourcepulse_web.webhooks.post.handshake import Consent, ask
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.webhooks.receiver import Manner, Receiver, Reply, redirect

ORIGIN = "tree.example.org"
NAME, RATE = "WebHook-Allowed-Origin", "WebHook-Allowed-Rate"


def asked(receiver: Receiver, *, seconds: float = 60) -> Consent:
    settings = WebhookSettings(allow=(receiver.allowed,), origin=ORIGIN, post_seconds=seconds)
    return ask(Hook(name="a", url=receiver.url, topics=("hg.#",), handshake=Handshake.REQUIRE), settings)


def reply(*headers: tuple[str, str], status: int = 200) -> Reply:
    return Reply(status=status, headers=headers)


def test_the_question_goes_to_the_exact_url_without_a_rate() -> None:
    with Receiver(path="/in?room=7") as receiver:
        receiver.then(reply((NAME, ORIGIN), (RATE, "120")))
        consent = asked(receiver)
        request = receiver.requests[0]
    assert (request.method, request.path, request.body) == ("OPTIONS", "/in?room=7", b"")
    assert request.headers["webhook-request-origin"] == ORIGIN
    assert {"webhook-request-rate", "webhook-request-callback", "authorization"}.isdisjoint(request.headers)
    assert (consent.given, consent.rate_per_minute, consent.reason, consent.status) == (True, 120, "", 200)


@pytest.mark.parametrize(
    ("answer", "rate"),
    [
        (reply((NAME, "*"), (RATE, "*")), None),
        (reply((NAME.lower(), ORIGIN.upper()), (RATE.upper(), "1")), 1),
        # A status proves nothing.
        (reply((NAME, ORIGIN), (RATE, "*"), status=405), None),
        (reply((NAME, ORIGIN), (RATE, "*"), status=500), None),
    ],
)
def test_consent_is_in_the_headers_alone(answer: Reply, rate: int | None) -> None:
    with Receiver(usual=answer) as receiver:
        consent = asked(receiver)
    assert (consent.given, consent.rate_per_minute) == (True, rate)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(), "did not answer OPTIONS with WebHook-Allowed-Origin"),
        (reply(("allow", "POST, OPTIONS"), status=204), "did not answer OPTIONS with WebHook-Allowed-Origin"),
        (reply((RATE, "*")), "did not answer OPTIONS with WebHook-Allowed-Origin"),
        (reply((NAME, "")), "consents to another sender"),
        (reply((NAME, "other.example.org"), (RATE, "*")), f"must be {ORIGIN} or *"),
        (reply((NAME, f"{ORIGIN}, *"), (RATE, "*")), "consents to another sender"),
        (reply((NAME, ORIGIN), (NAME, "other.example.org"), (RATE, "*")), "consents to another sender"),
        (reply((NAME, f"evil-{ORIGIN}"), (RATE, "*")), "consents to another sender"),
        (reply((NAME, ORIGIN)), "WebHook-Allowed-Rate must be * or a number"),
        (reply((NAME, ORIGIN), (RATE, "0")), "WebHook-Allowed-Rate must be * or a number"),
        (reply((NAME, ORIGIN), (RATE, "-1")), "WebHook-Allowed-Rate must be * or a number"),
        (reply((NAME, ORIGIN), (RATE, "many")), "WebHook-Allowed-Rate must be * or a number"),
        (reply((NAME, ORIGIN), (RATE, "1"), (RATE, "2")), "WebHook-Allowed-Rate must be * or a number"),
    ],
)
def test_anything_else_is_no_consent(answer: Reply, words: str) -> None:
    with Receiver(usual=answer) as receiver:
        consent = asked(receiver)
    assert (consent.given, consent.rate_per_minute) == (False, None)
    assert words in consent.reason


def test_the_guards_and_limits_are_those_of_a_post() -> None:
    with Receiver() as elsewhere, Receiver() as receiver:
        elsewhere.usual = reply((NAME, "*"), (RATE, "*"))
        receiver.then(
            redirect(elsewhere.url, 307),
            Reply(status=200, manner=Manner.CLOSE),
            Reply(status=200, manner=Manner.FLOOD_HEADERS),
        )
        found = [asked(receiver).problem for _ in range(3)]
        receiver.then(Reply(manner=Manner.NEVER))
        found.append(asked(receiver, seconds=1.0).problem)
        assert elsewhere.connections == 0
        private = ask(Hook(name="a", url=receiver.url, topics=("hg.#",)), WebhookSettings(origin=ORIGIN))
    assert found == [Problem.NONE, Problem.CUT, Problem.TOO_LONG, Problem.TIME]
    assert (private.given, private.problem) == (False, Problem.SETTINGS)
    assert replace(private, took_s=0.0).reason.startswith("the URL of a webhook begins with https://")
