# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What several test files share: names, a proxy, each broker over STOMP, and RabbitMQ where it takes small messages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.brokers import rabbit_admin
from support.brokers.amqp import new_name
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import RabbitNode
from support.brokers.stomp import broker_at


@pytest.fixture
def exchange() -> str:
    return new_name("exchange")


@pytest.fixture
def proxy(rabbitmq: RabbitNode) -> Iterator[Proxy]:
    """A way to RabbitMQ's port for AMQP."""
    with Proxy(rabbitmq.port) as opened:
        yield opened


@pytest.fixture(params=["rabbitmq", "activemq"])
def stomp(request: pytest.FixtureRequest) -> Iterator[StompRabbitBroker | ActiveMqBroker]:
    """Each broker over STOMP."""
    made = broker_at(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def narrow_rabbitmq(rabbitmq: RabbitNode) -> Iterator[RabbitNode]:
    """A node that takes small messages only."""
    with rabbit_admin.small_messages(rabbitmq):
        yield rabbitmq
