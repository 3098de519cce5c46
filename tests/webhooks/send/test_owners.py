# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What owners do takes effect at once, also while a POST is under way: pause, edit, rotate, remove, test, resume."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from sourcepulse.errors import ConfigError, NothingThereError
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.hook import Handshake, State
from sourcepulse_web.webhooks.post.signature import new_secret
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.store import HookStore
from support.webhooks.receiver import Reply, Request, redirect
from support.webhooks.rig import EXCHANGE, FAST, Got, Rig, Room

#: So long that a test would notice if it were waited for.
PATIENT = Schedule(retry_s=(0.0, 300.0), poison_s=3_000.0)
FAILED = Reply(status=503)
LIMIT_SECONDS = 30.0


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path, schedule=PATIENT) as made:
        yield made


class Gate:
    """Holds the answers of a room back until it is opened, and then answers the one in flight as it is asked to."""

    def __init__(self, room: Room) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        self._reply: Reply | None = None
        room.answers = self._answer

    def wait_for_post(self) -> None:
        assert self._entered.wait(LIMIT_SECONDS), "nothing was POSTed"

    def open(self, reply: Reply | None = None) -> None:
        """Answer the POST that is held so, and all later ones with 204."""
        self._reply = reply
        self._open.set()

    def _answer(self, _: Request, _event: Got) -> Reply | None:
        is_first = not self._entered.is_set()
        self._entered.set()
        assert self._open.wait(LIMIT_SECONDS)
        return self._reply if is_first else None


def verifies(request: Request, secret: str) -> bool:
    """Return whether the official verifier accepts a request."""
    try:
        Webhook(secret).verify(request.body, dict(request.headers))
    except WebhookVerificationError:
        return False
    return True


def test_a_hook_that_is_paused_during_a_post_finishes_it_and_sends_no_more_until_it_is_resumed(rig: Rig) -> None:
    room, other = rig.hook("room"), rig.hook("other")
    gate = Gate(room)
    rig.start()
    sent = rig.publish(count=3)
    gate.wait_for_post()
    rig.pause("room")
    gate.open()
    rig.wait_until(lambda: rig.standing("room").delivered == 1)
    sent += rig.publish()
    rig.wait_until(lambda: other.got == sent)
    standing = rig.standing("room")
    assert (standing.state, standing.reason) == (State.PAUSED, "its owner paused it")
    assert len(room.receiver.requests) == 1
    rig.resume("room")
    rig.wait_until(lambda: room.got == sent)


def test_a_failure_during_a_pause_neither_parks_nor_delays_what_is_resumed(rig: Rig) -> None:
    room = rig.hook("room")
    gate = Gate(room)
    rig.start()
    sent = rig.publish(count=2)
    gate.wait_for_post()
    rig.pause("room")
    gate.open(FAILED)
    rig.wait_until(lambda: rig.attempts("room"))
    assert rig.standing("room").state is State.PAUSED
    rig.resume("room")
    rig.wait_until(lambda: room.got == sent)


def test_a_resume_tries_at_once_what_would_have_waited(rig: Rig) -> None:
    room = rig.hook("room")
    room.receiver.then(FAILED, Reply(status=422))
    rig.start()
    sent = rig.publish(count=2) + rig.publish(source="b")
    rig.wait_until(lambda: len(rig.attempts("room")) == 1)
    rig.resume("room")
    rig.wait_until(lambda: room.got == sent[2:])
    rig.wait_until(lambda: rig.figures("room").waiting == 2)
    rig.resume("room")
    rig.wait_until(lambda: room.got == [*sent[2:], *sent[:2]])


def test_an_event_is_set_aside_though_its_owner_has_it_tried_again_and_again(tmp_path: Path) -> None:
    schedule = Schedule(retry_s=(0.0, 3600.0), poison_tries=4, poison_s=3600.0)
    with Rig(tmp_path, schedule=schedule) as rig:
        room = rig.hook("room")
        room.answers = lambda *_: Reply(status=422)
        rig.start()
        rig.publish()
        for tries in range(1, 7):
            rig.wait_until(lambda tries=tries: len(rig.attempts("room")) == tries)
            (event,) = [each for at, each in rig.store.troubles.of("room").items() if at > 0]
            assert event.tries == tries, "each try counts"
            assert rig.figures("room").set_aside == 0, "not before the hour is over"
            rig.resume("room")
        rig.wait_until(lambda: len(rig.attempts("room")) == 7)
        # An hour later.
        rig.stop()
        rig.store.troubles.put("room", {1: event._replace(first_at=event.first_at - 3600)})
        rig.start()
        rig.resume("room")
        rig.wait_until(lambda: rig.figures("room").set_aside == 1)
        rig.resume("room")
        assert rig.standing("room").failing_since is None


def test_a_hook_that_did_not_send_begins_again_when_it_is_resumed(rig: Rig) -> None:
    room = rig.hook("room")
    room.answers = lambda *_: Reply(status=422)
    rig.start()
    rig.publish()
    rig.wait_until(lambda: len(rig.attempts("room")) == 1)
    rig.pause("room")
    rig.resume("room")
    rig.wait_until(lambda: len(rig.attempts("room")) == 2)
    (event,) = [each for at, each in rig.store.troubles.of("room").items() if at > 0]
    assert event.tries == 1


@pytest.mark.parametrize("change", ["resume", "redirect"])
@pytest.mark.parametrize("failures", [1, 3])
def test_a_failing_hook_whose_owner_has_it_tried_at_once_is_reported_as_resumed_if_it_was_as_failing(
    tmp_path: Path, failures: int, change: str
) -> None:
    with Rig(tmp_path, schedule=Schedule(retry_s=(0.0, *[0.05] * (failures - 1), 300.0))) as rig:
        room, other = rig.hook("room"), rig.hook("other", "hg.none")
        room.answers = lambda *_: FAILED
        rig.start()
        sent = rig.publish()
        rig.wait_until(lambda: len(rig.attempts("room")) == failures)
        room.answers = lambda *_: None
        if change == "resume":
            rig.resume("room")
        else:
            with HookStore(tmp_path / "webhooks.db") as store, HookQueues(tmp_path / "log.db", EXCHANGE) as queues:
                Desk(store, queues, rig.settings).edit("room", url=other.receiver.url, owner="alice@example.org")
        rig.wait_until(lambda: room.got + other.got == sent)
        rig.wait_idle("room")
        rig.stop()
        heard = [("failing", "room", "status"), ("resumed", "room", "owner")]
        assert rig.bus() == (heard if failures == 3 else [])


@pytest.mark.parametrize("answer", [FAILED, Reply(status=410), Reply(status=422), redirect("/new")], ids=str)
def test_what_the_former_receiver_answers_after_an_edit_means_nothing(rig: Rig, answer: Reply) -> None:
    former, new = rig.hook("room"), Room("new")
    gate = Gate(former)
    rig.rooms["new receiver"] = new
    rig.start()
    sent = rig.publish(count=3)
    gate.wait_for_post()
    rig.redirect("room", new.receiver.url)
    rig.wait_until(lambda: rig.store.hook("room").url == new.receiver.url)  # type: ignore[union-attr]
    gate.open(answer)
    rig.wait_until(lambda: new.got == sent)
    assert former.got == []
    assert rig.standing("room").state is State.ON
    del rig.rooms["new receiver"]
    new.receiver.stop()


def test_another_url_is_tried_at_once_although_the_former_one_failed(rig: Rig) -> None:
    former, new = rig.hook("room"), rig.hook("other", "hg.none")
    former.answers = lambda *_: FAILED
    rig.start()
    sent = rig.publish(count=3)
    rig.wait_until(lambda: len(rig.attempts("room")) == 1)
    rig.redirect("room", new.receiver.url)
    rig.wait_until(lambda: new.got == sent)


def test_both_secrets_sign_after_a_rotation_until_the_former_one_ends(rig: Rig) -> None:
    room = rig.hook("room")
    (former,) = room.secrets
    gate = Gate(room)
    rig.start()
    rig.publish()
    gate.wait_for_post()
    secret = new_secret()
    now = time.time()
    rig.store.rotate("room", secret, now + 3, now)
    gate.open()
    rig.publish(count=2)
    rig.wait_until(lambda: len(room.got) == 3)
    before, *during = room.receiver.requests
    assert (verifies(before, former), verifies(before, secret)) == (True, False)
    assert all(verifies(each, former) and verifies(each, secret) for each in during)
    rig.wait_until(lambda: time.time() > now + 3)
    rig.publish()
    rig.wait_until(lambda: len(room.got) == 4)
    after = room.receiver.requests[-1]
    assert (verifies(after, former), verifies(after, secret)) == (False, True)
    third = new_secret()
    rig.store.rotate("room", third, 0.0, time.time())
    rig.wait_until(lambda: rig.publish() and verifies(room.receiver.requests[-1], third), seconds=LIMIT_SECONDS)
    assert not verifies(room.receiver.requests[-1], secret)


def test_a_hook_that_is_removed_during_a_post_is_sent_nothing_more_nor_is_the_next_of_its_name(rig: Rig) -> None:
    room, other = rig.hook("room"), rig.hook("other")
    gate = Gate(room)
    rig.start()
    sent = rig.publish(count=5)
    gate.wait_for_post()
    rig.store.remove("room")
    rig.queues.remove("room")
    again = rig.hook("room")
    gate.open(FAILED)
    sent += rig.publish()
    rig.wait_until(lambda: other.got == sent and again.got == sent[5:])
    assert len(room.receiver.requests) == 1
    assert [each.outcome for each in rig.attempts("room")] == ["delivered"]
    room.receiver.stop()


def test_a_test_is_posted_at_once_whatever_the_state_and_changes_nothing(rig: Rig) -> None:
    room = rig.hook("room")
    rig.start()
    for state in (State.ON, State.PAUSED, State.PARKED, State.OFF):
        rig.store.update_standing("room", lambda was, to=state: replace(was, state=to))  # type: ignore[misc]
        room.receiver.then(Reply(status=410, body=b"gone"))
        number = rig.store.ask_test("room", time.time())
        rig.wait_until(lambda asked=number: rig.store.test_result(asked) is not None)  # type: ignore[misc]
        attempt = rig.store.test_result(number)
        assert attempt is not None
        assert (attempt.outcome, attempt.status, attempt.excerpt, attempt.position) == ("gone", 410, "gone", 0)
        assert rig.standing("room").state is state
    bodies = [json.loads(each.body) for each in room.receiver.requests]
    assert {each["type"] for each in bodies} == {"system.webhook.test.v1"}
    assert len({each["id"] for each in bodies}) == len(bodies)
    assert all(verifies(each, room.secrets[0]) for each in room.receiver.requests)


def test_what_an_admin_pauses_posts_no_test_that_was_asked_for_before_and_posts_those_of_the_admin(rig: Rig) -> None:
    room = rig.hook("room", "none")
    desk = Desk(rig.store, rig.queues, rig.settings)
    gate = Gate(room)
    rig.start()
    owner = "alice@example.org"
    first, *others = [desk.test("room", owner=owner) for _ in range(4)]
    gate.wait_for_post()
    desk.pause("room")
    gate.open()
    last = desk.test("room")
    for each in (first, last):
        rig.wait_until(lambda asked=each: desk.test_result(asked) is not None)  # type: ignore[misc]
    assert len(room.receiver.requests) == 2
    for each in others:
        with pytest.raises(NothingThereError):
            desk.test_result(each)
    with pytest.raises(ConfigError):
        desk.test("room", owner=owner)
    assert rig.store.tests() == []


def test_without_consent_nothing_is_posted_where_it_is_required_and_it_is_asked_for_again(tmp_path: Path) -> None:
    with Rig(tmp_path, schedule=FAST, origin="tree.example.org") as rig:
        required = rig.hook("required", handshake=Handshake.REQUIRE)
        tried = rig.hook("tried", handshake=Handshake.TRY)
        for room in (required, tried):
            room.receiver.then(Reply(status=200), times=1 if room is tried else 3)
        rig.start()
        sent = rig.publish(count=3)
        rig.wait_until(lambda: required.got == sent and tried.got == sent)
        methods = [each.method for each in required.receiver.requests]
        assert methods == ["OPTIONS"] * 4 + ["POST"] * 3
        assert {each.headers["webhook-request-origin"] for each in required.receiver.requests} == {"tree.example.org"}
        assert [each.method for each in tried.receiver.requests] == ["OPTIONS"] + ["POST"] * 3
        assert "WebHook-Allowed-Origin" in rig.attempts("required")[0].reason


def test_consent_that_was_given_to_another_origin_is_asked_for_again(tmp_path: Path) -> None:
    with Rig(tmp_path, origin="tree.example.org") as rig:
        room = rig.hook("room", handshake=Handshake.REQUIRE)
        other = Reply(headers=(("webhook-allowed-origin", "tree.example.org"), ("webhook-allowed-rate", "*")))
        room.receiver.then(other)
        rig.start()
        sent = rig.publish(count=2)
        rig.wait_until(lambda: room.got == sent)
        rig.settings = replace(rig.settings, origin="pulse.example.org")
        # It still knows the former name only, and then the new one.
        room.receiver.then(other)
        rig.start()
        sent += rig.publish()
        rig.wait_until(lambda: room.got == sent)
        asked = [each.headers["webhook-request-origin"] for each in room.receiver.requests if each.method == "OPTIONS"]
        assert asked == ["tree.example.org", *["pulse.example.org"] * 2]
        assert "consents to another sender" in rig.attempts("room")[2].reason
        assert rig.store.consent("room").origin == "pulse.example.org"  # type: ignore[union-attr]


def test_no_more_is_posted_than_the_receiver_consented_to(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        room = rig.hook("room", handshake=Handshake.REQUIRE)
        room.receiver.then(Reply(headers=(("webhook-allowed-origin", "*"), ("webhook-allowed-rate", "120"))))
        rig.start()
        sent = rig.publish(count=4)
        rig.wait_until(lambda: room.got == sent)
        times = [each.at for each in room.receiver.requests if each.method == "POST"]
        assert all(later - former >= 0.45 for former, later in pairwise(times))


def test_a_hook_that_the_sender_itself_fails_at_is_parked_and_the_others_go_on(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        room, other = rig.hook("room"), rig.hook("other")
        room.answers = lambda *_: Reply(status=422)
        rig.start()
        rig.publish()
        rig.wait_until(lambda: rig.attempts("room"))
        rig.stop()
        with sqlite3.connect(tmp_path / "webhooks.db") as db:
            db.execute("UPDATE troubles SET tries = 'many' WHERE position > 0")
        db.close()
        rig.start()
        sent = rig.publish(count=5)
        rig.wait_until(lambda: len(other.got) == 6)
        rig.wait_until(lambda: rig.standing("room").state is State.PARKED)
        assert "error of its own (TypeError)" in rig.standing("room").reason
        room.answers = lambda *_: None
        rig.resume("room")
        rig.wait_until(lambda: room.got[1:] == sent)
        rig.stop()
        assert ("parked", "room", "fault") in rig.bus()


def test_eighty_slow_receivers_and_as_many_tests_keep_no_other_hook_and_no_other_owners_test_waiting(
    tmp_path: Path,
) -> None:
    with Rig(tmp_path, post_seconds=120.0) as rig:
        good, slow, tested = rig.hook("good", "hg.push.chat"), Room("slow"), Room("tested")
        bobs = rig.hook("bobs", "none")
        hook = rig.store.hook("bobs")
        assert hook is not None
        rig.store.change(replace(hook, owner="bob@example.org"))
        may_answer = threading.Event()
        for room in (slow, tested):
            room.answers = lambda *_: None if may_answer.wait(LIMIT_SECONDS * 4) else FAILED
        for number in range(80):
            rig.hook(f"slow{number}", "hg.push.noise", url=slow.receiver.url)
        for number in range(10):
            rig.hook(f"tested{number}", "none", url=tested.receiver.url)
        rig.publish("noise")
        rig.start()
        for _ in range(8):
            asked = [rig.store.ask_test(f"tested{number}", time.time()) for number in range(10)]
        rig.wait_until(lambda: len(slow.receiver.requests) == 80 and tested.receiver.requests)
        sent = rig.publish("chat", count=8)
        rig.wait_until(lambda: good.got == sent)
        number = rig.store.ask_test("bobs", time.time())
        rig.wait_until(lambda: rig.store.test_result(number) is not None)
        assert len(bobs.receiver.requests) == 1
        assert rig.attempts("slow0") == []
        may_answer.set()
        rig.wait_until(lambda: all(rig.store.test_result(each) is not None for each in asked))
        rig.wait_idle("slow79")
        rig.stop()
        for room in (slow, tested):
            room.receiver.stop()


@pytest.mark.parametrize("is_running", [True, False])
def test_topics_that_only_the_store_has_are_those_of_the_queue_soon(rig: Rig, is_running: bool) -> None:
    """A process that changes topics may be killed between the two files."""
    room, other = rig.hook("room", "hg.push.one"), rig.hook("other")
    if is_running:
        rig.start()
    hook = rig.store.hook("room")
    assert hook is not None
    rig.store.change(replace(hook, topics=("hg.push.two",)))
    if not is_running:
        rig.start()
    rig.wait_until(lambda: rig.queues.topics("room") == ("hg.push.two",))
    sent = rig.publish("one") + rig.publish("two")
    rig.wait_until(lambda: other.got == sent)
    rig.wait_until(lambda: room.got == sent[1:])


def test_a_queue_whose_hook_is_gone_is_removed_an_hour_later_and_none_that_is_used(rig: Rig) -> None:
    """A process that removes a hook may be killed between the two files."""
    room = rig.hook("room")
    rig.hook("gone")
    rig.store.remove("gone")
    rig.start()
    sent = rig.publish()
    rig.wait_until(lambda: room.got == sent)
    assert rig.queues.topics("gone") == ("#",)
    rig.start(clock=lambda: time.time() + 4_000)
    rig.wait_until(lambda: rig.queues.topics("gone") is None)
    sent += rig.publish()
    rig.wait_until(lambda: room.got == sent)
