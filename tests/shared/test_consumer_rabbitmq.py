# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The consumer at a real RabbitMQ: order, repeats, a broker killed while an event is handled, changed topics."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import open_publisher
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.embedded_log import as_message, push_event
from support.brokers.rabbitmq import RabbitNode, is_installed


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail("rabbitmq-server is not installed")
        pytest.skip("rabbitmq-server is not installed")
    started = RabbitNode(tmp_path_factory.mktemp("rabbit"))
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def publish(node: RabbitNode, *numbers: int) -> None:
    publisher = open_publisher(BrokerUrl.parse(node.url()), exchange="sourcepulse")
    publisher.open()
    for tag, number in enumerate(numbers):
        publisher.send(replace(as_message(push_event(number)), tag=tag))
    settled = 0
    deadline = time.monotonic() + 20
    while settled < len(numbers):
        assert time.monotonic() < deadline
        settled += len(publisher.settle(1))
    publisher.close()


def test_a_broker_killed_while_an_event_is_handled_costs_nothing(node: RabbitNode) -> None:
    with Consumer(node.url(), ["hg.push.#"], queue="killed", durable=True, timeout=40) as consumer:
        publish(node, 1, 3, 2, 2, 4)
        got: list[int] = []
        node.keep_declarations()
        for event in consumer:
            got.append(event.data["number"])
            if got == [1, 2]:
                node.kill()
                node.start()
            if len(got) == 4:
                break
        consumer.acknowledge()
        assert got == [1, 2, 3, 4]
        assert consumer.stats.reconnects >= 1
        assert (consumer.stats.gaps, consumer.stats.interruptions) == (0, 0)
        assert consumer.receive(1) is None, "the event at work came again and was known by its id"


def test_former_topics_are_unbound_by_the_next_process(node: RabbitNode) -> None:
    Consumer(node.url(), ["hg.push.#"], queue="changed", durable=True).open()
    with Consumer(node.url(), ["hg.tag.#"], queue="changed", durable=True) as consumer:
        publish(node, 1)
        assert consumer.receive(1) is None
        assert consumer.stats.filtered == 0, "nothing came to be filtered"


def test_a_temporary_subscription_gets_each_event_once_in_order(node: RabbitNode) -> None:
    with Consumer(node.url(), ["hg.#"], timeout=2) as consumer:
        publish(node, 11, 11, 14, 13, 12)
        assert [event.data["number"] for event in consumer] == [11, 12, 13, 14]
