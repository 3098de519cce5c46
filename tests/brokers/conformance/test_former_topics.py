# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Topics that a durable queue had once: what they take is neither kept nor given, however often it is restarted."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from brokers.conformance.conftest import make_broker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest, RemoteBroker
from support.brokers.embedded_log import push_event
from support.brokers.messages import is_silent, take

PUSHES, TAGS = "hg.push.#", "hg.tag.#"


def tag_event(number: int) -> object:
    return push_event(number, type_="hg.tag.moved.v1")


@pytest.fixture(params=("stomp-rabbitmq", "stomp-activemq"))
def over_stomp(request: pytest.FixtureRequest) -> Iterator[RemoteBroker]:
    """Each broker where a client cannot undo a binding."""
    made = make_broker(request.param, request)
    assert isinstance(made, RemoteBroker)
    yield made
    made.close()


@pytest.fixture
def rabbit(request: pytest.FixtureRequest) -> Iterator[StompRabbitBroker]:
    """RabbitMQ over STOMP."""
    made = make_broker("stomp-rabbitmq", request)
    assert isinstance(made, StompRabbitBroker)
    yield made
    made.close()


def restart(broker: BrokerUnderTest, *topics: str, expected: list[int]) -> None:
    """Subscribe as a new process does, handle what is expected and nothing else, and leave."""
    consumer = broker.consumer(*topics, hold_seconds=0.1)
    assert sorted(take(consumer, len(expected))) == expected
    assert is_silent(consumer)
    consumer.close()


def test_what_former_topics_take_does_not_pile_up_over_restarts(broker: BrokerUnderTest) -> None:
    restart(broker, PUSHES, TAGS, expected=[])
    broker.publish_events(push_event(1))
    restart(broker, TAGS, expected=[])
    for number in (2, 3, 4):
        broker.publish_events(push_event(number), tag_event(10 * number))
        restart(broker, TAGS, expected=[10 * number])
    # Everywhere the former topics are asked for from now on.
    restart(broker, PUSHES, TAGS, expected=[])
    broker.publish_events(push_event(5), tag_event(50))
    restart(broker, PUSHES, TAGS, expected=[5, 50])


def test_former_topics_that_cannot_be_unbound_are_logged_at_each_start(
    over_stomp: RemoteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    over_stomp.consumer(PUSHES, TAGS).close()
    for _ in range(3):
        caplog.clear()
        over_stomp.consumer(TAGS).close()
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(said) == 1
        assert "hg.push." in said[0]
        assert "admin" in said[0]
    # Asked for again, they are not former ones any more; the others are.
    caplog.clear()
    over_stomp.consumer(PUSHES).close()
    assert "hg.tag." in caplog.text
    assert "hg.push." not in caplog.text


def test_over_amqp_rabbitmq_unbinds_former_topics_without_a_warning(
    rabbit: StompRabbitBroker, caplog: pytest.LogCaptureFixture
) -> None:
    url = rabbit.url_of(options=f"?amqp_port={rabbit.node.port}")
    rabbit.consumer(PUSHES, TAGS, url=url).close()
    assert rabbit.bindings() == {PUSHES, TAGS}
    rabbit.consumer(TAGS, url=url).close()
    assert rabbit.bindings() == {TAGS}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    rabbit.consumer(TAGS).close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
