# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Names over STOMP: nothing goes where no consumer reads, and no consumer reads what is not for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from sourcepulse.brokers import SubscriptionSpec
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE, DEFAULT_RESTRICTED_EXCHANGE
from sourcepulse.errors import BrokerRefusedUsError, ConfigError, SubscriptionError
from support.brokers.activemq import ActiveMqNode
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.messages import bodies, message, receive
from support.brokers.rabbitmq import ADMIN, READER
from support.brokers.stomp import broker_at, publisher, subscription
from support.brokers.stomp_wire import StompWire


@pytest.fixture(params=["rabbitmq", "activemq"])
def stomp(request: pytest.FixtureRequest) -> Iterator[StompRabbitBroker | ActiveMqBroker]:
    """Each broker over STOMP."""
    made = broker_at(request.getfixturevalue(request.param))
    yield made
    made.close()


# B17: destinations that a broker reads otherwise.


def test_at_activemq_nothing_piles_up_where_no_consumer_reads(
    activemq: ActiveMqNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    node = ActiveMqNode(tmp_path_factory.mktemp("alone"))
    try:
        node.start()
        broker = ActiveMqBroker(node)
        durable = broker.subscription(broker.spec("hg.#", "*.push.#", "#.repo"))
        passing = broker.subscription(broker.spec("hg.#", durable=False))
        broker.publish(*(message(number, key=key) for number, key in enumerate(("hg.push.repo", "build.done", "hg"))))
        for _ in range(2):
            assert passing.receive(10) is not None
        got = receive(durable, 3)
        durable.reject(got[0], "because")
        broker.close()
        with StompWire(node.port, ADMIN) as wire:
            wire.send("SUBSCRIBE", {"destination": "/queue/>", "id": "0", "ack": "auto"})
            found = set()
            with suppress(TimeoutError):
                while True:
                    found.add(wire.read(1).headers["destination"])
        assert all(name.startswith(f"/queue/Consumer.{broker.queue}.") for name in found), found
        assert f"/queue/Consumer.{broker.queue}.dead" in found
    finally:
        node.close()


@pytest.mark.parametrize("exchange", ["a.b", "a>", "a,b", "a/b", "a?x=1"])
def test_an_exchange_that_activemq_would_read_otherwise_is_refused(activemq: ActiveMqNode, exchange: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be used at ActiveMQ|is not a valid exchange name"):
        publisher(activemq.url(), exchange=exchange)
    spec = SubscriptionSpec(exchange=exchange, patterns=("#",), queue=None, durable=False)
    with pytest.raises((ConfigError, SubscriptionError), match="cannot be used at ActiveMQ"):
        subscription(activemq.url(), spec).open()


# B18, B19: what a reader of everything public must not see.


def test_a_reader_of_the_public_exchange_may_not_read_the_restricted_one(
    stomp: StompRabbitBroker | ActiveMqBroker,
) -> None:
    for durable in (True, False):
        queue = f"sub.{stomp.queue}" if durable else None
        spec = SubscriptionSpec(exchange=DEFAULT_RESTRICTED_EXCHANGE, patterns=("#",), queue=queue, durable=durable)
        with pytest.raises(BrokerRefusedUsError, match="reader"):
            subscription(stomp.url_of(user=READER), spec).open()
    everything = SubscriptionSpec(exchange=DEFAULT_EXCHANGE, patterns=("#",), queue=None, durable=False)
    source = subscription(stomp.url_of(user=READER), everything)
    source.open()
    stomp.publish(message(1), exchange=DEFAULT_RESTRICTED_EXCHANGE)
    stomp.publish(message(2), exchange=DEFAULT_EXCHANGE)
    assert bodies(source, 1) == [b"2"]
    assert source.receive(0.3) is None
    source.close()
