# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`sourcepulse webhook` while a real sender POSTs to real receivers: what it changes takes effect at once."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from sourcepulse_web.pages.hooks.words import state_of, waits
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.settings import Schedule
from support.webhooks.hook_site import HookSite
from support.webhooks.receiver import Manner, Receiver, Reply, Request
from support.webhooks.rig import Rig

#: A failed event is not tried again within a test, unless somebody asks for it.
NEVER = 3600.0
SLOW = Schedule(retry_s=(NEVER,), poison_s=NEVER, park_s=100 * NEVER)
#: "Within a second", under load.
SOON_SECONDS = 30.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path, schedule=SLOW) as rig:
        rig.start()
        yield rig


@pytest.fixture
def site(rig: Rig, receiver: Receiver) -> HookSite:
    site = HookSite(rig.folder, f'allow = ["{receiver.allowed}"]')
    rig.wait_until(lambda: rig.store.sender_seen_at() is not None)
    return site


def verifies(secret: str, request: Request) -> bool:
    """Return whether the published verifier accepts a request."""
    try:
        Webhook(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


def test_from_sign_up_to_the_first_event(site: HookSite, rig: Rig, receiver: Receiver) -> None:
    ran = site.ok("add", "chat", receiver.url, "--topic", "hg.push.#")
    assert "the sender does not run" not in ran.stderr
    secret = ran.stdout.strip()
    tested = site.ok("test", "chat")
    assert tested.stdout.startswith("204 after 0.")
    (test,) = receiver.wait_for(1)
    assert verifies(secret, test)
    assert json.loads(test.body)["type"] == "system.webhook.test.v1"
    rig.publish(count=2)
    rig.wait_until(lambda: len(receiver.requests) == 3, SOON_SECONDS)
    rig.wait_until(lambda: rig.figures("chat").waiting == 0)
    whole = json.loads(site.ok("show", "chat", "--json").stdout)
    assert (whole["delivered"], whole["waiting"], len(whole["attempts"])) == (2, 0, 3)
    position = whole["attempts"][0]["number"]
    assert site.ok("redeliver", "chat", str(position)).stdout == "1 event will be POSTed again to chat\n"
    rig.wait_until(lambda: len(receiver.requests) == 4, SOON_SECONDS)
    _, _, last, again = receiver.requests
    assert again.headers["webhook-id"] == last.headers["webhook-id"]
    assert again.body == last.body
    # A test is not an event of the log.
    test_number = str(whole["attempts"][-1]["number"])
    assert "is a test; send another one" in site.run("redeliver", "chat", test_number).stderr
    assert site.ok("redeliver", "chat", "--since", "1h").stdout.startswith("2 events will be POSTed again to chat\n")
    rig.wait_until(lambda: len(receiver.requests) == 6, SOON_SECONDS)


def test_a_test_shows_what_is_wrong_with_a_receiver_and_fails(site: HookSite, receiver: Receiver) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#")
    receiver.then(Reply(status=500, body=b"out of \x1b[31mrooms"))
    ran = site.run("test", "chat")
    assert ran.returncode == 1
    assert ran.stdout.splitlines()[0].startswith("500 after 0.")
    assert "  out of \\x1b[31mrooms" in ran.stdout
    receiver.then(Reply(manner=Manner.NEVER))
    ran = site.run("test", "chat", "--json")
    assert ran.returncode == 1
    attempt = json.loads(ran.stdout)
    assert attempt["status"] is None
    assert attempt["reason"]
    assert f"not tried yet; the last test failed: {attempt['reason']}" in site.ok("show", "chat").stdout
    # Also while nothing else is POSTed.
    site.ok("pause", "chat")
    assert site.ok("test", "chat").stdout.startswith("204")


def test_what_is_changed_takes_effect_at_once(site: HookSite, rig: Rig, receiver: Receiver) -> None:
    first = site.ok("add", "chat", receiver.url, "--topic", "#").stdout.strip()
    site.ok("pause", "chat")
    # The sender has seen it once a test that was asked for later is answered.
    site.ok("test", "chat")
    rig.publish()
    site.ok("test", "chat")
    assert len(receiver.requests) == 2
    assert rig.figures("chat").waiting == 1
    assert site.ok("resume", "chat").stdout == "chat is on again, 1 event waiting\n"
    rig.wait_until(lambda: len(receiver.requests) == 3, SOON_SECONDS)
    second = site.ok("rotate", "chat").stdout.strip()
    site.ok("test", "chat")
    request = receiver.requests[-1]
    assert (verifies(first, request), verifies(second, request)) == (True, True)
    third = site.ok("rotate", "chat", "--now").stdout.strip()
    site.ok("test", "chat")
    request = receiver.requests[-1]
    assert [verifies(each, request) for each in (first, second, third)] == [False, False, True]
    site.ok("edit", "chat", "--topic", "bugzilla.#")
    rig.publish()
    site.ok("test", "chat")
    assert rig.figures("chat").waiting == 0
    site.ok("remove", "chat", "--apply")
    rig.publish()
    time.sleep(0.5)
    assert len(receiver.requests) == 6


def test_a_hook_that_fails_is_tried_at_once_after_resume_and_after_another_url(
    site: HookSite, rig: Rig, receiver: Receiver
) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#")
    receiver.usual = Reply(status=503)
    sent = rig.publish(count=2)
    rig.wait_until(lambda: rig.standing("chat").failing_since is not None)
    shown = site.ok("show", "chat").stdout
    assert "failing for" in shown
    assert "the next attempt is due in" in shown
    receiver.usual = Reply()
    site.ok("resume", "chat")
    rig.wait_until(lambda: rig.figures("chat").waiting == 0, SOON_SECONDS)
    assert len(receiver.requests) == len(sent) + 1
    receiver.usual = Reply(status=503)
    rig.publish()
    rig.wait_until(lambda: rig.standing("chat").failing_since is not None)
    receiver.usual = Reply()
    site.ok("edit", "chat", "--url", f"{receiver.url}/other")
    rig.wait_until(lambda: rig.figures("chat").waiting == 0, SOON_SECONDS)
    assert receiver.requests[-1].path.endswith("/other")
    assert json.loads(site.ok("list", "--json").stdout)["state"] == "working"


def test_after_a_test_that_a_failing_hook_accepted_everything_shows_what_sends_the_events_that_wait(
    site: HookSite, rig: Rig, receiver: Receiver
) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#")
    receiver.then(Reply(status=503))
    rig.publish()
    rig.wait_until(lambda: rig.standing("chat").failing_since is not None)
    hint = "the last test was accepted; 1 event waits; `sourcepulse webhook resume chat` sends it at once"
    assert "the last test" not in site.ok("show", "chat").stdout
    tested = site.ok("test", "chat").stdout.splitlines()
    assert (tested[0].startswith("204 after"), tested[-1]) == (True, hint)
    shown = site.ok("show", "chat").stdout
    assert re.search(r"\ntrouble +[^\n]*503[^\n]*; the next attempt is due in", shown)
    assert f"\ntest       {hint}\n" in shown
    listed = site.ok("list")
    assert (" 204 to a test " in listed.stdout, f"chat: {hint}" in listed.stderr) == (True, True)
    (card,) = Desk(rig.store, rig.queues, rig.settings).list()
    assert "; the last test was accepted: Try now sends what waits at once" in waits(card, time.time())
    site.ok("resume", "chat")
    rig.wait_until(lambda: rig.figures("chat").waiting == 0, SOON_SECONDS)
    assert "the last test" not in site.ok("test", "chat").stdout + site.ok("show", "chat").stdout


def test_redeliver_says_for_how_long_the_events_of_a_failing_hook_wait(
    site: HookSite, rig: Rig, receiver: Receiver
) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#")
    rig.publish(count=2)
    rig.wait_until(lambda: rig.standing("chat").delivered == 2)
    assert site.ok("redeliver", "chat", "--failed").stdout == "nothing is set aside\n"
    receiver.usual = Reply(status=503)
    rig.publish()
    rig.wait_until(lambda: rig.standing("chat").failing_since is not None)
    ran = site.ok("redeliver", "chat", "--since", "1h")
    assert ran.stdout.startswith("2 events will be POSTed again to chat\n")
    assert re.search(
        r"chat is failing, the next attempt is due in \d+ \w+; at once: sourcepulse webhook resume chat", ran.stderr
    )
    ran = site.ok("redeliver", "chat", "--failed")
    assert ran.stdout == "nothing is set aside; 3 wait: sourcepulse webhook resume chat\n"


def test_a_refused_event_is_named_while_other_sources_go_on(site: HookSite, rig: Rig, receiver: Receiver) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#", "--handshake", "require")
    rig.wait_until(lambda: "handshake  require; " in site.ok("show", "chat").stdout)
    receiver.then(Reply(headers=(("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "*"))), Reply(status=422))
    rig.publish(source="a", count=2)
    rig.wait_until(lambda: json.loads(site.ok("list", "--json").stdout)["refused"] == 1)
    rig.publish(source="b")
    rig.wait_until(lambda: rig.standing("chat").delivered == 1)
    shown = site.ok("show", "chat").stdout
    assert "state      working" in shown
    assert "refused    1 of them, tried again, the first of them in" in shown
    assert "handshake  require; granted, " in shown
    site.ok("resume", "chat")
    rig.wait_until(lambda: rig.figures("chat").waiting == 0, SOON_SECONDS)


def test_a_receiver_that_refuses_every_event_is_failing_on_the_bus_the_page_and_in_the_list_until_it_accepts_one(
    site: HookSite, rig: Rig, receiver: Receiver
) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#")
    receiver.usual = Reply(status=401)
    for source in "ab":
        rig.publish(source=source)
    rig.wait_until(lambda: len(rig.attempts("chat")) == 2)
    assert "refuses every event" not in site.ok("show", "chat").stdout
    rig.publish(source="c")
    rig.wait_until(lambda: len(rig.attempts("chat")) == 3)
    shown = site.ok("show", "chat").stdout
    assert "state      failing for" in shown
    assert "trouble    the receiver refuses every event, at last with 401; the next attempt is due in" in shown
    assert "failing  3" in re.sub(" +", "  ", site.ok("list").stdout)
    (card,) = Desk(rig.store, rig.queues, rig.settings).list()
    assert (state_of(card).word, "every event is refused, at last with 401" in waits(card, time.time())) == (
        "failing", True,
    )  # fmt: skip
    receiver.usual = Reply()
    rig.publish(source="d")
    rig.wait_until(lambda: rig.standing("chat").delivered == 1)
    assert "state      working" in site.ok("show", "chat").stdout
    rig.stop()
    assert rig.bus() == [("failing", "chat", "refused"), ("resumed", "chat", "delivered")]


def test_a_hook_that_its_receiver_switched_off_comes_back_with_resume(
    site: HookSite, rig: Rig, receiver: Receiver
) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#")
    receiver.then(Reply(status=410))
    rig.publish(count=2)
    rig.wait_until(lambda: json.loads(site.ok("list", "--json").stdout)["state"] == "off")
    shown = site.ok("show", "chat").stdout
    assert "way back   sourcepulse webhook resume chat, or sourcepulse webhook remove chat --apply" in shown
    assert "chat is off; first: sourcepulse webhook resume chat" in site.ok("redeliver", "chat", "--since", "1h").stderr
    site.ok("resume", "chat")
    rig.wait_until(lambda: rig.figures("chat").waiting == 0, SOON_SECONDS)
    assert len(receiver.requests) == 3


def test_a_sender_that_ended_is_named_by_test(site: HookSite, rig: Rig, receiver: Receiver) -> None:
    site.ok("add", "chat", receiver.url, "--topic", "#")
    assert "does not run" not in site.ok("resume", "chat").stderr
    rig.stop()
    assert "the sender does not run" in site.ok("resume", "chat").stderr, "at once"
    ran = site.run("test", "chat")
    assert (ran.returncode, "`sourcepulse web` starts it" in ran.stderr) == (3, True)
