# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events that rush by: noted at once, recorded and acknowledged together, never acknowledged before."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Delivery
from sourcepulse.brokers.file.queues import LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.item import Item
from sourcepulse.consumer.memory import finished as consumer_finished
from sourcepulse.consumer.memory.done import DoneFile, Entry, _read, take_over
from sourcepulse.consumer.memory.finished import GROUP_EVENTS, GROUP_SECONDS, RUSH_EVENTS, RUSH_SECONDS, Finished
from sourcepulse.consumer.memory.name import name_of
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.events.wire import decode
from sourcepulse.gaps import Lane
from support.local_log import log_url, publish_events, push_event

#: Far more than a look at a folder takes.
WAIT_SECONDS = 10.0
LANE = Lane("hg://host/repo", "one", None)
#: Handles events, in a rush however slow the machine is, until it kills itself in the middle of one.
RUSH = """
import os, signal, sys
from sourcepulse import Consumer
from sourcepulse.consumer.memory import finished as consumer_finished
consumer_finished.RUSH_SECONDS = consumer_finished.GROUP_SECONDS = 60.0
with Consumer(sys.argv[1], ["hg.#"], queue="me", durable=True, state=sys.argv[2]) as consumer:
    for event in consumer:
        if event.data["number"] == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


def an_item(number: int = 1) -> Item:
    event = push_event(number)
    delivery = Delivery(routing_key=event.routing_key, body=b"", content_type="", redelivered=False, handle=number)
    return Item(event=event, delivery=delivery, generation=1, lane=LANE, number=number, spent=False)


def side_files(state: Path) -> list[Path]:
    return sorted(state.parent.glob(f"{state.name}.done-*"))


def numbers(consumer: Consumer) -> list[int]:
    return [event.data["number"] for event in consumer]


def rush(finished: Finished, clock: Clock, count: int) -> list[int]:
    """Add so many in quick succession; give how many were due together, each time that some were."""
    groups = []
    for _ in range(count):
        clock.now += RUSH_SECONDS / 100
        finished.add(an_item())
        if finished.due:
            groups.append(len(finished.all()))
            finished.clear()
    return groups


def name(delivery: Delivery) -> str:
    event = decode(delivery.body, routing_key=delivery.routing_key)
    return name_of(event, delivery.body, delivery.content_type)


def test_events_at_leisure_are_due_one_by_one() -> None:
    clock = Clock()
    finished = Finished(clock)
    for _ in range(3 * RUSH_EVENTS):
        clock.now += RUSH_SECONDS
        finished.add(an_item())
        assert finished.due
        finished.clear()
        assert not finished
        assert not finished.due


def test_a_rush_is_due_in_groups_after_its_beginning() -> None:
    groups = rush(Finished(clock := Clock(), 10), clock, RUSH_EVENTS + 30)
    assert groups == [1] * RUSH_EVENTS + [10] * 3


def test_nothing_waits_longer_than_the_limit_nor_behind_a_slow_one() -> None:
    clock = Clock()
    finished = Finished(clock)
    rush(finished, clock, RUSH_EVENTS + 5)
    assert not finished.due
    clock.now += GROUP_SECONDS
    assert finished.due
    finished.clear()
    rush(finished, clock, 5)
    clock.now += RUSH_SECONDS
    finished.add(an_item())
    assert finished.due


@pytest.mark.parametrize("count", [7 * GROUP_EVENTS, 7 * GROUP_EVENTS + 3])
def test_an_id_is_in_the_memory_before_its_event_is_acknowledged(
    url: BrokerUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    state = tmp_path / "state.db"
    together: list[int] = []
    real = LocalSubscription.acknowledge

    def known() -> set[str]:
        with sqlite3.connect(state) as db:
            ids = {row[0] for row in db.execute("SELECT id FROM seen")}
        db.close()
        return ids

    def acknowledge(subscription: LocalSubscription, delivery: Delivery) -> None:
        assert name(delivery) in known()
        real(subscription, delivery)

    def acknowledge_all(subscription: LocalSubscription, deliveries: Sequence[Delivery]) -> None:
        together.append(len(deliveries))
        assert {name(each) for each in deliveries} <= known()
        for delivery in deliveries:
            real(subscription, delivery)

    # A rush on a busy machine as well.
    for limit in ("RUSH_SECONDS", "GROUP_SECONDS"):
        monkeypatch.setattr(consumer_finished, limit, 30.0)
    monkeypatch.setattr(LocalSubscription, "acknowledge", acknowledge)
    monkeypatch.setattr(LocalSubscription, "acknowledge_all", acknowledge_all)
    with Consumer(url, ["hg.#"], queue="me", durable=True, state=state, timeout=0.3) as consumer:
        publish_events(url, *(push_event(number) for number in range(1, count + 1)))
        assert numbers(consumer) == list(range(1, count + 1))
        # When the loop has ended nothing is left to do.
        assert len(known()) == count
    assert max(together) > 1
    assert side_files(state) == []
    with Consumer(url, ["hg.#"], queue="me", durable=True, state=":memory:", timeout=0.3) as another:
        assert numbers(another) == []


def test_a_process_killed_in_a_rush_has_its_last_events_in_its_notes(url: BrokerUrl, tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    Consumer(url, ["hg.#"], queue="me", durable=True, state=state).__enter__().close()
    publish_events(url, *(push_event(number) for number in range(1, 200)))
    command = [sys.executable, "-c", RUSH, str(url), str(state), "180"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "shared")}
    assert subprocess.run(command, env=environ, timeout=60, check=False).returncode == -signal.SIGKILL
    (notes,) = side_files(state)
    assert notes.stat().st_size > 0
    assert notes.stat().st_mode & 0o777 == 0o600
    with Consumer(url, ["hg.#"], queue="me", durable=True, state=state, timeout=0.3) as consumer:
        assert side_files(state) == []
        assert numbers(consumer) == list(range(180, 200))
        assert consumer.stats.gaps == 0


def test_notes_are_taken_over_from_the_dead_only_and_what_is_no_note_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    living = ConsumerState(path)
    assert living.note("living", LANE, 8)
    dead = tmp_path / "state.db.done-0123"
    dead.write_bytes(b'["first",7,"hg://host/repo","one",null]\nnonsense\n[1,2]\n["no lane",0]\n["cut off",9,"hg')
    other = ConsumerState(path)
    assert [other.is_handled(each) for each in ("first", "no lane", "cut off", "living")] == [True, True, False, False]
    assert other.last(LANE) == 7
    assert [each.name for each in side_files(path)] != []
    assert dead not in side_files(path)
    living.record("next", LANE, 9)
    assert [other.is_handled(each) for each in ("living", "next")] == [True, True]
    assert other.last(LANE) == 9
    living.close()
    other.close()
    assert side_files(path) == []


def test_what_could_not_be_recorded_is_left_to_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    ConsumerState(path).close()
    done = DoneFile(path)
    assert done.add("one", LANE, 1)
    done.begin("two")
    done.begin("one")
    done.close()
    taken: list[object] = []

    def full(_entries: object, _begun: object) -> None:
        raise OSError("the disk is full")

    def keep(entries: list[Entry], begun: list[str]) -> None:
        taken.extend([*entries, *begun])

    with pytest.raises(OSError, match="full"):
        take_over(path, full)
    take_over(path, keep)
    assert taken == [("one", LANE, 1), "two", "one"]
    take_over(path, keep)
    assert len(taken) == 3


def test_whoever_dies_while_others_are_recorded_leaves_what_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[tuple[list[Entry], list[str]]] = []
    done = DoneFile(tmp_path / "state.db")
    done.begin("one")
    done.begin("at work")
    for number in range(5):
        assert done.add(f"done {number}", LANE, number)
    (side_file,) = side_files(tmp_path / "state.db")

    def and_look(write: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: object) -> object:
            result = write(*arguments)
            left.append(_read(side_file.read_bytes()))
            return result

        return changed

    with monkeypatch.context() as patch:
        for name in ("write", "pwrite", "ftruncate"):
            patch.setattr(os, name, and_look(getattr(os, name)))
        done.clear(["one", *(f"done {number}" for number in range(4))])
    assert [begun for _, begun in left] == [["at work"]] * len(left)
    assert left[-1] == ([("done 4", LANE, 4)], ["at work"])
    done.begin("next")
    assert _read(side_file.read_bytes())[1] == ["at work", "next"]
    done.close()


def test_nobody_takes_a_new_file_for_one_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    taken: list[str] = []
    ended = threading.Event()

    def notes() -> list[bytes]:
        found = []
        for side_file in side_files(path):
            # The files of those who closed theirs go meanwhile.
            with suppress(FileNotFoundError):
                found.append(side_file.read_bytes())
        return [content for content in found if content]

    def look() -> None:
        while not ended.is_set():
            take_over(path, lambda _, begun: taken.extend(begun))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(300):
            done = DoneFile(path)
            done.begin(str(number))
            assert [_read(content) for content in notes()] == [([], [str(number)])]
            assert str(number) not in taken
            done.clear([str(number)])
            done.close()
    finally:
        ended.set()
        for thread in threads:
            thread.join(WAIT_SECONDS)
    assert taken == []


def test_a_note_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert not DoneFile(tmp_path / "nowhere" / "state.db").add("one", None, 0)
