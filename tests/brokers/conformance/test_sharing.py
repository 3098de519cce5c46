# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Several consumers of one queue: shared they split it, else one is served at a time."""

from __future__ import annotations

import time
from itertools import chain

import pytest

from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import SILENCE_SECONDS, bodies, is_silent, message, next_event, receive, take


def test_consumers_of_a_shared_queue_split_the_events(broker: BrokerUnderTest) -> None:
    consumers = [broker.consumer("hg.#", shared=True, prefetch=2) for _ in range(3)]
    broker.publish_events(*(push_event(number) for number in range(1, 31)))
    got: list[list[int]] = [[], [], []]
    deadline = time.monotonic() + broker.patience_s
    while sum(map(len, got)) < 30:
        assert time.monotonic() < deadline, got
        for mine, consumer in zip(got, consumers, strict=True):
            if (event := consumer.receive(0.1)) is not None:
                mine.append(event.data["number"])
                consumer.acknowledge()
    assert sorted(chain(*got)) == list(range(1, 31))
    assert all(got), got
    assert all(is_silent(consumer) for consumer in consumers)


def test_no_more_than_the_prefetch_is_with_one_consumer_and_the_other_gets_the_rest(
    broker: BrokerUnderTest,
) -> None:
    asked = broker.spec("hg.#", shared=True, prefetch=3)
    first, second = broker.subscription(asked), broker.subscription(asked)
    broker.publish(*(message(number) for number in range(6)))
    mine = receive(first, 3)
    assert is_silent(first)
    theirs = receive(second, 3)
    assert {delivery.body for delivery in (*mine, *theirs)} == {b"%d" % number for number in range(6)}
    broker.publish(message(6))
    assert is_silent(first)
    second.acknowledge(theirs[0])
    assert bodies(second, 1) == [b"6"]


def test_an_acknowledgement_makes_room_for_one_more(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#", prefetch=3))
    broker.publish(*(message(number) for number in range(10)))
    got = receive(source, 3)
    assert is_silent(source)
    source.acknowledge(got[1])
    assert [delivery.body for delivery in receive(source, 1)] == [b"3"]
    assert is_silent(source)


def test_a_slow_consumer_does_not_hold_up_the_other(broker: BrokerUnderTest) -> None:
    slow, fast = (broker.consumer("hg.#", shared=True, prefetch=1) for _ in range(2))
    broker.publish_events(*(push_event(number) for number in range(1, 11)))
    held = next_event(slow)
    assert sorted([held.data["number"], *take(fast, 9)]) == list(range(1, 11))


def test_what_a_dead_consumer_of_a_shared_queue_held_goes_to_the_others(broker: BrokerUnderTest) -> None:
    victim, heir = (broker.subscription(broker.spec("hg.#", shared=True, prefetch=5)) for _ in range(2))
    broker.publish(*(message(number) for number in range(10)))
    done, *_ = receive(victim, 5)
    others = receive(heir, 5)
    victim.acknowledge(done)
    # Both are full, so one more comes only when the broker has the acknowledgement.
    broker.publish(message(10))
    assert [delivery.body for delivery in receive(victim, 1)] == [b"10"]
    victim.abandon()
    for delivery in others:
        heir.acknowledge(delivery)
    rest = [done.body, *(delivery.body for delivery in others), *bodies(heir, 5)]
    assert sorted(rest, key=int) == [b"%d" % number for number in range(11)]


def test_one_consumer_of_a_queue_is_served_at_a_time_in_order(broker: BrokerUnderTest) -> None:
    # So small a prefetch leaves most in the queue, for the second to take if it could.
    first, second = (broker.consumer("hg.#", prefetch=2) for _ in range(2))
    broker.publish_events(*(push_event(number) for number in range(1, 9)))
    assert take(first, 4) == [1, 2, 3, 4]
    assert is_silent(second)
    assert take(first, 1) == [5]
    first.close()
    assert take(second, 3) == [6, 7, 8]
    assert (second.stats.gaps, second.stats.late) == (0, 0)


def test_the_next_consumer_takes_over_from_one_that_was_killed(broker: BrokerUnderTest) -> None:
    victim = broker.child("hg.#", hangs_at=3)
    heir = broker.consumer("hg.#")
    broker.publish_events(*(push_event(number) for number in range(1, 7)))
    assert victim.lines(3) == ["1", "2", "3"]
    assert is_silent(heir)
    victim.kill()
    assert take(heir, 4) == [3, 4, 5, 6]
    assert (heir.stats.gaps, heir.stats.late) == (0, 0)


@pytest.mark.parametrize("patterns", [("hg.#",), ("hg.push.#", "hg.tag.#")], ids=["one", "two"])
def test_the_next_consumer_takes_over_the_whole_order(broker: BrokerUnderTest, patterns: tuple[str, ...]) -> None:
    first, second = (broker.subscription(broker.spec(*patterns, prefetch=6)) for _ in range(2))
    broker.publish(*(message(number) for number in range(12)))
    got = receive(first, 3)
    assert is_silent(second)
    first.acknowledge(got[0])
    # When nothing more comes, the broker has had the acknowledgement for a while.
    while first.receive(SILENCE_SECONDS) is not None:
        pass
    first.abandon()
    assert bodies(second, 11) == [b"%d" % number for number in range(1, 12)]
