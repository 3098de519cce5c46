# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""RabbitMQ as a conformance test uses it, over AMQP and over STOMP."""

from __future__ import annotations

import time
from contextlib import suppress

import amqp
import amqp.exceptions

from sourcepulse.brokers.url import BrokerUrl
from support.brokers import rabbit_admin
from support.brokers.amqp import admin
from support.brokers.broker_under_test import Ear, RemoteBroker
from support.brokers.messages import WAIT_SECONDS, DeadLetter, Seen, unique
from support.brokers.rabbitmq import RabbitNode


class _AmqpEar(Ear):
    def __init__(self, node: RabbitNode, exchange: str) -> None:
        self._node = node
        self._queue = unique("ear")
        with admin(node) as channel:
            channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
            channel.queue_declare(self._queue, durable=True, auto_delete=False)
            channel.queue_bind(self._queue, exchange, "#")

    def take(self, count: int) -> list[Seen]:
        seen: list[Seen] = []
        deadline = time.monotonic() + WAIT_SECONDS
        with admin(self._node) as channel:
            channel.auto_decode = False
            while len(seen) < count:
                assert time.monotonic() < deadline, f"only {len(seen)} of {count} came"
                if (got := channel.basic_get(self._queue, no_ack=True)) is not None:
                    seen.append(
                        Seen(
                            routing_key=got.delivery_info["routing_key"],
                            body=bytes(got.body) if got.body else b"",
                            content_type=got.properties.get("content_type", ""),
                            id=got.properties.get("message_id", ""),
                            type=got.properties.get("type", ""),
                            time=str(got.properties.get("timestamp", "")),
                        )
                    )
        return seen


class RabbitBroker(RemoteBroker):
    """RabbitMQ over AMQP 0-9-1."""

    def __init__(self, node: RabbitNode) -> None:
        super().__init__(node)
        self.node = node

    @property
    def plain(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.url())

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.tls_url())

    def hear(self) -> Ear:
        return _AmqpEar(self.node, self.exchange)

    def publish_as_a_stranger(self, routing_key: str, body: bytes) -> None:
        with admin(self.node) as channel:
            channel.exchange_declare(self.exchange, "topic", durable=True, auto_delete=False)
            channel.confirm_select()
            channel.basic_publish_confirm(amqp.Message(body, delivery_mode=2), self.exchange, routing_key)

    def take_dead(self, queue: str) -> list[DeadLetter]:
        letters = []
        with admin(self.node) as channel, suppress(amqp.exceptions.NotFound):
            channel.auto_decode = False
            while (got := channel.basic_get(f"{queue}.dead", no_ack=True)) is not None:
                headers = got.properties.get("application_headers", {})
                letters.append(
                    DeadLetter(
                        routing_key=headers.get("x-routing-key", ""),
                        body=bytes(got.body) if got.body else b"",
                        reason=headers.get("x-reason", ""),
                    )
                )
        return letters

    def remove_queue(self) -> None:
        with admin(self.node) as channel:
            channel.queue_delete(self.queue)

    def remove_exchange(self) -> None:
        """Remove this test's own exchange as an admin does."""
        with admin(self.node) as channel:
            channel.exchange_delete(self.exchange)

    def remove_binding(self, pattern: str) -> None:
        """Unbind this test's own queue as an admin does."""
        with admin(self.node) as channel:
            channel.queue_unbind(self.queue, self.exchange, pattern)

    def bindings(self) -> set[str]:
        """Name what this test's own queue is bound to."""
        return rabbit_admin.bindings(self.node, self.queue) - {self.queue}

    def queues(self) -> set[str]:
        """Name all queues, those in use by others included."""
        return rabbit_admin.queues(self.node)


class StompRabbitBroker(RabbitBroker):
    """RabbitMQ over STOMP."""

    reports_unroutable = False

    @property
    def plain(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.stomp_url())

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.stomp_tls_url())

    def prepare(self, exchange: str) -> None:
        with admin(self.node) as channel:
            channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
