# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How often an event is handed to a program that does not get done with it: `max_deliveries` times, in every form."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event
from sourcepulse.brokers import QueueLimits
from sourcepulse.brokers.file.admin import bring_back_dead_letters, dead_letters, queue_statistics
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.errors import ConfigError
from support.brokers.embedded_log import log_url, publish_events, push_event
from support.forked_module import module_server
from support.module_server import CODE

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
    """Create the queue with that many pending events."""
    durable(url).__enter__().close()
    publish_events(url, *(push_event(number) for number in range(1, count + 1)))


def buried(url: BrokerUrl) -> list[int]:
    from sourcepulse.events.wire import decode

    return [decode(letter.body, routing_key=letter.routing_key).data["number"] for letter in dead_letters(url, "me")]


def run_until_it_survives(url: BrokerUrl, form: str, limit: int, *poison: int) -> list[str]:
    """Start the program again and again until it ends by itself; give all that it began."""
    arguments = [PROGRAM, str(url), form, str(limit), *map(str, poison)]
    begun: list[str] = []
    for _ in range(len(poison) * limit + 1):
        output, end = os.pipe()
        process = module_server().start(CODE, arguments, fds=(0, end, 2), environ=os.environ)
        os.close(end)
        assert process is not None
        with open(output, encoding="ascii") as lines:
            begun += lines.read().split()
        if process.wait(LIMIT_SECONDS) == 0:
            return begun
        assert process.returncode == -signal.SIGKILL
    raise AssertionError(begun)


@pytest.mark.parametrize("form", ["loop", "async", "1", "2"])
@pytest.mark.parametrize("limit", [1, LIMIT])
def test_an_event_that_kills_the_program_is_handed_over_so_often_and_its_neighbours_are_handled(
    url: BrokerUrl, form: str, limit: int
) -> None:
    subscribed(url, 6)
    begun = run_until_it_survives(url, form, limit, 2)
    assert begun.count("2") == limit
    # With a thread between, the first may not be recorded yet when the second kills the process for the first time.
    again = ["1"] if form != "loop" and begun.count("1") == 2 else []
    assert [number for number in begun if number != "2"] == [*again, "1", "3", "4", "5", "6"]
    assert buried(url) == [2]


@pytest.mark.parametrize(("form", "limit"), [("loop", 2), ("loop", 4), ("2", 4)])
def test_two_that_kill_one_after_the_other_take_no_neighbour_along(url: BrokerUrl, form: str, limit: int) -> None:
    subscribed(url, 60)
    begun = run_until_it_survives(url, form, limit, 30, 31)
    # Of the second, a first delivery is presumed that never reached the program, unless the limit is small.
    assert [begun.count(each) for each in ("30", "31")] == [limit, limit if limit == 2 else limit - 1]
    others = [str(number) for number in range(1, 61) if number not in (30, 31)]
    assert set(begun) - {"30", "31"} == set(others)
    # Only the batch at hand comes again, and only once.
    assert all(begun.count(each) <= (1 if limit == 2 or int(each) > 31 else 2) for each in others)
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
def test_leaving_an_event_in_progress_counts_for_it_and_for_nothing_behind_it(
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


def test_an_event_that_asyncio_never_asked_for_is_not_counted(url: BrokerUrl) -> None:
    async def open_only() -> None:
        async with durable(url):
            while not queue_statistics(url)[0].leased:
                await asyncio.sleep(0.01)
            # Enough for the library's thread to do with the event what it does without being asked.
            await asyncio.sleep(0.1)

    subscribed(url, 2)
    for _ in range(LIMIT + 1):
        asyncio.run(open_only())
    with durable(url) as consumer:
        assert [event.data["number"] for event in consumer] == [1, 2]
    assert buried(url) == []


def test_an_event_in_progress_is_one_attempt_however_often_its_connection_is_lost(url: BrokerUrl) -> None:
    subscribed(url, 2)
    with durable(url, 1) as consumer:
        first = consumer.receive(5)
        for _ in range(3):
            consumer._receiver._connection.drop()
            assert consumer.receive(5) == first
        assert [event.data["number"] for event in consumer] == [1, 2]
    assert buried(url) == []


def test_a_dead_letter_that_is_brought_back_has_all_its_attempts_again(url: BrokerUrl) -> None:
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


def test_all_processes_at_one_memory_count_the_same_attempts_until_the_event_is_handled(tmp_path: Path) -> None:
    states = [ConsumerState(tmp_path / "state.db") for _ in range(3)]
    assert [state.count_attempt("one", LIMIT) for state in states] == [True] * 3
    assert [state.count_attempt("one", LIMIT) for state in states] == [False] * 3
    assert states[0].count_attempt("another", LIMIT)
    states[1].record([("one", None, 0)])
    assert [state.count_attempt("one", 1) for state in states] == [True, False, False]
    states[2].forget_attempts("one")
    assert states[0].count_attempt("one", 1)
    assert not states[0].count_attempt("another", 1)


def test_a_limit_of_no_delivery_at_all_is_refused(url: BrokerUrl) -> None:
    with pytest.raises(ConfigError, match="max_deliveries"):
        durable(url, 0)
