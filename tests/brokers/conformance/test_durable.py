# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What outlives a consumer and what does not: durable and temporary subscriptions, changed patterns."""

from __future__ import annotations

from pathlib import Path

import pytest

from sourcepulse.errors import ConfigError, SubscriptionError
from support.brokers.broker_file import FileBroker
from support.brokers.broker_rabbitmq import RabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event, wait_until
from support.brokers.messages import bodies, is_silent, message, receive, take


def test_what_is_published_while_the_consumer_is_away_comes_in_order(broker: BrokerUnderTest) -> None:
    broker.consumer("hg.#").close()
    broker.publish_events(*(push_event(number) for number in range(1, 51)))
    consumer = broker.consumer("hg.#")
    assert take(consumer, 50) == list(range(1, 51))
    assert (consumer.stats.gaps, consumer.stats.interruptions) == (0, 0)


def test_a_crash_of_the_consumer_leaves_the_queue_as_it_is(broker: BrokerUnderTest) -> None:
    broker.subscription(broker.spec("hg.#")).abandon()
    broker.publish(*(message(number) for number in range(5)))
    source = broker.subscription(broker.spec("hg.#"), former=("hg.#",))
    assert bodies(source, 5) == [b"%d" % number for number in range(5)]
    assert not source.interrupted


def test_nothing_from_before_the_first_subscription_comes(broker: BrokerUnderTest) -> None:
    broker.subscription(broker.spec("#", queue=f"{broker.queue}-other")).close()
    broker.publish(message(1))
    sources = [broker.subscription(broker.spec("#", durable=durable)) for durable in (True, False)]
    broker.publish(message(2))
    for source in sources:
        assert bodies(source, 1) == [b"2"]
        assert is_silent(source)


def test_a_temporary_subscription_ends_with_its_consumer(broker: BrokerUnderTest) -> None:
    first = broker.consumer("hg.#", durable=False)
    broker.publish_events(push_event(1))
    assert take(first, 1) == [1]
    first.close()
    broker.publish_events(push_event(2))
    second = broker.consumer("hg.#", durable=False)
    broker.publish_events(push_event(3))
    assert take(second, 1) == [3]


def test_a_temporary_subscription_leaves_no_queue_behind(listed: FileBroker | RabbitBroker) -> None:
    left, crashed = (listed.subscription(listed.spec("#", durable=False)) for _ in range(2))
    assert len(temporary_queues(listed)) == 2
    left.close()
    assert len(temporary_queues(listed)) == 1
    crashed.abandon()
    if listed.is_remote:
        # The log does not learn of a crash: it removes the queue when that has expired.
        wait_until(lambda: not temporary_queues(listed))


def temporary_queues(broker: FileBroker | RabbitBroker) -> set[str]:
    return {name for name in broker.queues() if name.startswith("temporary-")}


def test_every_queue_gets_every_event(broker: BrokerUnderTest) -> None:
    consumers = [
        *(broker.consumer("hg.#", queue=f"{broker.queue}-{number}") for number in range(2)),
        *(broker.consumer("hg.#", durable=False) for _ in range(2)),
    ]
    broker.publish_events(*(push_event(number) for number in range(1, 6)))
    for consumer in consumers:
        assert take(consumer, 5) == [1, 2, 3, 4, 5]
        assert is_silent(consumer)


def test_after_changed_topics_only_the_new_ones_are_given_and_what_matches_both_is_kept(
    broker: BrokerUnderTest,
) -> None:
    types = ("hg.push.v1", "hg.tag.moved.v1", "build.started.v1")
    push, tag, build = (
        [push_event(10 * step + place, type_=type_, typesequence=step + 1) for step in range(3)]
        for place, type_ in enumerate(types, start=1)
    )
    broker.consumer("hg.push.#", "hg.tag.#").close()
    broker.publish_events(push[0], tag[0], build[0])
    consumer = broker.consumer("hg.tag.#", "build.#")
    broker.publish_events(push[1], tag[1], build[1])
    assert sorted(take(consumer, 3)) == [2, 12, 13]
    assert is_silent(consumer)
    consumer.close()
    broker.publish_events(push[2], tag[2], build[2])
    again = broker.consumer("hg.tag.#", "build.#")
    assert sorted(take(again, 2)) == [22, 23]
    assert is_silent(again)


def test_topics_may_be_changed_back_and_forth_without_a_repeat(broker: BrokerUnderTest) -> None:
    for number, topic in enumerate(("hg.#", "hg.push.#", "hg.#"), start=1):
        consumer = broker.consumer(topic, hold_seconds=0.1)
        broker.publish_events(push_event(number))
        assert take(consumer, 1) == [number]
        assert is_silent(consumer)
        consumer.close()


def test_changed_topics_are_kept_though_the_consumer_forgot_its_former_ones(
    broker: BrokerUnderTest, tmp_path: Path
) -> None:
    broker.consumer("hg.#", state=tmp_path / "one.db").close()
    consumer = broker.consumer("build.#", state=tmp_path / "two.db")
    broker.publish_events(push_event(1), push_event(2, type_="build.started.v1"))
    assert take(consumer, 1) == [2]
    assert is_silent(consumer)


@pytest.mark.parametrize("name", ["sub.team.tool-1_x", "Capital.and.UNDER_score"])
def test_a_queue_name_may_have_dots(broker: BrokerUnderTest, name: str) -> None:
    first, second = f"{name}.{broker.queue}", f"{name}.{broker.queue}.more"
    broker.consumer("hg.#", queue=first).close()
    broker.consumer("hg.#", queue=second).close()
    broker.publish_events(push_event(1))
    assert take(broker.consumer("hg.#", queue=first), 1) == [1]
    assert take(broker.consumer("hg.#", queue=second), 1) == [1]


@pytest.mark.parametrize("name", ["a b", "a/b", "a>b", "a*b", "a#b", "a,b", "a%2Fb", "a?b=c", "a:b", "ä", "a\\nb"])
def test_an_odd_queue_name_works_or_is_refused_at_once(broker: BrokerUnderTest, name: str) -> None:
    queue = f"{name}{broker.queue}"
    try:
        broker.consumer("hg.#", queue=queue).close()
    except (ConfigError, SubscriptionError):
        return
    # It must be a queue of this name and of no other, and not a pattern of names.
    other = broker.consumer("hg.#", queue=f"axb{broker.queue}")
    broker.publish_events(push_event(1))
    assert take(broker.consumer("hg.#", queue=queue), 1) == [1]
    assert take(other, 1) == [1]


def test_a_queue_belongs_to_the_exchange_that_it_was_made_for(broker: BrokerUnderTest) -> None:
    broker.subscription(broker.spec("#")).close()
    broker.publish(message(1))
    broker.publish(message(2), exchange=f"{broker.exchange}-other")
    source = broker.subscription(broker.spec("#"), former=("#",))
    assert [delivery.body for delivery in receive(source, 1)] == [b"1"]
    assert is_silent(source)
