# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What several test files share: names, a proxy, each broker over STOMP, and one that takes small messages only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from support.brokers.activemq import ActiveMqNode
from support.brokers.amqp import new_name
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.broker_under_test import SMALL_MESSAGE_BYTES
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


@pytest.fixture(scope="session")
def narrow_rabbitmq(
    rabbitmq: RabbitNode,  # which skips if there is none
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RabbitNode]:
    """A node that takes small messages only: a start costs less than rabbitmqctl, once for each test."""
    with closing(RabbitNode(tmp_path_factory.mktemp("narrow"), max_message_bytes=SMALL_MESSAGE_BYTES)) as node:
        node.start()
        yield node


@pytest.fixture(scope="session")
def narrow_activemq(
    activemq: ActiveMqNode,  # which skips if there is none
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ActiveMqNode]:
    """A broker that takes small messages only; the limit cannot be changed while it runs."""
    with closing(ActiveMqNode(tmp_path_factory.mktemp("narrow"), max_frame_bytes=SMALL_MESSAGE_BYTES)) as node:
        node.start()
        yield node
