# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Two ActiveMQ brokers that share a store, one of them serving: killed, the other goes on with everything."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Publisher, Settlement, open_publisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import system_event
from support.brokers.activemq import ActiveMqNode, is_installed
from support.brokers.rabbitmq import ADMIN

#: More than the publisher's window, so that the broker dies in the middle.
EVENTS = 2000
KILLED_AFTER = 300
WAIT_SECONDS = 30.0


class Pair(NamedTuple):
    """Two brokers and one URL with both."""

    nodes: tuple[ActiveMqNode, ActiveMqNode]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"stomp+activemq://{ADMIN[0]}:{ADMIN[1]}@{hosts}?heartbeat=2"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    if not is_installed():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("activemq is not installed")
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    one, other = (ActiveMqNode(folder, data=tmp_path / "data") for folder in folders)
    try:
        one.start()
        other.launch()
        yield Pair((one, other))
    finally:
        one.close()
        other.close()


class Watched:
    """A publisher that reports when its broker has taken something."""

    def __init__(self, inner: Publisher, settled: Callable[[int], None]) -> None:
        self._inner = inner
        self._settled = settled
        self.window = inner.window
        self.open, self.send, self.abandon, self.close = inner.open, inner.send, inner.abandon, inner.close

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        settlements = self._inner.settle(wait_seconds)
        self._settled(len(settlements))
        return settlements


def test_the_standby_serves_relay_and_consumer_when_its_broker_is_killed_in_mid_stream(
    pair: Pair, tmp_path: Path
) -> None:
    serving, standby = pair.nodes
    consumer = Consumer(
        pair.url, topics=["system.#"], queue="app", durable=True, timeout=WAIT_SECONDS, state=tmp_path / "state.db"
    )
    consumer.open()
    taken = 0

    def settled(count: int) -> None:
        nonlocal taken
        before, taken = taken, taken + count
        if before < KILLED_AFTER <= taken:
            serving.kill()

    with consumer, Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(number) for number in range(EVENTS)])
        delivery = Delivery(
            outbox,
            "public",
            lambda: Watched(open_publisher(BrokerUrl.parse(pair.url), exchange="sourcepulse"), settled),
            exchange="sourcepulse",
            clock=time.time,
        )
        assert KILLED_AFTER <= delivery.attempt(lambda: False).delivered < EVENTS
        standby.wait_until_started()
        deadline = time.monotonic() + WAIT_SECONDS
        while delivery.has_work():
            assert time.monotonic() < deadline, "events are left"
            delivery.attempt(lambda: False)
        delivery.close()
        handled = [event.numbers.sequence for event in islice(consumer, EVENTS) if event.numbers]
    assert handled == list(range(1, EVENTS + 1))
    assert (consumer.stats.gaps, consumer.stats.late, consumer.stats.interruptions) == (0, 0, 0)
    assert consumer.stats.reconnects >= 1
