# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The asyncio form of a consumer, at the embedded log."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sourcepulse import Consumer, Event
from sourcepulse.brokers.file.admin import dead_letters, queue_statistics
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerRefusedUsError
from sourcepulse.gaps import Gap
from support.brokers.embedded_log import log_url, publish_events, push_event, wait_until

LIMIT_SECONDS = 20.0

T = TypeVar("T")


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def durable(url: BrokerUrl, **options: object) -> Consumer:
    return Consumer(url, ["hg.#"], queue="me", durable=True, **options)  # type: ignore[arg-type]  # passed through


def run(main: Coroutine[Any, Any, T]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await main

    return asyncio.run(limited())


def number(event: Event) -> int:
    return int(event.data["number"])


def left(url: BrokerUrl) -> list[int]:
    """Return what the queue still holds, and empty it."""
    with durable(url, timeout=0.5) as consumer:
        return [number(event) for event in consumer]


def unsettled(url: BrokerUrl) -> int:
    (queue,) = queue_statistics(url)
    return queue.pending + queue.leased


def feed_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sourcepulse")]


def test_events_come_in_order_and_silence_ends_the_loop(url: BrokerUrl) -> None:
    async def main() -> list[int]:
        async with durable(url, timeout=0.5) as events:
            publish_events(url, *(push_event(each) for each in (1, 3, 2, 2, 4)))
            return [number(event) async for event in events]

    assert run(main()) == [1, 2, 3, 4]
    assert left(url) == []
    wait_until(lambda: not feed_threads())


def test_an_event_is_acknowledged_when_the_next_is_asked_for(url: BrokerUrl) -> None:
    async def main() -> None:
        async with durable(url) as events:
            publish_events(url, push_event(1), push_event(2))
            assert number(await anext(events)) == 1
            await asyncio.sleep(0.2)
            assert unsettled(url) == 2
            assert number(await anext(events)) == 2
            while unsettled(url) == 2:
                await asyncio.sleep(0.01)

    run(main())
    assert left(url) == [2]


@pytest.mark.parametrize("way", ["break", "exception", "cancelled"])
def test_leaving_the_loop_leaves_the_event_unacknowledged(url: BrokerUrl, way: str) -> None:
    async def main() -> None:
        async with durable(url) as events:
            publish_events(url, *(push_event(each) for each in (1, 2, 3)))
            async for event in events:
                if number(event) == 2:
                    if way == "break":
                        break
                    if way == "exception":
                        raise LookupError
                    raise asyncio.CancelledError

    if way == "break":
        run(main())
    else:
        with pytest.raises(LookupError if way == "exception" else asyncio.CancelledError):
            run(main())
    assert left(url) == [2, 3]
    wait_until(lambda: not feed_threads())


def test_the_event_loop_goes_on_while_nothing_comes_and_while_the_broker_is_waited_for(url: BrokerUrl) -> None:
    async def main() -> int:
        beats = 0
        async with durable(url) as events:
            waiting = asyncio.ensure_future(anext(events))
            while beats < 20:
                await asyncio.sleep(0.01)
                beats += 1
            assert not waiting.done()
            publish_events(url, push_event(1))
            return number(await waiting)

    assert run(main()) == 1


def test_a_cancelled_wait_takes_nothing_and_the_next_one_goes_on(url: BrokerUrl) -> None:
    async def main() -> list[int]:
        got: list[int] = []
        async with durable(url) as events:
            for each in range(1, 31):
                try:
                    async with asyncio.timeout(0.001 * (each % 4)):
                        got.append(number(await anext(events)))
                except TimeoutError:
                    publish_events(url, push_event(len(got) + 1) if not got else push_event(got[-1] + 1))
            try:
                async with asyncio.timeout(1):
                    async for event in events:
                        got.append(number(event))
            except TimeoutError:
                pass
        return got

    got = run(main())
    assert len(got) >= 1
    assert got == list(range(1, len(got) + 1)), "nothing is lost, nothing comes twice, all in order"


def test_a_task_that_is_cancelled_ends_promptly(url: BrokerUrl) -> None:
    async def main() -> float:
        started = asyncio.Event()

        async def consume() -> None:
            async with durable(url) as events:
                started.set()
                async for _ in events:
                    pass

        task = asyncio.ensure_future(consume())
        await started.wait()
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - begun

    # No wait of the feed is longer than its slice; what is left is room for a busy machine.
    assert run(main()) < 5
    wait_until(lambda: not feed_threads())


def test_a_broker_that_refuses_us_is_reported_when_subscribing(tmp_path: Path) -> None:
    async def main() -> None:
        async with Consumer(log_url(tmp_path / "nowhere"), ["hg.#"]):
            pytest.fail("subscribed to nothing")

    with pytest.raises(BrokerRefusedUsError, match="does not exist"):
        run(main())
    wait_until(lambda: not feed_threads())


def test_what_a_gap_callback_raises_is_raised_in_the_loop(url: BrokerUrl) -> None:
    def on_gap(gap: Gap) -> None:
        raise LookupError(f"{gap.first_missing}")

    async def main() -> list[int]:
        got: list[int] = []
        async with durable(url, on_gap=on_gap, hold_seconds=0.05) as events:
            publish_events(url, push_event(1), push_event(3))
            got.append(number(await anext(events)))
            with pytest.raises(LookupError, match="2"):
                await anext(events)
        return got

    assert run(main()) == [1]


def test_stop_ends_the_loop_after_the_event_in_progress(url: BrokerUrl) -> None:
    async def main() -> list[int]:
        got: list[int] = []
        consumer = durable(url)
        async with consumer as events:
            publish_events(url, push_event(1), push_event(2))
            async for event in events:
                got.append(number(event))
                consumer.stop()
                await asyncio.sleep(0.5)
        return got

    assert run(main()) == [1]
    assert left(url) == [2]


def test_a_rejected_event_goes_to_the_dead_letters(url: BrokerUrl) -> None:
    async def main() -> list[int]:
        got: list[int] = []
        async with durable(url, timeout=0.5) as events:
            publish_events(url, push_event(1), push_event(2))
            async for event in events:
                got.append(number(event))
                if number(event) == 1:
                    events.reject("not today")
        return got

    assert run(main()) == [1, 2]
    (letter,) = dead_letters(url, "me")
    assert letter.reason == "not today"


def test_two_consumers_share_an_event_loop(url: BrokerUrl) -> None:
    async def consume(queue: str) -> list[int]:
        got: list[int] = []
        async with Consumer(url, ["hg.#"], queue=queue, durable=True) as events:
            ready.release()
            async for event in events:
                got.append(number(event))
                if len(got) == 20:
                    break
        return got

    async def main() -> list[list[int]]:
        tasks = [asyncio.ensure_future(consume(queue)) for queue in ("a", "b")]
        for _ in tasks:
            await ready.acquire()
        publish_events(url, *(push_event(each) for each in range(1, 21)))
        return await asyncio.gather(*tasks)

    ready = asyncio.Semaphore(0)
    assert run(main()) == [list(range(1, 21))] * 2


def test_a_consumer_that_is_looped_over_directly_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="write `async with consumer as events:`"):
        aiter(Consumer(f"file://{tmp_path}/log.db", ["#"]))  # type: ignore[type-var]
