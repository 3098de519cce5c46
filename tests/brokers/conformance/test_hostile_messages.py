# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever a hostile client publishes: the next good event arrives, over the same connection."""

from __future__ import annotations

import os
import random
import time

import pytest

from sourcepulse import Consumer
from sourcepulse.events.event import Event
from sourcepulse.gaps import Gap
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import as_message, push_event
from support.brokers.hostile import hostile, stranger_at
from support.brokers.messages import WAIT_SECONDS, unique

QUICK_MESSAGES = 120
SOAK_MESSAGES = 20_000
SOAK_PARTS = 8
EMPTY_AFTER = 200
#: A number that is not the next one waits so long for those before it.
HOLD_SECONDS = 0.05
GOOD = "hg://good/repo"


def next_good(consumer: Consumer) -> Event:
    """Receive the next event of the good source; what a stranger wrote well is handled as well."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (event := consumer.receive(deadline - time.monotonic())) is not None:
        consumer.acknowledge()
        if event.source == GOOD:
            return event
    raise AssertionError("the good event did not come")


def check(broker: BrokerUnderTest, seed: int, count: int) -> None:
    chance = random.Random(seed)
    gaps: list[Gap] = []
    consumer = broker.consumer("#", hold_seconds=HOLD_SECONDS, on_gap=gaps.append)
    sender = broker.publisher()
    stranger = stranger_at(broker)
    took = 0
    try:
        for number in range(1, count + 1):
            message = hostile(chance)
            took += stranger.publish(message)
            sender.send(as_message(push_event(number, source=GOOD)))
            while not sender.settle(1.0):
                pass
            assert next_good(consumer).data == {"number": number}, (number, message)
            assert consumer.stats.reconnects == 0, (number, message)
            if number % EMPTY_AFTER == 0:
                # Thousands of dead letters of 100 KB each are more than the store of the tests' ActiveMQ holds.
                broker.take_dead(broker.queue)
    finally:
        stranger.close()
    print(f"{count} messages, {took} taken by the broker, {consumer.stats}")
    assert took > count // 3
    assert consumer.stats.bad > took // 4
    assert [gap for gap in gaps if gap.source == GOOD] == []


@pytest.mark.timeout(120)
def test_the_next_good_event_arrives_after_any_message(broker: BrokerUnderTest) -> None:
    check(broker, 13, QUICK_MESSAGES)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_next_good_event_arrives_after_any_of_20_000_messages(broker: BrokerUnderTest) -> None:
    seed = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(10**6)
    for part in range(SOAK_PARTS):
        broker.exchange, broker.queue = unique("exchange"), unique("queue")
        check(broker, seed + part, SOAK_MESSAGES // SOAK_PARTS)
        broker.close()
        if isinstance(broker, ActiveMqBroker):
            # Some of these messages cost it Java heap for good: after 7,000 the 384 MiB of the tests are used up.
            broker.kill()
            broker.node.forget_everything()
            broker.start()
