# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Receiving from RabbitMQ: one queue, bound to exactly the requested patterns, acknowledged message by message."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from amqp import exceptions

from sourcepulse.brokers import Delivery, QueueLimits
from sourcepulse.brokers.amqp.connection import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    RESOURCE_LOCKED,
    AmqpConnection,
    describe,
)
from sourcepulse.brokers.amqp.dead_letters import bury
from sourcepulse.brokers.amqp.inbound import Inbound
from sourcepulse.brokers.amqp.publisher import declare_exchange, exchange_stands
from sourcepulse.brokers.network.rabbitmq import DEAD_SUFFIX, check_names, name_hint, queue_limits, temporary_name
from sourcepulse.brokers.network.subscription import Handle, NetworkSubscription
from sourcepulse.errors import BrokerUnavailableError, SubscriptionError

#: How often a queue is bound again, because the broker does not report that a binding was removed.
RENEW_SECONDS = 30.0

logger = logging.getLogger(__name__)


class AmqpSubscription(NetworkSubscription):
    """One consumer of one queue of RabbitMQ over AMQP 0-9-1, see `Subscription`.

    A durable subscription is a durable classic queue, which serves one consumer at a time unless shared; a
    temporary one is an exclusive queue that is removed with the connection. Both are allowed on RabbitMQ 4.
    AMQP cannot list a queue's bindings: `former_patterns` are unbound unless they are requested again.
    """

    unbinds = True
    _Connection = AmqpConnection
    _connection: AmqpConnection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._channel: Any = None
        self._lost_its_queue = False
        #: The tags of the unsettled deliveries of this channel, in order.
        self._outstanding: dict[int, None] = {}
        self._cancelled = False
        self._renew_at = 0.0
        self._may_bind = True
        self._is_alone = False
        self._queue = self._spec.queue or temporary_name()

    @property
    def served(self) -> bool:
        """Whether it was the only consumer when it came; of several, the broker does not name the one it serves."""
        return self._is_alone and not self._spec.shared

    def open(self) -> None:
        """Connect, declare queue and bindings, and start consuming."""
        self._check()
        self.abandon()
        self._connection.open()
        declare_exchange(self._connection, self._spec.exchange)
        if not self._spec.durable:
            self._queue = temporary_name()
        existed = self._declare()
        knew_it = bool(self._former_patterns) if self._spec.durable else self._stood
        # If opening fails from here on, the loss is not reported; the next opening must report it, although it finds
        # a queue.
        self._lost_its_queue = self._lost_its_queue or (knew_it and not existed)
        self._opening += 1
        try:
            self._bind_and_consume()
        except exceptions.ChannelError as error:
            raise self._refusal(error) from None
        self.interrupted, self._lost_its_queue = self._lost_its_queue, False
        self._stood = True
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def acknowledge_all(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages: one frame for all of them up to the first outstanding one that is not among them."""
        tags = {self._handle_of(delivery).tag for delivery in deliveries}
        done = list(takewhile(tags.__contains__, self._outstanding))
        if done:
            self._connection.write(self._channel.basic_ack, done[-1], True)
        for tag in sorted(tags.difference(done)):
            self._connection.write(self._channel.basic_ack, tag)
        for tag in tags:
            self._outstanding.pop(tag, None)
        self._connection.flush()

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move the message to `<queue>.dead`, with the reason in its headers; drop it if we have no right to do so."""
        tag = self._handle_of(delivery).tag
        if self._spec.durable and bury(
            self._connection, self._queue + DEAD_SUFFIX, delivery, reason, queue_arguments(self._spec.limits)
        ):
            self._connection.write(self._channel.basic_ack, tag)
        else:
            self._connection.write(self._channel.basic_reject, tag, False)
        self._outstanding.pop(tag, None)
        self._connection.flush()

    def abandon(self) -> None:
        super().abandon()
        self._channel = None
        self._outstanding.clear()
        self._cancelled = False

    def _check(self) -> None:
        super()._check()
        check_names((self._queue, self._spec.exchange, *self._spec.patterns), DEAD_SUFFIX)

    def _is_connected(self) -> bool:
        return self._channel is not None

    def _declare(self) -> bool:
        """Declare the queue and return whether it existed; SubscriptionError if it is another kind of queue."""
        channel = self._connection.channel()
        existed = True
        try:
            self._connection.call(channel.queue_declare, self._queue, passive=True)
        except exceptions.ChannelError as error:
            if error.reply_code != NOT_FOUND:
                raise self._refusal(error) from None
            existed = False
            channel = self._connection.channel()
        durable = self._spec.durable
        arguments = queue_arguments(self._spec.limits)
        if durable and not self._spec.shared:
            arguments["x-single-active-consumer"] = True
        try:
            self._connection.call(
                channel.queue_declare,
                self._queue,
                durable=durable,
                exclusive=not durable,
                auto_delete=not durable,
                arguments=arguments,
            )
        except exceptions.ChannelError as error:
            raise self._refusal(error) from None
        self._channel = channel
        return existed

    def _bind_and_consume(self) -> None:
        channel, exchange = self._channel, self._spec.exchange
        call = self._connection.call
        for pattern in self._spec.patterns:
            call(channel.queue_bind, self._queue, exchange, pattern)
        # The new patterns are bound first, so that no message is missed in between.
        for pattern in set(self._former_patterns) - set(self._spec.patterns):
            call(channel.queue_unbind, self._queue, exchange, pattern)
        call(channel.basic_qos, 0, self._spec.prefetch, False)
        call(channel.basic_consume, self._queue, callback=self._on_message, on_cancel=self._on_cancel)
        self._is_alone = call(channel.queue_declare, self._queue, passive=True).consumer_count == 1
        self._former_patterns = self._spec.patterns

    def _renew(self) -> None:
        """Bind the queue again, because the broker does not report a removed binding or a recreated exchange.

        BrokerUnavailableError if the exchange is missing: the next opening waits for it.
        """
        self._renew_at = time.monotonic() + RENEW_SECONDS
        exchange = self._spec.exchange
        if not exchange_stands(self._connection, exchange):
            self._lost_its_queue = True
            raise BrokerUnavailableError(
                f"the exchange {exchange!r} was removed at {self._connection.host}, and the bindings of "
                f"{self._queue!r} with it"
            )
        if not self._may_bind:
            return
        # On a separate channel, because an error closes the channel.
        channel = self._connection.channel()
        try:
            for pattern in self._spec.patterns:
                self._connection.call(channel.queue_bind, self._queue, exchange, pattern)
            self._connection.call(channel.close)
        except exceptions.ChannelError as error:
            self._may_bind = False
            logger.warning("cannot check any more whether %r is still bound: %s", self._queue, error.reply_text)

    def _refusal(self, error: exceptions.ChannelError) -> Exception:
        text = error.reply_text
        if error.reply_code == PRECONDITION_FAILED:
            return SubscriptionError(
                f"the queue {self._queue!r} exists with other properties; choose another name, request the limits "
                f"it was created with, or delete it: {text}"
            )
        if error.reply_code == RESOURCE_LOCKED:
            return BrokerUnavailableError(f"the queue {self._queue!r} still belongs to another connection: {text}")
        if error.reply_code == ACCESS_REFUSED:
            named = describe(error, self._connection.host, self._url.vhost)
            return type(named)(f"{named}{name_hint(text, self._spec.queue, self._url.user)}")
        return BrokerUnavailableError(f"the queue {self._queue!r} cannot be used: {text}")

    def _on_message(self, message: Inbound) -> None:
        self._outstanding[message.delivery_tag] = None
        self._arrived.append(
            Delivery(
                routing_key=message.routing_key,
                body=message.body,
                content_type=message.content_type,
                redelivered=message.redelivered,
                handle=Handle(self._opening, message.delivery_tag),
            )
        )

    def _on_cancel(self, _consumer_tag: str) -> None:
        # Raised later: py-amqp must finish with the frame first.
        self._cancelled = True

    def _read(self, wait_s: float) -> bool:
        if self._channel is not None and time.monotonic() >= self._renew_at:
            self._renew()
        try:
            arrived = self._connection.read(wait_s)
        except exceptions.ChannelError as error:
            raise BrokerUnavailableError(f"{self._connection.host} closed the channel: {error.reply_text}") from None
        if self._cancelled and not self._arrived:
            raise BrokerUnavailableError(f"the queue {self._queue!r} was deleted, or its node is gone")
        return arrived


def queue_arguments(limits: QueueLimits) -> dict[str, Any]:
    """Return limits as RabbitMQ's queue arguments; publishers are never refused."""
    return {**queue_limits(limits), "x-overflow": "drop-head"}
