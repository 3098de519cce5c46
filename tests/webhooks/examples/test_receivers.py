# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The receivers of the examples use what is signed, fresh and new, once, and refuse the rest with the right status."""

from __future__ import annotations

import ast
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.events.wire import encode
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.post.post import Poster
from sourcepulse_web.webhooks.post.signature import new_secret, webhook_id_of
from sourcepulse_web.webhooks.settings import WebhookSettings
from support.fenced_blocks import blocks
from support.web.tree_events import Tree
from support.webhooks.example_receivers import FOLDER, PROGRAMS, ExampleReceiver, as_bytes, signed

#: Of the function that verifies, without its first two.
VERIFY_LINES_MAX = 12


OURS, OTHER = new_secret(), new_secret()


@pytest.fixture(scope="module", params=PROGRAMS)
def receiver(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleReceiver]:
    folder = tmp_path_factory.mktemp("receiver") / "here"
    with ExampleReceiver(request.param, folder, [OURS]) as started:
        yield started


def push(desc: str) -> tuple[str, bytes]:
    """Return the id of a new push as a webhook, and its bytes."""
    event = Tree("integration/inbound").push(desc)
    return f"msg_{secrets.token_hex(16)}", encode(event)


def test_what_is_signed_is_used_once_however_often_it_comes(receiver: ExampleReceiver) -> None:
    before = len(receiver.lines)
    webhook_id, body = push("Gr\u00fc\u00dfe an alle")
    for late_s in (0, 4, 290, -290):
        assert receiver.post(signed([OURS], webhook_id, body, at=time.time() - late_s), body) == 204
    other_id, other = push("Another")
    assert receiver.post(signed([OURS], other_id, other, at=time.time()), other) == 204
    receiver.wait_for(2, "integration/inbound")
    assert len([line for line in receiver.lines[before:] if "integration/inbound" in line]) == 2


def test_what_is_forged_changed_or_old_is_refused(receiver: ExampleReceiver) -> None:
    before = receiver.lines
    webhook_id, body = push("Forged")
    now = time.time()
    right = signed([OURS], webhook_id, body, at=now)
    cases: list[tuple[dict[str, str], bytes]] = [
        ({}, body),
        (signed([OTHER], webhook_id, body, at=now), body),
        (right, body + b" "),
        (right, body[:-1]),
        (right | {"webhook-id": "msg_another"}, body),
        (right | {"webhook-timestamp": str(int(now) - 1)}, body),
        (right | {"webhook-timestamp": f"{int(now)}.0"}, body),
        (right | {"webhook-timestamp": ""}, body),
        (right | {"webhook-timestamp": "9" * 5000}, body),
        (right | {"webhook-signature": ""}, body),
        (right | {"webhook-signature": "v1, v1a,AAAA \u00e4 v1,!"}, body),
        (right | {"webhook-signature": right["webhook-signature"].replace("v1,", "v2,")}, body),
        # Sent again by somebody who saw it ten minutes ago, or whose clock is wrong.
        (signed([OURS], webhook_id, body, at=now - 600), body),
        (signed([OURS], webhook_id, body, at=now + 600), body),
    ]
    assert [receiver.post(headers, sent) for headers, sent in cases] == [401] * len(cases)
    # It was not taken as seen, and comes with the next attempt.
    assert receiver.post(right, body) == 204
    receiver.wait_for(1 + len([line for line in before if "integration" in line]), "integration")


def test_while_a_secret_is_rotated_nothing_is_refused(receiver: ExampleReceiver) -> None:
    old, new = OURS, new_secret()

    def sends(*signers: str) -> int:
        webhook_id, body = push("While the secret is rotated")
        return receiver.post(signed(signers, webhook_id, body, at=time.time()), body)

    try:
        # The sender signs with both for a while, the new one first; the receiver changes in between.
        assert [sends(old), sends(new, old)] == [204, 204]
        receiver.set_secrets([new])
        assert [sends(new, old), sends(new)] == [204, 204]
        assert sends(old) == 401
        receiver.set_secrets([old, new])
        assert [sends(old), sends(new)] == [204, 204]
    finally:
        receiver.set_secrets([OURS])


def test_what_can_never_be_used_is_refused_and_is_not_taken_as_seen(receiver: ExampleReceiver) -> None:
    odd = as_bytes({"object_kind": "push"})
    for body in (b"[1]", b"not json", odd, odd):
        assert receiver.post(signed([OURS], "msg_cannot_be_used", body, at=time.time()), body) == 422
    big = b"x" * 5
    headers = signed([OURS], "msg_big", big, at=time.time()) | {"content-length": str(2 * 1024 * 1024)}
    assert receiver.post(headers, b"") == 413


def test_what_the_sender_posts_is_used_with_the_secret_of_its_hook_and_with_no_other(receiver: ExampleReceiver) -> None:
    poster = Poster(WebhookSettings(allow=(receiver.allowed,)))
    hook = Hook(name="chat-room", url=receiver.url, topics=("#",))
    event = Tree("integration/inbound").push("From the sender")
    webhook_id = webhook_id_of(event.source, event.id)
    right, wrong = new_secret(), new_secret()
    receiver.set_secrets([right])
    try:
        before = receiver.printed("integration/inbound")
        answers = [
            poster.post(hook, known, webhook_id, encode(event), at)
            for known, at in (
                ((wrong,), time.time()),
                ((right,), time.time() - 900),
                ((wrong, right), time.time()),
                ((right,), time.time()),
            )
        ]
        assert [answer.status for answer in answers] == [401, 401, 204, 204]
        receiver.wait_for(before + 1, "integration/inbound")
        assert receiver.printed("integration/inbound") == before + 1
    finally:
        receiver.set_secrets([OURS])


def test_a_hook_of_gitlab_and_one_of_ours_are_the_same_push(tmp_path: Path) -> None:
    gitlab_secret, node = new_secret(), "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"
    gitlab = {
        "object_kind": "push",
        "user_username": "alice",
        "project": {"path_with_namespace": "integration/inbound"},
        "commits": [{"id": "f" * 40}, {"id": node}],
    }
    with ExampleReceiver("webhook_gitlab.py", tmp_path / "here", [gitlab_secret, OURS]) as receiver:
        body = as_bytes(gitlab)
        theirs = signed([gitlab_secret], "f5e5f430-f57b-4e6e-9fac-d9128cd7232f", body, at=time.time())
        headers = theirs | {"content-type": "application/json", "x-gitlab-event": "Push Hook"}
        assert [receiver.post(headers, body) for _ in range(2)] == [204, 204]
        event = Tree("integration/inbound").push("One", "Two")
        sent = encode(event)
        assert receiver.post(signed([OURS], "msg_1", sent, at=time.time()), sent) == 204
        receiver.wait_for(2, "pushed")
        assert [line for line in receiver.lines if "pushed" in line] == [
            f"alice pushed 2 to integration/inbound, up to {node[:12]}",
            f"{event.data['user']} pushed 2 to integration/inbound, up to {event.data['changesets'][-1]['node'][:12]}",
        ]


def test_the_lines_that_verify_are_few_and_on_the_page_as_they_are() -> None:
    text = (FOLDER / "webhook_receiver.py").read_text(encoding="utf-8")
    (verify,) = [
        node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == "is_signed"
    ]
    source = ast.get_source_segment(text, verify)
    assert source is not None
    body = source.splitlines()[2:]
    assert len(body) <= VERIFY_LINES_MAX
    printed = [each for each in blocks("python") if each.page == "shared/docs/webhooks.md"]
    assert any("\n".join(body) in each.text for each in printed)
