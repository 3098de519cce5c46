# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is redelivered comes in the order of the log, before anything later of its source, whatever was done before."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse_web.webhooks.errors import TooManyEventsError
from sourcepulse_web.webhooks.store.queues import HookQueues
from support.brokers.embedded_log import wait_until
from support.webhooks.log import EXCHANGE, again, all_of, hook, positions, send_pushes

NAME = hook().name
SOURCES = 3


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[HookQueues]:
    with HookQueues(tmp_path / "log.db", EXCHANGE, private=True) as opened:
        yield opened


class Model:
    """A hook in a log, and what must come of it: the events that wait, and those set aside, by position."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.db"
        self.sender = HookQueues(self.log, EXCHANGE, private=True)
        self.desk = HookQueues(self.log, EXCHANGE)
        self.topics: tuple[str, ...] = ("hg.push.0", "hg.push.1")
        self.sender.declare(hook(NAME, *self.topics))
        #: The source of each position, from 1 on.
        self.sources: list[int] = []
        self.waiting: set[int] = set()
        self.dead: set[int] = set()
        self.held: dict[int, str] = {}
        self.opening = 0

    def publish(self, number: int) -> None:
        for each in range(1 + number % 5):
            source = (number // 5 + each) % SOURCES
            self.sources.append(source)
            send_pushes(self.folder, [len(self.sources)], repo=str(source))
            if f"hg.push.{source}" in self.topics:
                self.waiting.add(len(self.sources))

    def turn(self, number: int) -> None:
        """Look once and deliver some of what is held: of a source always the lowest position."""
        self.held |= {
            each.position: each.source for each in self.sender.look(NAME, max(0, 1 + number % 7 - len(self.held)))
        }
        for _ in range(number % 4):
            if not self.held:
                return
            source = self.held[sorted(self.held)[number % len(self.held)]]
            position = min(each for each, other in self.held.items() if other == source)
            own = {each for each in self.waiting if self.sources[each - 1] == self.sources[position - 1]}
            assert position == min(own), "an event overtook another one of its source"
            assert self.sender.load(position) is not None
            del self.held[position]
            self.waiting.remove(position)
            if number % 3:
                self.sender.settle(NAME, [position])
            else:
                assert self.sender.set_aside(NAME, position, "refused")
                self.dead.add(position)

    def again(self, number: int) -> None:
        done = {
            each for each, source in enumerate(self.sources, 1) if f"hg.push.{source}" in self.topics
        } - self.waiting
        asked = sorted(done)[number % 5 : number % 5 + 3]
        # The first look passes what is not for the hook, and only what was passed can come again.
        asked = [each for each in asked if each <= self.cursor]
        assert again(self.desk, NAME, asked) == len(asked)
        self.waiting |= set(asked)
        self.dead -= set(asked)

    def since(self, number: int) -> None:
        first = 1 + number % (len(self.sources) + 1)
        with closing(sqlite3.connect(self.log)) as db:
            row = db.execute("SELECT at FROM messages WHERE position = ?", (first,)).fetchone()
        matching = {
            each
            for each, source in enumerate(self.sources, 1)
            if each >= first and f"hg.push.{source}" in self.topics
        }  # fmt: skip
        count = self.desk.since(NAME, row[0] if row else time.time() + 60)
        assert count == len(matching - self.waiting)
        self.waiting |= matching
        self.dead -= matching

    def bring_back(self, _: int) -> None:
        assert self.desk.bring_back(NAME) == len(self.dead)
        self.waiting |= self.dead
        self.dead = set()

    def rebind(self, number: int) -> None:
        self.topics = (f"hg.push.{number % SOURCES}", f"hg.push.{(number + 1) % SOURCES}")
        self.desk.rebind(hook(NAME, *self.topics))

    def restart(self, _: int) -> None:
        self.sender.close()
        self.sender = HookQueues(self.log, EXCHANGE)
        self.held = {}

    @property
    def cursor(self) -> int:
        with closing(sqlite3.connect(self.log)) as db:
            return int(db.execute("SELECT cursor FROM queues").fetchone()[0])

    def finish(self) -> None:
        """Deliver the rest, with room for all of it."""
        waiting = sorted(self.waiting)
        assert sorted([*self.held, *positions(all_of(self.sender, NAME))]) == waiting
        assert self.desk.figures(NAME).waiting == len(waiting)
        assert {each.position for each in self.desk.set_aside_list(NAME)} == self.dead
        self.sender.settle(NAME, waiting)
        assert self.desk.figures(NAME).waiting == 0

    def close(self) -> None:
        self.sender.close()
        self.desk.close()


STEPS = (
    "publish",
    "publish",
    "turn",
    "turn",
    "turn",
    "turn",
    "again",
    "again",
    "since",
    "bring_back",
    "rebind",
    "restart",
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 400)), min_size=10, max_size=60))
def test_no_event_overtakes_another_one_of_its_source_and_none_is_lost(steps: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as folder, closing(Model(Path(folder))) as model:
        for step, number in steps:
            getattr(model, step)(number)
            assert model.desk.figures(NAME).waiting == len(model.waiting)
        model.finish()


def test_what_is_redelivered_comes_also_where_there_is_no_room(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    send_pushes(tmp_path, range(1, 9))
    held = positions(all_of(queues, NAME, room=8))
    queues.settle(NAME, held[:4])
    with HookQueues(queues.path, EXCHANGE) as desk:
        assert again(desk, NAME, [2, 3, 6, 99]) == 2, "one is held, and one was never there"
    wait_until(lambda: queues.wait(0.1), 30)
    assert positions(queues.look(NAME, 0)) == [2, 3]


def test_what_matched_before_the_hook_was_added_can_be_asked_for(tmp_path: Path, queues: HookQueues) -> None:
    began = time.time()
    send_pushes(tmp_path, [1, 2], repo="repo")
    send_pushes(tmp_path, [3], repo="other")
    time.sleep(0.01)
    later = time.time()
    send_pushes(tmp_path, [4])
    queues.declare(hook(NAME, "hg.push.repo"))
    assert queues.since(NAME, later) == 1
    assert positions(all_of(queues, NAME)) == [4]
    assert queues.since(NAME, began) == 2
    assert positions(all_of(queues, NAME)) == [1, 2]


def test_one_request_has_a_limit_and_names_the_time_that_is_late_enough(
    tmp_path: Path, queues: HookQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse_web.webhooks.store.log.redelivery.REDELIVER_MAX", 3)
    for number in range(1, 6):
        send_pushes(tmp_path, [number])
    queues.declare(hook())
    with pytest.raises(TooManyEventsError, match=r"5 events match.*since 20"):
        queues.since(NAME, 0.0)
    assert all_of(queues, NAME) == []


def test_the_limit_holds_also_for_what_other_topics_did_not_match(
    tmp_path: Path, queues: HookQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse_web.webhooks.store.log.redelivery.REDELIVER_MAX", 3)
    queues.declare(hook(NAME, "bugzilla.#"))
    for number in range(1, 6):
        send_pushes(tmp_path, [number])
    queues.rebind(hook())
    with pytest.raises(TooManyEventsError, match=r"5 events match.*since 20"):
        queues.since(NAME, 0.0)
    assert all_of(queues, NAME) == []
    with closing(sqlite3.connect(queues.path)) as db:
        (late_enough,) = db.execute("SELECT at FROM messages WHERE position = 3").fetchone()
    assert queues.since(NAME, late_enough) == 3
    assert positions(all_of(queues, NAME)) == [3, 4, 5]


@pytest.mark.parametrize("change", ["look", "rebind", "publish"])
def test_what_changes_between_the_search_and_its_commit_is_regarded(
    change: str, tmp_path: Path, queues: HookQueues, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues.declare(hook(NAME, "hg.push.a"))
    send_pushes(tmp_path, [1, 2], repo="a")
    send_pushes(tmp_path, [3, 4], repo="b")
    queues.settle(NAME, positions(all_of(queues, NAME, room=1)))
    queues.rebind(hook(NAME, "hg.push.#"))
    changes = [
        {
            "look": lambda: queues.settle(NAME, positions(all_of(queues, NAME))),
            "rebind": lambda: queues.rebind(hook(NAME, "hg.push.b")),
            "publish": lambda: send_pushes(tmp_path, [5], repo="b"),
        }[change]
    ]
    connect = sqlite3.connect

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **options)
        seen: list[str] = []

        def between(statement: str) -> None:
            seen.append(statement)
            if statement == "ROLLBACK" and changes and any("bindings" in each for each in seen):
                changes.pop()()

        db.set_trace_callback(between)
        return db

    with monkeypatch.context() as patch, HookQueues(queues.path, EXCHANGE) as desk:
        patch.setattr(sqlite3, "connect", connected)
        count = desk.since(NAME, 0.0)
        patch.undo()
        assert not changes
        assert (count, desk.figures(NAME).waiting) == {"look": (4, 4), "rebind": (2, 3), "publish": (3, 5)}[change]
    found = positions(all_of(queues, NAME))
    assert found == {"look": [1, 2, 3, 4], "rebind": [2, 3, 4], "publish": [1, 2, 3, 4, 5]}[change]
    queues.settle(NAME, found)
    assert queues.figures(NAME).waiting == 0


def test_set_aside_events_are_dropped_or_brought_back_one_by_one(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    send_pushes(tmp_path, [1, 2, 3])
    for each in all_of(queues, NAME):
        queues.set_aside(NAME, each.position, "refused")
    first, second, third = queues.set_aside_list(NAME)
    assert queues.drop(NAME, first.letter)
    assert not queues.drop(NAME, first.letter)
    assert not queues.drop("another-hook", second.letter)
    assert queues.bring_back(NAME, [third.letter]) == 1
    assert again(queues, NAME, [2]) == 1
    assert positions(all_of(queues, NAME)) == [2, 3]
    assert queues.set_aside_list(NAME) == []


def test_no_more_is_set_aside_than_there_is_room_for(tmp_path: Path, queues: HookQueues) -> None:
    queues.declare(hook())
    send_pushes(tmp_path, range(1, 1_003))
    held = positions(all_of(queues, NAME))
    with queues.batch():
        assert all(queues.set_aside(NAME, position, "refused") for position in held[:1_000])
        assert not queues.set_aside(NAME, held[1_000], "refused"), "the oldest one would be dropped"
    assert (queues.figures(NAME).set_aside, queues.figures(NAME).waiting) == (1_000, 2)
