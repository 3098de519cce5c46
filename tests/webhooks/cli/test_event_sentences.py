# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Attempts, what is set aside and what waits name their events in sentences, while these are public."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import jsonschema
import pytest

from sourcepulse.brokers.file.reader import Row
from sourcepulse.brokers.file.upkeep import trim_now
from sourcepulse.catalogue import example_of, schema_for
from sourcepulse.events.event import Event
from sourcepulse_web.settings import TreeSettings
from sourcepulse_web.webhooks.desk.card import whole_json
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.desk.sights import SET_ASIDE_READ
from sourcepulse_web.webhooks.hook import Attempt
from sourcepulse_web.webhooks.settings import WebhookSettings
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Held, Loaded
from sourcepulse_web.webhooks.store.store import HookStore
from support.brokers.embedded_log import log_url
from support.events.bugzilla_events import Site, withheld
from support.in_process import run_command
from support.webhooks.log import EXCHANGE, all_of, send, send_pushes

NAME, URL = "chat", "http://127.0.0.1/in"
SECRET = "the-quick-brown-secret"
WITHDRAWN = {"state": "withdrawn", "kind": "", "sentence": "", "time": None, "link": None}
GONE = {**WITHDRAWN, "state": "gone"}
TREES = {"inbound": TreeSettings(name="inbound", repository="inbound", bugzilla="https://bugs.example.org")}

Made = TypeVar("Made")


class CountingQueues(HookQueues):
    """Counts how often it is asked for events."""

    asked = 0

    def rows(
        self, name: str, positions: Sequence[int], letters: Sequence[int], make: Callable[[Row], Made]
    ) -> tuple[dict[int, Made], dict[int, Made]]:
        self.asked += 1
        return super().rows(name, positions, letters, make)

    def load(self, position: int) -> Loaded | None:
        self.asked += 1
        return super().load(position)


class Place:
    """A hook on everything, with a real store and a real log, and what the sender does."""

    def __init__(self, folder: Path, store: HookStore, queues: CountingQueues) -> None:
        self.folder = folder
        self.store = store
        self.queues = queues
        self.desk = Desk(store, queues, WebhookSettings(allow=("127.0.0.1",)), trees=TREES)
        self.desk.add(NAME, URL, ["#"])

    def send(self, *events: Event) -> list[Held]:
        """Publish events, and lease them as the sender does."""
        send(self.folder, *events)
        return all_of(self.queues, NAME)

    def record(self, held: Held) -> None:
        self.store.attempts.record([attempt(held)])

    def shown(self) -> dict[str, object]:
        """Return what `show --json` prints, which is by the schema."""
        whole = whole_json(self.desk.show(NAME, attempts=1000))
        jsonschema.validate(whole, schema_for("webhooks.v1"))
        return whole

    def events(self, of: str = "attempts") -> list[dict[str, object]]:
        found = self.shown()[of]
        assert isinstance(found, list)
        return [each["event"] for each in found]


def attempt(held: Held) -> Attempt:
    return Attempt(
        hook=NAME, at=time.time(), position=held.position, webhook_id=f"msg_{held.id}", source=held.source, id=held.id,
        type=held.type, routing_key=held.routing_key, tries=1, outcome="retry", status=503, reason="", took_s=0.1,
    )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with HookStore(tmp_path / "webhooks.db") as store, CountingQueues(tmp_path / "log.db", EXCHANGE) as queues:
        send_pushes(tmp_path, [])
        yield Place(tmp_path, store, queues)


def test_attempts_what_is_set_aside_and_what_waits_are_sentences_with_their_time_and_link(place: Place) -> None:
    push, build, bug, waits = map(example_of, ("hg.push", "build.finished", "bugzilla.bug.changed", "hg.tree.closed"))
    for held in place.send(push, build, bug, waits)[:3]:
        place.record(held)
    place.queues.settle(NAME, [2])
    assert place.queues.set_aside(NAME, 1, "refused")
    assert place.queues.set_aside(NAME, 3, "refused")
    changed, built, pushed = place.events()
    node = push.data["last"]
    assert str(pushed["sentence"]).startswith(f"{push.data['user']} pushed ")
    assert f" to {push.data['repo'].rpartition('/')[2]} {node[:12]} " in str(pushed["sentence"])
    assert (pushed["state"], pushed["kind"], pushed["link"]) == ("public", "Push", f"/changes/{node}")
    assert pushed["time"] == push.time
    assert (built["kind"], built["link"]) == ("Build", build.data["url"])
    number = bug.data["bug"]["id"]
    assert f" changed bug {number}: " in str(changed["sentence"])
    assert changed["link"] == f"https://bugs.example.org/show_bug.cgi?id={number}"
    assert place.events("set_aside_events") == [pushed, changed]
    oldest = place.shown()["oldest"]
    assert isinstance(oldest, dict)
    assert oldest["sentence"].startswith(f"{waits.data['repo'].rpartition('/')[2]} closed by ")
    place.queues.settle(NAME, [4])
    assert place.shown()["oldest"] is None


def test_nothing_of_an_event_that_was_withdrawn_is_shown(place: Place) -> None:
    site = Site()
    kept = site.changed(2, "public")
    hidden = [site.changed(1, SECRET), site.changed(1, SECRET), site.changed(1, SECRET)]
    for held in place.send(*hidden, kept):
        place.record(held)
    place.queues.settle(NAME, [1])
    assert place.queues.set_aside(NAME, 2, "refused")
    assert json.dumps(place.shown()).count(SECRET) > 4
    send(place.folder, site.bug_hidden(1))
    assert [each["state"] for each in place.events()] == ["public", *["withdrawn"] * 3]
    assert place.events()[1:] == [WITHDRAWN] * 3
    assert place.events("set_aside_events") == [WITHDRAWN]
    assert place.shown()["oldest"] == WITHDRAWN
    assert SECRET not in json.dumps(place.shown())


def test_a_stand_in_that_a_publisher_sent_has_no_sentence(place: Place) -> None:
    place.record(place.send(withheld(example_of("hg.push")))[0])
    assert place.events() == [WITHDRAWN]
    assert place.shown()["oldest"] == WITHDRAWN


def test_nothing_is_shown_of_what_bugzilla_hides_before_the_log_hears_of_it(place: Place) -> None:
    site = Site()
    first, second = place.send(site.changed(1, SECRET), site.changed(2, "public"))
    place.record(first)
    place.record(second)
    assert place.queues.set_aside(NAME, first.position, "refused")
    # As the sender does once it was answered that the bug is private.
    place.store.attempts.forget([(first.source, first.id)], time.time())
    assert [each["state"] for each in place.events()] == ["public", "withdrawn"]
    assert place.events("set_aside_events") == [WITHDRAWN]
    assert SECRET not in json.dumps(place.shown())


def test_what_the_log_no_longer_has_is_gone_and_what_is_set_aside_is_kept(place: Place) -> None:
    first, second = place.send(example_of("hg.push"), example_of("build.finished"))
    place.record(first)
    place.record(second)
    place.queues.settle(NAME, [1])
    assert place.queues.set_aside(NAME, second.position, "refused")
    place.queues.close()
    trim_now(log_url(place.folder), keep_seconds=0.0)
    assert place.events() == [GONE, GONE]
    assert [each["state"] for each in place.events("set_aside_events")] == ["public"]


def test_another_event_at_the_position_of_an_attempt_is_not_shown_for_it(place: Place) -> None:
    (held,) = place.send(example_of("hg.push"))
    place.store.attempts.record([replace(attempt(held), id="of another log"), replace(attempt(held), position=0)])
    assert [each["state"] for each in place.events()] == ["test", "gone"]


def test_the_events_of_a_page_are_read_at_once_and_of_many_set_aside_the_first_and_the_last(place: Place) -> None:
    send_pushes(place.folder, range(1, 101))
    for held in all_of(place.queues, NAME)[:-1]:
        place.record(held)
        assert place.queues.set_aside(NAME, held.position, "refused")
    place.queues.asked = 0
    whole = place.shown()
    assert place.queues.asked == 1
    states = [each and each["state"] for each in place.events("set_aside_events")]
    assert states == ["public"] * SET_ASIDE_READ + [None] * (99 - 2 * SET_ASIDE_READ) + ["public"] * SET_ASIDE_READ
    assert len(place.events()) == 99
    assert whole["oldest"] is not None


def test_the_command_prints_sentences_and_what_is_gone(place: Place, tmp_path: Path) -> None:
    push = example_of("hg.push")
    first, second, _ = place.send(push, example_of("build.finished"), example_of("hg.tree.closed"))
    place.record(first)
    place.store.attempts.record([replace(attempt(second), id="of another log")])
    place.queues.settle(NAME, [1])
    assert place.queues.set_aside(NAME, 2, "refused")
    place.queues.close()
    config = tmp_path / "config.toml"
    config.write_text(f'broker = "{log_url(place.folder)}"\n[webhooks]\n', encoding="utf-8")
    shown = run_command("webhook", "show", "--config", str(config), NAME).stdout
    second_of = push.time[:19].replace("T", " ")
    assert f"{second_of} {push.data['user']} pushed " in shown
    assert f"</changes/{push.data['last']}>" in shown
    assert "no longer in the log (build.finished.v1)" in shown
    assert "closed by" in next(line for line in shown.splitlines() if line.startswith("oldest"))
