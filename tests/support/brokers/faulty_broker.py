# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A broker that can be killed, frozen and cut off while a relay and a consumer work with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from support.brokers.activemq import ActiveMqNode
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import RabbitNode

#: The shortest heartbeat, in seconds, so that a black hole is noticed soon.
OPTIONS = "?heartbeat=1"


class Node(Protocol):
    """What a fault does to a broker's process."""

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""

    def start(self) -> None:
        """Start it and wait until it serves."""

    def freeze(self) -> None:
        """Stop it from answering, with its connections open."""

    def thaw(self) -> None:
        """Resume it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultyBroker:
    """How each side gets to the broker, and what can be hurt; `witness_url` is the way that nothing befalls.

    No other test uses the `exchange`, so that queues of former tests get nothing and cost nothing.
    `victim` gives the process that a fault of the broker is to hit; none for the embedded log, which has none.
    """

    exchange: str
    relay_url: str
    consumer_url: str
    witness_url: str
    relay_ways: tuple[Proxy, ...] = ()
    consumer_ways: tuple[Proxy, ...] = ()
    victim: Callable[[], Node] | None = None

    @property
    def queue(self) -> str:
        """The consumer's queue."""
        return f"sub.{self.exchange}"

    @property
    def witness_queue(self) -> str:
        """The queue that no consumer reads before the end."""
        return f"sub.witness.{self.exchange}"


@contextmanager
def amqp(node: RabbitNode) -> Iterator[FaultyBroker]:
    """RabbitMQ over AMQP."""
    with _behind_proxies(node, node.port, lambda port: node.url(port=port)) as broker:
        node.declare_exchange(broker.exchange)
        yield broker


@contextmanager
def stomp_rabbitmq(node: RabbitNode) -> Iterator[FaultyBroker]:
    """RabbitMQ over STOMP."""
    with _behind_proxies(node, node.stomp_port, lambda port: node.stomp_url(port=port)) as broker:
        node.declare_exchange(broker.exchange)
        yield broker


@contextmanager
def stomp_activemq(node: ActiveMqNode) -> Iterator[FaultyBroker]:
    """ActiveMQ over STOMP."""
    with _behind_proxies(node, node.port, lambda port: node.url(port=port)) as broker:
        yield broker


def embedded(folder: Path) -> FaultyBroker:
    """The embedded log, which has no process and no network."""
    url = f"file://{folder}/log.db"
    return FaultyBroker(exchange=new_exchange(), relay_url=url, consumer_url=url, witness_url=url)


def new_exchange() -> str:
    """Return a name that no other test uses."""
    return f"stream-{uuid.uuid4()}"


@contextmanager
def _behind_proxies(node: Node, port: int, url: Callable[[int], str]) -> Iterator[FaultyBroker]:
    with ExitStack() as stack:
        relay_way, consumer_way = (stack.enter_context(Proxy(port)) for _ in range(2))
        yield FaultyBroker(
            exchange=new_exchange(),
            relay_url=url(relay_way.port) + OPTIONS,
            consumer_url=url(consumer_way.port) + OPTIONS,
            witness_url=url(port),
            relay_ways=(relay_way,),
            consumer_ways=(consumer_way,),
            victim=lambda: node,
        )
