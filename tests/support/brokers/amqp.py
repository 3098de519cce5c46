# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the tests of the AMQP broker share: messages, queues looked at from outside, settling everything."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import amqp
import amqp.exceptions

from sourcepulse.brokers import SubscriptionSpec
from sourcepulse.brokers.amqp.publisher import AmqpPublisher
from sourcepulse.brokers.amqp.subscription import AmqpSubscription
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.messages import WAIT_SECONDS
from support.brokers.rabbitmq import ADMIN, VHOST, RabbitNode

#: If a queue holds more, they are consumed, which is much faster than one request for each.
MANY_MESSAGES = 50


def new_name(kind: str) -> str:
    """A name that no other test uses; queues need the prefix `sub.`."""
    return f"{kind}.{uuid.uuid4()}"


def publisher(url: str, *, exchange: str = "sourcepulse", **limits: float) -> AmqpPublisher:
    """A publisher, not yet opened, by default with small limits."""
    limits = {"confirm_limit_s": 10.0, "connect_limit_s": 10.0, "call_limit_s": 10.0, **limits}
    return AmqpPublisher(BrokerUrl.parse(url), exchange=exchange, **limits)


def subscription(url: str, spec: SubscriptionSpec, *, former: Sequence[str] = (), **limits: float) -> AmqpSubscription:
    """A subscription, not yet opened."""
    return AmqpSubscription(BrokerUrl.parse(url), spec, former_patterns=former, **limits)


@contextmanager
def admin(node: RabbitNode) -> Iterator[Any]:
    """A channel of plain py-amqp, with full rights."""
    with amqp.Connection(f"127.0.0.1:{node.port}", *ADMIN, virtual_host=VHOST) as connection:
        yield connection.channel()


def bound_queue(node: RabbitNode, exchange: str, *, key: str = "#", arguments: dict[str, Any] | None = None) -> str:
    """Declare exchange and a durable queue bound to it, and give its name."""
    name = new_name("sub")
    with admin(node) as channel:
        channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
        channel.queue_bind(name, exchange, key)
    return name


def content(node: RabbitNode, queue: str) -> list[Any]:
    """Fetch everything from a queue."""
    messages: list[Any] = []
    with admin(node) as channel:
        channel.auto_decode = False
        if (count := channel.queue_declare(queue, passive=True).message_count) > MANY_MESSAGES:
            channel.basic_consume(queue, no_ack=True, callback=messages.append)
            while len(messages) < count:
                channel.connection.drain_events(timeout=WAIT_SECONDS)
            return messages
        while (got := channel.basic_get(queue, no_ack=True)) is not None:
            messages.append(got)
    return messages


def bodies(node: RabbitNode, queue: str) -> list[str]:
    """Fetch everything from a queue and return the bodies, each a text."""
    return [body_of(got).decode() for got in content(node, queue)]


def body_of(got: Any) -> bytes:
    """Return the bytes of a message; py-amqp has '' for none."""
    return bytes(got.body) if got.body else b""


def exists(node: RabbitNode, queue: str) -> bool:
    """Return whether a queue is there."""
    with admin(node) as channel:
        try:
            channel.queue_declare(queue, passive=True)
        except amqp.exceptions.NotFound:
            return False
    return True
