# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Two exchanges do not see each other's events: what is restricted does not reach the public."""

from __future__ import annotations

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE, DEFAULT_RESTRICTED_EXCHANGE
from sourcepulse.errors import BrokerRefusedUsError, ConfigError
from support.brokers.broker_rabbitmq import RabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import is_silent, message, receive, take


def test_the_public_and_the_restricted_exchange_are_apart(broker: BrokerUnderTest) -> None:
    # The broadest patterns there are, and names of which one begins with the other.
    names = (DEFAULT_EXCHANGE, DEFAULT_RESTRICTED_EXCHANGE)
    consumers = {
        (name, durable): broker.consumer(
            "#", "*.#", "#.repo", queue=f"{broker.queue}-{name}", exchange=name, durable=durable
        )
        for name in names
        for durable in (True, False)
    }
    broker.publish_events(push_event(1), push_event(2), exchange=names[0])
    broker.publish_events(push_event(11, source="hg://host/repo?restricted"), exchange=names[1])
    broker.publish_events(push_event(3), exchange=names[0])
    for (name, _), consumer in consumers.items():
        assert take(consumer, 3 if name == names[0] else 1) == ([1, 2, 3] if name == names[0] else [11])
    assert all(is_silent(consumer) for consumer in consumers.values())


def test_an_exchange_whose_name_goes_on_with_a_dot_is_another_one_or_refused(broker: BrokerUnderTest) -> None:
    child = f"{broker.exchange}.hg"
    try:
        broker.publisher(child).close()
    except (ConfigError, BrokerRefusedUsError):
        return
    sources = [
        broker.subscription(broker.spec("#", "hg.#", exchange=name, durable=False)) for name in (broker.exchange, child)
    ]
    broker.publish(message(1, key="hg.push"))
    broker.publish(message(2, key="push"), exchange=child)
    for source, body in zip(sources, (b"1", b"2"), strict=True):
        assert [delivery.body for delivery in receive(source, 1)] == [body]
        assert is_silent(source)


def test_an_exchange_named_with_slashes_as_pulses_own_works_or_is_refused(broker: BrokerUnderTest) -> None:
    name = f"exchange/{broker.exchange}/v1"
    try:
        broker.publisher(name).close()
    except ConfigError:
        assert not isinstance(broker, RabbitBroker)
        return
    for queue in (None, broker.queue):
        source = broker.subscription(broker.spec("#", exchange=name, durable=queue is not None, queue=queue))
        broker.publish(message(1, key="hg.push"), exchange=name)
        assert [delivery.body for delivery in receive(source, 1)] == [b"1"]


def test_queues_of_one_name_at_two_exchanges_do_not_mix(broker: BrokerUnderTest) -> None:
    other = f"{broker.exchange}-other"
    first = broker.consumer("hg.#")
    broker.publish_events(push_event(1))
    assert take(first, 1) == [1]
    broker.publish_events(push_event(2), exchange=other)
    assert is_silent(first)
