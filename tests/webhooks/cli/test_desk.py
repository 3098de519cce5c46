# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What users and admins do with hooks, on a real store and a real log."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sourcepulse.errors import ConfigError, NothingThereError
from sourcepulse_web.webhooks.desk.card import Look
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.desk.opening import open_desk
from sourcepulse_web.webhooks.errors import AddressRefusedError, HookExistsError, UnknownHookError
from sourcepulse_web.webhooks.hook import Attempt, State
from sourcepulse_web.webhooks.place import Place
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Trouble
from sourcepulse_web.webhooks.store.store import HookStore
from support.brokers.embedded_log import log_url, publish_events, push_event
from support.events.bugzilla_events import Site, withheld

URL = "http://127.0.0.1:9/in"
ALICE, BOB = "alice@example.org", "bob@example.org"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    settings = WebhookSettings(allow=("127.0.0.1:9", "localhost:9"), hooks_max=6, owner_hooks_max=3)
    return Place(settings=settings, log=tmp_path / "log.db", exchange="sourcepulse", store=tmp_path / "webhooks.db")


@pytest.fixture
def desk(place: Place) -> Iterator[Desk]:
    with open_desk(place) as desk:
        yield desk


def publish(place: Place, *numbers: int) -> None:
    publish_events(log_url(place.log.parent), *map(push_event, numbers))


def refuse(place: Place, name: str, position: int, id_: str, source: str = "hg://host/repo") -> Attempt:
    """Set an event aside as the sender does, after one attempt."""
    attempt = Attempt(
        hook=name, at=time.time(), position=position, webhook_id=f"msg_{position:032}", source=source, id=id_,
        type="hg.push.v1", routing_key="hg.push.repo", tries=5, outcome="refused", status=422, reason="", took_s=0.1,
        excerpt="no such room",
    )  # fmt: skip
    with HookQueues(place.log, place.exchange) as queues, HookStore(place.store) as store:
        store.attempts.record([attempt])
        assert position in [held.position for held in queues.look(name, 100)]
        assert queues.set_aside(name, position, "422")
    return attempt


def test_a_new_hook_has_a_secret_and_gets_the_events_of_now_on(desk: Desk, place: Place) -> None:
    desk.add("other", URL, ["#"])
    publish(place, 1, 2)
    added = desk.add("chat-room", URL, ["hg.push.#", "hg.push.#"], owner=ALICE)
    publish(place, 3)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", added.secret)
    assert added.secret not in repr(added)
    card = desk.show("chat-room")
    assert (card.look, card.figures.waiting, card.figures.set_aside, card.last) == (Look.NOT_TRIED, 1, 0, None)
    assert (card.hook.topics, card.hook.owner) == (("hg.push.#",), ALICE)
    assert desk.matches(["hg.push.#"]).count == 3
    assert desk.matches(["bugzilla.#"]).count == 0
    assert place.store.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_a_hook_is_refused_and_stores_nothing(desk: Desk, place: Place, tmp_path: Path) -> None:
    desk.add("known", URL, ["#"])
    with pytest.raises(HookExistsError, match="choose another name"):
        desk.add("known", URL, ["#"])
    for name, url, topics, words in (
        ("Chat Room", URL, ["#"], "small letters"),
        ("chat", "ftp://host/", ["#"], "https"),
        ("chat", "https://user:word@chat.example.org/", ["#"], "password"),
        ("chat", URL, [], "at least one topic"),
        ("chat", URL, ["hg..push"], "hg..push"),
        # One such topic would keep every publisher busy.
        ("chat", URL, [".".join(["#"] * 6_000)], "has 11,999 bytes"),
        ("chat", URL, ["#.a.#.b.#.c.#.d.#"], "more than 4 words '#'"),
        ("chat", "https://10.0.0.1/", ["#"], "not a public address"),
    ):
        with pytest.raises(ConfigError, match=words):
            desk.add(name, url, topics)
    with pytest.raises(ConfigError, match="whsec_"):
        desk.add("chat", URL, ["#"], secret="hunter2")
    with pytest.raises(ConfigError, match="bearer token"):
        desk.add("chat", URL, ["#"], bearer_file=str(tmp_path / "none"))
    assert [card.hook.name for card in desk.list()] == ["known"]


def test_a_name_that_leads_into_a_network_is_refused_at_sign_up_and_one_that_is_not_found_is_a_doubt(
    place: Place,
) -> None:
    addresses = {"split.example.org": ["93.184.215.14", "10.0.0.1"], "good.example.org": ["93.184.215.14"]}

    def lookup(host: str, port: int, _: float) -> list[tuple[int, Any]]:
        if host not in addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, (address, port)) for address in addresses[host]]

    with HookStore(place.store) as store, HookQueues(place.log, place.exchange) as queues:
        desk = Desk(store, queues, place.settings, lookup=lookup)
        with pytest.raises(AddressRefusedError, match=r"split\.example\.org has an address that is not public"):
            desk.add("inside", "https://split.example.org/", ["#"])
        assert desk.add("good", "https://good.example.org/", ["#"]).doubt == ""
        doubt = desk.add("later", "https://later.example.org/in", ["#"]).doubt
        assert "later.example.org cannot be looked up" in doubt
        assert doubt.endswith("events wait until it is found")
        with pytest.raises(AddressRefusedError):
            desk.edit("good", url="https://split.example.org/")
        assert [card.hook.url for card in desk.list()] == ["https://good.example.org/", "https://later.example.org/in"]


def test_limits_are_named_with_their_setting(desk: Desk) -> None:
    for name in ("a", "b", "c"):
        desk.add(name, URL, ["#"], owner=ALICE)
    with pytest.raises(ConfigError, match=r"alice@example.org may have 3 webhooks.*owner_hooks_max"):
        desk.add("d", URL, ["#"], owner=ALICE)
    for name in ("d", "e", "f"):
        desk.add(name, URL, ["#"])
    with pytest.raises(ConfigError, match="owner_hooks_max"):
        desk.edit("d", new_owner=ALICE)
    desk.edit("a", new_owner=ALICE)
    with pytest.raises(ConfigError, match=r"there may be 6 webhooks.*hooks_max"):
        desk.add("g", URL, ["#"], owner=BOB)


def test_an_owner_finds_nothing_of_others(desk: Desk, place: Place) -> None:
    desk.add("alices", URL, ["#"], owner=ALICE)
    desk.add("bobs", URL, ["#"], owner=BOB)
    publish(place, 1)
    assert [card.hook.name for card in desk.list(ALICE)] == ["alices"]
    calls = (
        lambda name: desk.show(name, owner=ALICE),
        lambda name: desk.test(name, owner=ALICE),
        lambda name: desk.pause(name, owner=ALICE),
        lambda name: desk.resume(name, owner=ALICE),
        lambda name: desk.redeliver(name, failed=True, owner=ALICE),
        lambda name: desk.redeliver(name, "1", owner=ALICE),
        lambda name: desk.redeliver(name, since=0.0, owner=ALICE),
        lambda name: desk.drop(name, 1, owner=ALICE),
        lambda name: desk.rotate(name, owner=ALICE),
        lambda name: desk.edit(name, url=URL, owner=ALICE),
        lambda name: desk.remove(name, owner=ALICE),
    )
    before = desk.show("bobs")
    for call in calls:
        words = []
        for name in ("bobs", "bobz"):
            with pytest.raises(UnknownHookError) as refused:
                call(name)
            words.append(str(refused.value).replace(name, "NAME"))
        # A hook of another owner is as unknown as one that is not there.
        assert words[0] == words[1]
        assert "did you mean 'bobs'" not in words[1]
    assert desk.show("bobs") == before
    with pytest.raises(UnknownHookError, match="did you mean 'alices'"):
        desk.show("alice", owner=ALICE)


def test_pause_and_resume_keep_what_waits_and_forget_what_failed(desk: Desk, place: Place) -> None:
    desk.add("chat", URL, ["#"], owner=ALICE)
    publish(place, 1)
    desk.pause("chat", owner=ALICE)
    card = desk.show("chat")
    assert (card.look, card.standing.reason) == (Look.PAUSED, "its owner paused it")
    assert card.figures.waiting == 1
    desk.resume("chat")
    assert desk.show("chat").look is Look.NOT_TRIED
    desk.pause("chat")
    assert desk.show("chat").standing.reason == "an admin paused it"
    desk.resume("chat")
    with HookStore(place.store) as store:
        store.update_standing("chat", lambda was: replace(was, failing_since=1.0, next_at=2.0))
        store.troubles.put("chat", {1: Trouble(3, 1.0, 2.0, 503, "retry")})
        assert desk.show("chat").look is Look.FAILING
        desk.resume("chat")
        (trouble,) = store.troubles.of("chat").values()
        assert (trouble.tries, trouble.next_at) == (3, 2.0), "one more try"
        for state in (State.PARKED, State.OFF):
            store.update_standing("chat", lambda was, to=state: replace(was, state=to, reason="why", failing_since=1.0))
            desk.pause("chat", owner=ALICE)
            assert desk.show("chat").look.value == state.value
            desk.resume("chat")
            standing = desk.show("chat").standing
            assert (standing.state, standing.reason, standing.failing_since) == (State.ON, "", None)


def test_what_is_set_aside_is_shown_redelivered_by_any_of_its_names_and_dropped(desk: Desk, place: Place) -> None:
    desk.add("chat", URL, ["#"])
    publish(place, 1, 2)
    first, second = (push_event(number).id for number in (1, 2))
    names = [first, f"msg_{1:032}"]
    for name in names:
        refuse(place, "chat", 1, first)
        (refused,) = desk.show("chat").set_aside
        assert (refused.event.id, refused.attempt and refused.attempt.excerpt) == (first, "no such room")
        assert desk.redeliver("chat", name).events == 1
        assert desk.show("chat").set_aside == ()
        assert desk.redeliver("chat", name) == (0, 0, 0, 1)
    refuse(place, "chat", 1, first)
    number = desk.show("chat").attempts[0].number
    assert desk.redeliver("chat", str(number)).events == 1
    refuse(place, "chat", 1, first)
    refuse(place, "chat", 2, second)
    assert desk.redeliver("chat", failed=True) == (2, 0, 0, 0)
    refuse(place, "chat", 2, second)
    assert desk.drop("chat", second).id == second
    assert desk.show("chat").figures.waiting == 1
    for unknown in (first, "nothing"):
        with pytest.raises(NothingThereError, match="webhook show chat"):
            desk.drop("chat", unknown)
    with pytest.raises(NothingThereError, match="no attempt for 'nothing'"):
        desk.redeliver("chat", "nothing")
    # The first one waits already.
    assert desk.redeliver("chat", since=0.0).events == 1


def test_in_a_log_that_replaced_another_one_an_id_means_the_same_event_or_none(desk: Desk, place: Place) -> None:
    desk.add("chat", URL, ["hg.push.repo"])
    publish(place, 1, 2)
    first, second = (push_event(number).id for number in (1, 2))
    for position, each in ((1, first), (2, second)):
        refuse(place, "chat", position, each)
    for path in place.log.parent.glob("log.db*"):
        path.unlink()
    publish_events(log_url(place.log.parent), push_event(9, words=("other",)), push_event(8), push_event(1))
    with open_desk(place) as desk, HookQueues(place.log, place.exchange) as queues:
        assert queues.ensure(desk.show("chat").hook, 0.0)
        for waiting in ([2, 3], [3]):
            assert [held.position for held in queues.look("chat", 100)] == waiting
            queues.settle("chat", waiting)
            assert desk.redeliver("chat", first) == (1, 0, 0, 0)
        assert desk.redeliver("chat", second) == (0, 0, 1, 0), "the new log never had it"
        assert desk.redeliver("chat", f"msg_{1:032}") == (0, 0, 0, 1)
        assert [held.position for held in queues.look("chat", 100)] == [3]


def test_what_was_withdrawn_is_counted_and_not_redelivered(desk: Desk, place: Place) -> None:
    desk.add("chat", URL, ["bugzilla.#"])
    site = Site()
    public, other, hidden = site.changed(1, "open"), site.changed(2, "word"), site.bug_hidden(2)
    publish_events(log_url(place.log.parent), public, other)
    for position, event in ((1, public), (2, other)):
        refuse(place, "chat", position, event.id, event.source)
    number = desk.show("chat").attempts[0].number
    topics = ["bugzilla.#", "system.event.withheld.#"]
    assert desk.matches(topics).count == 2
    publish_events(log_url(place.log.parent), hidden, withheld(site.changed(3, "word")))
    # Neither the withdrawn one nor a stand-in; what says that a bug was hidden is public.
    assert desk.matches(topics).count == 2
    assert desk.redeliver("chat", str(number)) == (0, 1, 0, 0)
    assert desk.redeliver("chat", failed=True).events == 1
    assert desk.redeliver("chat", since=0.0).events == 0
    with HookQueues(place.log, place.exchange) as queues:
        assert [held.position for held in queues.look("chat", 100)] == [1, 3, 4]


def test_a_rotated_secret_leaves_the_former_one_a_day_and_with_now_none(desk: Desk, place: Place) -> None:
    first = desk.add("chat", URL, ["#"]).secret
    second = desk.rotate("chat")
    with HookStore(place.store) as store:
        assert [each.value for each in store.secrets("chat")] == [second, first]
        until = desk.show("chat").old_secret_until
        assert until is not None
        assert 86_000 < until - time.time() <= 86_400
        third = desk.rotate("chat", now=True)
        assert [each.value for each in store.secrets("chat")] == [third]
    assert desk.show("chat").old_secret_until is None
    assert first.encode() not in place.store.read_bytes()


def test_an_edited_hook_keeps_what_waits(desk: Desk, place: Place) -> None:
    desk.add("chat", URL, ["hg.#"], owner=ALICE)
    publish(place, 1)
    with HookStore(place.store) as store:
        store.update_standing("chat", lambda was: replace(was, failing_since=1.0, next_at=2.0))
    assert desk.edit("chat", url="http://localhost:9/new", topics=["bugzilla.#"], new_owner=BOB) == ""
    publish(place, 2)
    card = desk.show("chat", owner=BOB)
    assert (card.hook.url, card.hook.topics) == ("http://localhost:9/new", ("bugzilla.#",))
    assert (card.figures.waiting, card.look) == (1, Look.NOT_TRIED)
    with pytest.raises(ConfigError, match="not a public address"):
        desk.edit("chat", url="https://192.168.1.1/")


def test_a_removed_hook_leaves_nothing(desk: Desk, place: Place) -> None:
    secret = desk.add("chat", URL, ["#"]).secret
    publish(place, 1)
    refuse(place, "chat", 1, push_event(1).id)
    desk.remove("chat")
    assert desk.list() == []
    assert secret.encode() not in place.store.read_bytes()
    desk.add("chat", URL, ["#"])
    card = desk.show("chat")
    assert (card.figures.waiting, card.figures.set_aside, card.attempts) == (0, 0, ())
    # A process that is killed between the store and the log leaves a queue, which a second try removes.
    with HookStore(place.store) as store:
        store.remove("chat")
    desk.remove("chat")
    with pytest.raises(UnknownHookError):
        desk.remove("chat")


def test_a_sender_that_does_not_run_is_named(desk: Desk, place: Place) -> None:
    desk.add("chat", URL, ["#"])
    with pytest.raises(UnknownHookError):
        desk.check_sender("chad")
    with pytest.raises(NothingThereError, match="sourcepulse web"):
        desk.check_sender("chat")
    with HookStore(place.store) as store:
        store.touch_sender(time.time() - 60)
        assert not desk.sender_runs()
        # It may hang as well as have ended.
        with pytest.raises(NothingThereError, match=r"does not answer, so no test was asked for.*sourcepulse doctor"):
            desk.check_sender("chat")
        with pytest.raises(NothingThereError, match=r"does not answer; the test waits.*sourcepulse doctor"):
            desk.check_test("chat")
        store.touch_sender(time.time())
    desk.check_sender("chat")
    desk.check_test("chat")
