# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Signatures are those of Standard Webhooks 1.0.0: its test vector, and its own verifier in Python, agree."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.post import Poster
from sourcepulse_web.webhooks.post.signature import key_of, new_secret, sign, webhook_id_of
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.webhooks.receiver import Receiver, Request

#: Published with the specification and by Svix, and tested by the verifiers in every language.
VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
VECTOR_TIME = 1614265330
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_published_vector_is_met() -> None:
    assert sign([VECTOR_SECRET], VECTOR_ID, VECTOR_TIME, VECTOR_BODY) == VECTOR_SIGNATURE


def posted(receiver: Receiver, secrets: list[str], body: bytes, webhook_id: str = "msg_1") -> Request:
    """POST once, and return the request as the receiver has it."""
    poster = Poster(WebhookSettings(allow=(receiver.allowed,)))
    hook = Hook(name="chat-room", url=receiver.url, topics=("hg.#",))
    assert poster.post(hook, secrets, webhook_id, body, time.time()).accepted
    return receiver.requests[-1]


def verify(secret: str, request: Request) -> None:
    Webhook(secret).verify(request.body, request.headers, json_parse=False)


def test_the_official_verifier_accepts_what_arrives_also_during_a_rotation() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    body = '{"data": {"text": "Grüße, 頑張れ \\u2028 \\\\"}}'.encode()
    with Receiver() as receiver:
        before = posted(receiver, [old], body)
        during = posted(receiver, [new, old], body)
        after = posted(receiver, [new], body)
    verify(old, before)
    verify(old, during)
    verify(new, during)
    verify(new, after)
    assert during.headers["webhook-signature"].count("v1,") == 2
    for secret, request in ((new, before), (other, during), (old, after)):
        with pytest.raises(WebhookVerificationError):
            verify(secret, request)
    changed = {**after.headers, "webhook-id": "msg_2"}
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(after.body, changed, json_parse=False)


@given(
    st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=3), st.text(), st.text(max_size=40), st.text()
)
def test_the_official_verifier_accepts_any_event(keys: list[bytes], text: str, source: str, id_: str) -> None:
    import base64

    secrets = ["whsec_" + base64.b64encode(key).decode() for key in keys]
    body = text.encode("utf-8", "ignore")
    webhook_id = webhook_id_of(source.encode("utf-8", "ignore").decode(), id_.encode("utf-8", "ignore").decode())
    now = int(time.time())
    signature = sign(secrets, webhook_id, now, body)
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(now), "webhook-signature": signature}
    for secret, key in zip(secrets, keys, strict=True):
        assert key_of(secret) == key
        Webhook(secret).verify(body, headers, json_parse=False)


def test_secrets_are_new_each_time_and_long_enough() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(key_of(secret)) for secret in secrets} == {32}


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_" + "A" * 100, "whsec_é", "whsec_!*"],
)
def test_a_secret_of_another_kind_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"must be whsec_ and 24 to 64 random bytes in base64$") as caught:
        key_of(secret)
    assert secret in ("", "whsec_") or secret not in str(caught.value)


def test_an_event_has_one_id_for_all_its_attempts_and_no_other_event_has_it() -> None:
    first = webhook_id_of("hg://host/repo", "a-1")
    assert first == webhook_id_of("hg://host/repo", "a-1")
    assert len({first, webhook_id_of("hg://host/repo", "a-2"), webhook_id_of("hg://host/rep", "oa-1")}) == 3
    assert first.startswith("msg_")
    assert "." not in first
