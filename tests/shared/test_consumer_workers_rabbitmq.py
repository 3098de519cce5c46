# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Workers and asyncio at a real RabbitMQ: long callbacks, a connection cut while events are at work."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event
from sourcepulse.brokers import open_publisher
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import as_message, push_event, wait_until
from support.brokers.proxy import Proxy
from support.brokers.rabbit_admin import messages
from support.brokers.rabbitmq import RabbitNode

#: The broker ends a connection that is silent for twice as long.
HEARTBEAT_SECONDS = 1
LIMIT_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def publish(node: RabbitNode, events: list[Event]) -> None:
    publisher = open_publisher(BrokerUrl.parse(node.url()), exchange="sourcepulse")
    publisher.open()
    for tag, event in enumerate(events):
        publisher.send(replace(as_message(event), tag=tag))
    settled = 0
    deadline = time.monotonic() + LIMIT_SECONDS
    while settled < len(events):
        assert time.monotonic() < deadline
        settled += len(publisher.settle(1))
    publisher.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_callback_longer_than_the_heartbeat_keeps_its_connection(rabbitmq: RabbitNode, workers: int) -> None:
    queue = f"long-{workers}"
    url = f"{rabbitmq.url()}?heartbeat={HEARTBEAT_SECONDS}"
    done: list[int] = []

    def callback(event: Event) -> None:
        if event.data["number"] == 1:
            # The broker ends a connection that is silent for two of them.
            time.sleep(4 * HEARTBEAT_SECONDS)
        done.append(event.data["number"])

    with Consumer(url, ["hg.push.#"], queue=queue, durable=True, timeout=2) as consumer:
        publish(rabbitmq, [push_event(number, source=f"hg://{queue}/repo") for number in (1, 2)])
        consumer.run(callback, workers=workers)
        assert done == [1, 2]
        assert (consumer.stats.reconnects, consumer.stats.repeats) == (0, 0)
    assert messages(rabbitmq, queue) == 0


def test_what_is_in_progress_when_the_connection_is_cut_is_handled_once_and_acknowledged(rabbitmq: RabbitNode) -> None:
    sources = ("hg://cut-a/repo", "hg://cut-b/repo")
    go_on = threading.Event()
    begun: list[tuple[str, int]] = []
    port = BrokerUrl.parse(rabbitmq.url()).hosts[0][1]

    def callback(event: Event) -> None:
        begun.append((event.source, event.data["number"]))
        if event.data["number"] == 1:
            assert go_on.wait(LIMIT_SECONDS)

    with Proxy(port) as proxy:
        consumer = Consumer(rabbitmq.url(port=proxy.port), ["hg.push.#"], queue="cut", durable=True)
        consumer.open()
        publish(rabbitmq, [push_event(number, source=source) for number in range(1, 6) for source in sources])
        running = threading.Thread(target=consumer.run, args=(callback,), kwargs={"workers": 4}, daemon=True)
        running.start()
        wait_until(lambda: len(begun) == 2)
        proxy.to_client.cut()
        publish(rabbitmq, [push_event(6, source=sources[0])])
        wait_until(lambda: consumer.stats.reconnects == 1 and consumer.stats.repeats == 2)
        assert sorted(begun) == [(source, 1) for source in sources]
        assert messages(rabbitmq, "cut") == 11
        go_on.set()
        wait_until(lambda: messages(rabbitmq, "cut") == 0)
        consumer.stop()
        running.join(LIMIT_SECONDS)
        assert not running.is_alive()
        consumer.close()
    for source, last in zip(sources, (6, 5), strict=True):
        assert [number for each, number in begun if each == source] == list(range(1, last + 1))
    assert (consumer.stats.gaps, consumer.stats.late) == (0, 0)


def test_asyncio_gets_each_event_once_over_a_lost_connection(rabbitmq: RabbitNode) -> None:
    port = BrokerUrl.parse(rabbitmq.url()).hosts[0][1]

    async def main() -> list[int]:
        got: list[int] = []
        consumer = Consumer(rabbitmq.url(port=proxy.port), ["hg.push.#"], queue="asyncio", durable=True)
        async with asyncio.timeout(LIMIT_SECONDS), consumer as events:
            publish(rabbitmq, [push_event(number, source="hg://aio/repo") for number in range(1, 6)])
            async for event in events:
                got.append(event.data["number"])
                if len(got) == 3:
                    proxy.to_client.cut()
                    publish(rabbitmq, [push_event(6, source="hg://aio/repo")])
                    while not consumer.stats.reconnects:
                        await asyncio.sleep(0.01)
                if len(got) == 6:
                    events.acknowledge()
                    break
        return got

    with Proxy(port) as proxy:
        assert asyncio.run(main()) == [1, 2, 3, 4, 5, 6]
    wait_until(lambda: messages(rabbitmq, "asyncio") == 0)
