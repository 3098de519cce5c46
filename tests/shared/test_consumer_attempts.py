# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How often an event is handed to a program that does not get done with it: `max_deliveries` times, in every form."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event
from sourcepulse.brokers import QueueLimits
from sourcepulse.brokers.file.admin import bring_back_dead_letters, dead_letters
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.errors import ConfigError
from support.local_log import log_url, publish_events, push_event

LIMIT = 3
LIMIT_SECONDS = 30

#: Dies at the events named, in the form named; prints what it begins.
PROGRAM = """
import asyncio, os, signal, sys, time
from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits
url, form, limit, *poison = sys.argv[1:]
def handle(event):
    number = str(event.data["number"])
    print(number, flush=True)
    if number in poison:
        os.kill(os.getpid(), signal.SIGKILL)
def consumer():
    limits = QueueLimits(max_deliveries=int(limit))
    return Consumer(url, ["hg.#"], queue="me", durable=True, limits=limits, timeout=0.5)
async def iterate():
    async with consumer() as events:
        async for event in events:
            handle(event)
if form == "loop":
    with consumer() as events:
        for event in events:
            handle(event)
elif form == "async":
    asyncio.run(iterate())
else:
    with consumer() as events:
        events.run(handle, workers=int(form))
"""


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def durable(url: BrokerUrl, limit: int = LIMIT) -> Consumer:
    return Consumer(url, ["hg.#"], queue="me", durable=True, limits=QueueLimits(max_deliveries=limit), timeout=0.3)


def subscribed(url: BrokerUrl, count: int) -> None:
    """Make the queue and let so many events wait in it."""
    durable(url).__enter__().close()
    publish_events(url, *(push_event(number) for number in range(1, count + 1)))


def buried(url: BrokerUrl) -> list[int]:
    from sourcepulse.events.wire import decode

    return [decode(letter.body, routing_key=letter.routing_key).data["number"] for letter in dead_letters(url, "me")]


def run_until_it_survives(url: BrokerUrl, form: str, limit: int, *poison: int) -> list[str]:
    """Start the program again and again until it ends by itself; give all that it began."""
    command = [sys.executable, "-c", PROGRAM, str(url), form, str(limit), *map(str, poison)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "shared")}
    begun: list[str] = []
    for _ in range(len(poison) * limit + 1):
        done = subprocess.run(
            command, env=environ, timeout=LIMIT_SECONDS, stdout=subprocess.PIPE, text=True, check=False
        )
        begun += done.stdout.split()
        if done.returncode == 0:
            return begun
        assert done.returncode == -signal.SIGKILL
    raise AssertionError(begun)


@pytest.mark.parametrize("form", ["loop", "async", "1", "2"])
@pytest.mark.parametrize("limit", [1, LIMIT])
def test_an_event_that_kills_the_program_is_handed_over_so_often_and_its_neighbours_are_handled(
    url: BrokerUrl, form: str, limit: int
) -> None:
    subscribed(url, 6)
    begun = run_until_it_survives(url, form, limit, 2)
    assert begun.count("2") == limit
    assert [number for number in begun if number != "2"] == ["1", "3", "4", "5", "6"]
    assert buried(url) == [2]


def test_two_that_kill_one_after_the_other_take_no_neighbour_along(url: BrokerUrl) -> None:
    subscribed(url, 60)
    begun = run_until_it_survives(url, "loop", 2, 30, 31)
    assert [begun.count(each) for each in ("30", "31")] == [2, 2]
    assert [int(number) for number in begun if number not in ("30", "31")] == [
        number for number in range(1, 61) if number not in (30, 31)
    ]
    assert buried(url) == [30, 31]


def leave_by_break(consumer: Consumer) -> None:
    with consumer:
        for _ in consumer:
            break


def leave_by_an_exception(consumer: Consumer) -> None:
    def loop() -> None:
        with consumer:
            for _ in consumer:
                raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop()


def leave_without_a_word(consumer: Consumer) -> None:
    assert consumer.receive(5) is not None


def leave_the_callback(consumer: Consumer) -> None:
    def callback(_event: Event) -> None:
        raise KeyboardInterrupt

    with consumer, pytest.raises(KeyboardInterrupt):
        consumer.run(callback)


def leave_asyncio(consumer: Consumer) -> None:
    async def one() -> None:
        async with consumer as events:
            async for _ in events:
                break

    asyncio.run(one())


@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_an_exception, leave_without_a_word, leave_the_callback, leave_asyncio]
)
def test_leaving_an_event_at_work_counts_for_it_and_for_nothing_behind_it(
    url: BrokerUrl, leave: Callable[[Consumer], None]
) -> None:
    subscribed(url, 3)
    for _ in range(LIMIT):
        assert buried(url) == []
        leave(durable(url))
    with durable(url) as consumer:
        assert [event.data["number"] for event in consumer] == [2, 3]
        assert consumer.stats.rejected == 1
    assert buried(url) == [1]


def test_an_event_at_work_is_one_attempt_however_often_its_connection_is_lost(url: BrokerUrl) -> None:
    subscribed(url, 2)
    with durable(url, 1) as consumer:
        first = consumer.receive(5)
        for _ in range(3):
            consumer._intake._link.drop()
            assert consumer.receive(5) == first
        assert [event.data["number"] for event in consumer] == [1, 2]
    assert buried(url) == []


def test_what_was_put_aside_and_is_brought_back_begins_anew(url: BrokerUrl) -> None:
    subscribed(url, 1)
    for _ in range(2):
        for _ in range(LIMIT):
            leave_by_break(durable(url))
        with durable(url) as consumer:
            assert list(consumer) == []
        assert buried(url) == [1]
        bring_back_dead_letters(url, "me", dead_letters(url, "me"))
    with durable(url) as consumer:
        assert [event.data["number"] for event in consumer] == [1]


def test_attempts_of_the_dead_are_counted_once_and_not_for_what_was_handled(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    ConsumerState(path).close()
    other = ConsumerState(path)
    left = tmp_path / "state.db.done-0123"
    left.write_bytes(b'["at work"]\n["handled"]\n["handled",7]\n["handled by another"]\n["cut o')
    other.record("handled by another", None, 0)
    assert (other.is_handled("at work"), other.attempts("at work")) == (False, 0)
    ids = ("at work", "handled", "handled by another", "cut o")
    states = [ConsumerState(path) for _ in range(3)]
    assert [[state.attempts(each) for each in ids] for state in states] == [[1, 0, 0, 0]] * 3
    assert (other.is_handled("at work"), other.attempts("at work")) == (False, 1), "others may count at any time"
    other.record("at work", None, 0)
    assert other.attempts("at work") == 0


def test_what_is_at_work_stays_noted_when_others_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = ConsumerState(path)
    for each in ("a", "b", "c"):
        state.begin(each)
    state.note("a", None, 0)
    state.record("b", None, 0)
    (notes,) = tmp_path.glob("state.db.done-*")
    assert notes.read_text() == '["c"]\n'
    state.count_attempts(["a", "b", "c", "never begun"])
    assert notes.read_text() == ""
    assert [state.attempts(each) for each in ("a", "b", "c", "never begun")] == [0, 0, 1, 0]
    state.close()
    assert list(tmp_path.glob("state.db.done-*")) == []


def test_many_threads_may_begin_while_one_records(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    state = ConsumerState(path)
    threads = [
        threading.Thread(target=lambda name=name: [state.begin(f"{name}{number}") for number in range(200)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for number in range(200):
        state.record(f"a{number}", None, 0)
    for thread in threads:
        thread.join(LIMIT_SECONDS)
    (notes,) = tmp_path.glob("state.db.done-*")
    noted = set(notes.read_text().split())
    assert {f'["{name}{number}"]' for name in "bcd" for number in range(200)} <= noted


def test_a_limit_of_no_delivery_at_all_is_refused(url: BrokerUrl) -> None:
    with pytest.raises(ConfigError, match="max_deliveries"):
        durable(url, 0)
