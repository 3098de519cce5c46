# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Many events in a rush share records and acknowledgements: neither a crash nor their order makes a difference."""

from __future__ import annotations

import pytest

from sourcepulse.consumer.memory.batch import BATCH_EVENTS
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import bodies, is_silent, message, receive, take


def test_many_are_acknowledged_together_and_those_in_between_come_again(broker: BrokerUnderTest) -> None:
    first = broker.subscription(broker.spec("hg.#"))
    broker.publish(*(message(number) for number in range(10)))
    got = receive(first, 10)
    first.acknowledge(got[1])
    first.acknowledge_all([got[number] for number in (2, 0)])
    first.acknowledge_all([got[number] for number in (8, 3, 4, 6)])
    first.close()
    again = broker.subscription(broker.spec("hg.#"), former=("hg.#",))
    assert bodies(again, 3) == [b"5", b"7", b"9"]
    assert is_silent(again)


@pytest.mark.parametrize("waits", [False, True], ids=["started later", "waited for its turn"])
def test_after_a_kill_in_a_rush_at_most_the_batch_at_hand_comes_again(broker: BrokerUnderTest, waits: bool) -> None:
    victim = broker.child("hg.#", hangs_at=170)
    waiting = broker.consumer("hg.#") if waits else None
    broker.publish_events(*(push_event(number) for number in range(1, 181)))
    assert victim.lines(170) == [str(number) for number in range(1, 171)]
    victim.kill()
    consumer = waiting or broker.consumer("hg.#")
    (first,) = take(consumer, 1)
    assert 170 - BATCH_EVENTS < first <= 170
    assert take(consumer, 180 - first) == list(range(first + 1, 181))
    assert is_silent(consumer)
    assert consumer.stats.gaps == 0
