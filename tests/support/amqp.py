# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the tests of the AMQP broker share: messages, queues looked at from outside, settling everything."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import amqp
import amqp.exceptions

from sourcepulse.brokers import Delivery, Message, Outcome, Settlement, Subscription, SubscriptionSpec
from sourcepulse.brokers.amqp.publisher import AmqpPublisher
from sourcepulse.brokers.amqp.subscription import AmqpSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerUnavailableError
from support.rabbitmq import ADMIN, VHOST, RabbitNode

#: Generous: proves that nothing hangs.
WAIT_SECONDS = 20.0
TIME = "2026-11-22T10:59:21.482913Z"


def message(tag: int, *, key: str = "hg.push.try", body: bytes | None = None) -> Message:
    """A message whose id and body say its number."""
    return Message(
        tag=tag,
        id=f"id-{tag}",
        type="hg.push.v1",
        time=TIME,
        routing_key=key,
        content_type="application/cloudevents+json",
        body=b"%d" % tag if body is None else body,
    )


def new_name(kind: str) -> str:
    """A name that no other test uses; queues need the prefix `sub.`."""
    return f"{kind}.{uuid.uuid4()}"


def publisher(url: str, *, exchange: str = "sourcepulse", **limits: float) -> AmqpPublisher:
    """A publisher, not yet opened, with small limits unless told otherwise."""
    limits = {"confirm_limit_s": 10.0, "connect_limit_s": 10.0, "call_limit_s": 10.0, **limits}
    return AmqpPublisher(BrokerUrl.parse(url), exchange=exchange, **limits)


def subscription(url: str, spec: SubscriptionSpec, *, former: Sequence[str] = (), **limits: float) -> AmqpSubscription:
    """A subscription, not yet opened."""
    return AmqpSubscription(BrokerUrl.parse(url), spec, former_patterns=former, **limits)


def settle(sender: AmqpPublisher, count: int, wait_s: float = WAIT_SECONDS) -> list[Settlement]:
    """Settle so many messages."""
    settled: list[Settlement] = []
    deadline = time.monotonic() + wait_s
    while len(settled) < count:
        assert time.monotonic() < deadline, f"only {len(settled)} of {count} were settled"
        settled += sender.settle(0.5)
    return settled


def settle_until_it_fails(
    sender: AmqpPublisher, wait_s: float = 60.0
) -> tuple[list[Settlement], BrokerUnavailableError]:
    """Settle until the publisher says that it is of no more use; give what was settled before, and its word."""
    settled: list[Settlement] = []
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            settled += sender.settle(wait_s)
        except BrokerUnavailableError as error:
            return settled, error
    raise AssertionError(f"settled {len(settled)} and did not fail")


def outcomes(settled: Sequence[Settlement]) -> dict[int, Outcome]:
    """What became of each tag."""
    return {item.tag: item.outcome for item in settled}


def receive(source: Subscription, count: int, wait_s: float = WAIT_SECONDS) -> list[Delivery]:
    """Receive so many messages, without acknowledging them."""
    got: list[Delivery] = []
    deadline = time.monotonic() + wait_s
    while len(got) < count:
        assert time.monotonic() < deadline, f"only {len(got)} of {count} came"
        if (delivery := source.receive(0.5)) is not None:
            got.append(delivery)
    return got


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
    """Take everything out of a queue."""
    messages = []
    with admin(node) as channel:
        channel.auto_decode = False
        while (got := channel.basic_get(queue, no_ack=True)) is not None:
            messages.append(got)
    return messages


def bodies(node: RabbitNode, queue: str) -> list[str]:
    """Take everything out of a queue and give the bodies, each a text."""
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
