# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an admin removes while a consumer is away stands again when it comes back, also for the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from brokers.conformance.conftest import make_broker
from support.brokers.broker_rabbitmq import RabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import bodies, is_silent, message, take


@pytest.fixture(params=("amqp", "stomp-rabbitmq"))
def rabbit(request: pytest.FixtureRequest) -> Iterator[RabbitBroker]:
    """Each broker that has exchanges and bindings for an admin to remove."""
    made = make_broker(request.param, request)
    assert isinstance(made, RabbitBroker)
    yield made
    made.close()


def remove_exchange(rabbit: RabbitBroker) -> None:
    rabbit.remove_exchange()


def remove_queue(rabbit: RabbitBroker) -> None:
    rabbit.remove_queue()


def remove_binding(rabbit: RabbitBroker) -> None:
    rabbit.remove_binding("hg.#")


def remove_both(rabbit: RabbitBroker) -> None:
    rabbit.remove_queue()
    rabbit.remove_exchange()


@pytest.mark.parametrize("remove", [remove_exchange, remove_queue, remove_binding, remove_both])
def test_a_subscription_that_is_opened_again_is_bound_whatever_was_removed_meanwhile(
    rabbit: RabbitBroker, remove: Callable[[RabbitBroker], None]
) -> None:
    source = rabbit.subscription(rabbit.spec("hg.#"))
    rabbit.publish(message(1))
    assert bodies(source, 1) == [b"1"]
    for number in (2, 3):
        source.abandon()
        remove(rabbit)
        rabbit.prepare(rabbit.exchange)
        source.open()
        rabbit.publish(message(number))
        assert bodies(source, 1) == [b"%d" % number]
    assert is_silent(source)


def test_a_removed_queue_is_created_again_and_its_consumer_notified_if_possible(
    broker: BrokerUnderTest,
) -> None:
    reported: list[bool] = []
    first = broker.consumer("hg.#")
    broker.publish_events(push_event(1))
    assert take(first, 1) == [1]
    first.close()
    broker.remove_queue()
    broker.publish_events(push_event(2))
    again = broker.consumer("hg.#", on_interrupted=lambda: reported.append(True), hold_seconds=0.1)
    broker.publish_events(push_event(3))
    assert take(again, 1) == [3]
    # Its numbers show it at every broker.
    assert again.stats.missing == 1
    assert reported == ([True] if broker.reports_lost_queue else [])
