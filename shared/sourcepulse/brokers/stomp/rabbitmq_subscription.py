# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Receiving from RabbitMQ over STOMP: one queue, and a lock so that one consumer at a time is served."""

from __future__ import annotations

import logging
import time
from typing import Any

from sourcepulse.brokers import Delivery
from sourcepulse.brokers.dead_letters import KEY_HEADER
from sourcepulse.brokers.network.rabbitmq import DEAD_SUFFIX, check_names, name_hint, queue_limits, temporary_name
from sourcepulse.brokers.stomp.connection import StompConnection
from sourcepulse.brokers.stomp.destinations import (
    rabbitmq_declared_queue,
    rabbitmq_key,
    rabbitmq_queue,
    rabbitmq_routing_key,
)
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError
from sourcepulse.brokers.stomp.rabbitmq_over_amqp import declare_exchange_over_amqp, unbind_over_amqp
from sourcepulse.brokers.stomp.subscription import StompSubscription
from sourcepulse.errors import BrokerUnavailableError

LOCK_SUFFIX = ".consumer"
#: How often a waiting consumer asks for its turn.
TURN_SECONDS = 1.0
#: After how long without a message a queue is bound again; the broker does not report that a binding was removed.
RENEW_SECONDS = 45.0
#: How often a busy durable queue is bound again, over a separate connection, which may hold a message for a moment.
BUSY_RENEW_SECONDS = 300.0
#: The prefix of the subscription numbers of these consumers.
RENEWAL = "renewal-"
#: The numbers of the subscriptions on one connection; a temporary queue has one for each pattern.
QUEUE_NUMBER = 1
LOCK_NUMBER = 0

logger = logging.getLogger(__name__)


class StompRabbitmqSubscription(StompSubscription):
    """One consumer of one queue of RabbitMQ over STOMP, see `StompSubscription`.

    Over STOMP a queue cannot have a single active consumer: the consumer that is served holds an exclusive queue
    `<queue>.consumer`, and the others ask for it once a second. STOMP cannot remove a binding or declare an exchange;
    both are done over AMQP if that is reachable. Otherwise messages of former patterns still arrive, and the consumer
    discards them.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._queue = self._spec.queue or ""
        self._lost_its_queue = False
        self._tried_to_unbind = False
        self._waits_for_turn = False
        self._turn_asked_at = 0.0
        self._dead_stands = False
        self._renew_at = 0.0
        self._renewals = 0
        self._busy_renew_at = 0.0

    @property
    def served(self) -> bool:
        """Whether it has its turn."""
        return not self._spec.shared and not self._waits_for_turn

    def receive(self, wait_seconds: float) -> Delivery | None:
        """Wait at most `wait_seconds` for one message; a consumer that waits for its turn asks for it meanwhile."""
        deadline = time.monotonic() + wait_seconds
        while self._waits_for_turn:
            now = time.monotonic()
            if now >= self._turn_asked_at + TURN_SECONDS:
                self.open()
            elif now >= deadline:
                return None
            else:
                time.sleep(min(deadline, self._turn_asked_at + TURN_SECONDS) - now)
        if self._spec.durable and time.monotonic() >= self._busy_renew_at:
            self._renew_while_busy()
        delivery = super().receive(max(0.0, deadline - time.monotonic()))
        if delivery is not None:
            self._renew_at = time.monotonic() + RENEW_SECONDS
        elif time.monotonic() >= self._renew_at:
            self._renew()
        return delivery

    def _check(self) -> None:
        super()._check()
        check_names((self._queue, self._spec.exchange, *self._spec.patterns), LOCK_SUFFIX)

    def _subscribe(self) -> None:
        try:
            self._subscribe_to_exchange()
        except ErrorFrameError as error:
            if error.blame is not Blame.MISSING:
                raise
            declare_exchange_over_amqp(self._url, self._spec.exchange, **self._limits)
            self._connection.open()
            self._subscribe_to_exchange()

    def _renew(self) -> None:
        """Bind the queue again, because the broker does not report a removed binding or a recreated exchange.

        Over STOMP, binding means consuming, so a second consumer subscribes and unsubscribes on the same connection.
        This is done only while the queue is quiet, because messages sent to that consumer could not be acknowledged.
        BrokerUnavailableError if the exchange is missing.
        """
        self._renewed()
        headers = self._durable_headers() if self._spec.durable else self._temporary_headers()
        try:
            for pattern in self._spec.patterns:
                self._renewals += 1
                number = f"{RENEWAL}{self._renewals}"
                self._connection.subscribe(
                    number, rabbitmq_key(self._spec.exchange, pattern), {**headers, "prefetch-count": "1"}
                )
                self._connection.unsubscribe(number)
        except ErrorFrameError as error:
            # RabbitMQ closed the connection.
            raise self._not_renewed(error) from None

    def _renew_while_busy(self) -> None:
        """Bind the queue again although events arrive: those of one pattern can hide a missing binding of another."""
        self._renewed()
        try:
            self._prepare(look=False)
        except ErrorFrameError as error:
            raise self._not_renewed(error) from None
        except BrokerUnavailableError as error:
            # The connection that delivers events is not affected.
            logger.warning("cannot check for now whether %r is still bound: %s", self._queue, error)

    def _renewed(self) -> None:
        now = time.monotonic()
        self._renew_at, self._busy_renew_at = now + RENEW_SECONDS, now + BUSY_RENEW_SECONDS

    def _not_renewed(self, error: ErrorFrameError) -> BrokerUnavailableError:
        self._lost_its_queue = self._lost_its_queue or error.blame is Blame.MISSING
        return BrokerUnavailableError(f"{self._connection.host} did not bind {self._queue!r} again: {error}")

    def _subscribe_to_exchange(self) -> None:
        self._renewed()
        if not self._spec.durable:
            self._subscribe_temporary()
            return
        self._waits_for_turn = not self._spec.shared and not self._take_turn()
        if self._waits_for_turn:
            self.interrupted = False
            return
        knew_it = bool(self._former_patterns)
        existed = self._prepare(look=knew_it)
        # The new patterns are bound first, so that no message is missed in between.
        self._unbind_former_patterns()
        # If opening fails from here on, the loss is not reported; the next opening must report it, although it finds
        # a queue.
        self._lost_its_queue = self._lost_its_queue or (knew_it and not existed)
        self._connection.subscribe(
            QUEUE_NUMBER, rabbitmq_queue(self._queue), {"prefetch-count": str(self._spec.prefetch)}
        )
        self.interrupted, self._lost_its_queue = self._lost_its_queue, False

    def _subscribe_temporary(self) -> None:
        self._queue = temporary_name()
        patterns = self._spec.patterns
        headers = {
            **self._temporary_headers(),
            "prefetch-count": str(max(1, self._spec.prefetch // len(patterns))),
        }
        for number, pattern in enumerate(patterns, QUEUE_NUMBER):
            self._connection.subscribe(number, rabbitmq_key(self._spec.exchange, pattern), headers)
        self.interrupted = self._stood

    def _take_turn(self) -> bool:
        """Declare the exclusive queue that represents the right to be served; False if another connection holds it."""
        self._turn_asked_at = time.monotonic()
        headers = {"durable": "false", "auto-delete": "true", "exclusive": "true"}
        try:
            self._connection.subscribe(LOCK_NUMBER, rabbitmq_declared_queue(self._queue + LOCK_SUFFIX), headers)
        except ErrorFrameError as error:
            if error.blame is not Blame.LOCKED:
                raise
            self._connection.abandon()
            return False
        return True

    def _prepare(self, *, look: bool) -> bool:
        """Declare and bind over a separate connection; with `look`, return whether the queue existed.

        Over STOMP, binding means consuming: the messages it receives return to the queue when the connection ends.
        """
        connection = StompConnection(self._url, **self._limits)
        connection.open()
        try:
            existed = look and self._is_there(connection)
            # Each time, because an admin may have removed the exchange and with it the bindings of an existing queue.
            headers = {**self._durable_headers(), "prefetch-count": "1"}
            for number, pattern in enumerate(self._spec.patterns, QUEUE_NUMBER):
                connection.subscribe(number, rabbitmq_key(self._spec.exchange, pattern), headers)
            connection.close()
        finally:
            connection.abandon()
        return existed

    def _is_there(self, connection: StompConnection) -> bool:
        try:
            connection.subscribe(LOCK_NUMBER, rabbitmq_queue(self._queue), {"prefetch-count": "1"})
        except ErrorFrameError as error:
            if error.blame is not Blame.MISSING:
                raise
            connection.open()
            return False
        return True

    def _delivery(self, frame: Any) -> Delivery:
        if frame.headers.get("subscription", "").startswith(RENEWAL):
            # The message arrived at the very moment of the renewal.
            raise BrokerUnavailableError(
                f"a message came while {self._queue!r} was bound again; it will be redelivered"
            )
        return super()._delivery(frame)

    def _hint(self, refusal: str) -> str:
        return name_hint(refusal, self._spec.queue, self._url.user)

    def _durable_headers(self) -> dict[str, str]:
        return {**self._declaration(), "durable": "true", "auto-delete": "false", "exclusive": "false"}

    def _temporary_headers(self) -> dict[str, str]:
        return {**self._declaration(), "durable": "false", "auto-delete": "true", "exclusive": "true"}

    def _declaration(self) -> dict[str, str]:
        return {"x-queue-name": self._queue, **self._queue_limits()}

    def _queue_limits(self) -> dict[str, str]:
        # x-overflow cannot be set over STOMP; its default drops the oldest messages, which is what we want.
        return {name: str(limit) for name, limit in queue_limits(self._spec.limits).items()}

    def _unbind_former_patterns(self) -> None:
        former = sorted(set(self._former_patterns) - set(self._spec.patterns))
        if former and not self._tried_to_unbind:
            # Only once, because an unreachable AMQP port may take the whole time limit.
            self._tried_to_unbind = True
            try:
                unbind_over_amqp(self._url, self._spec.exchange, self._queue, former, **self._limits)
                former = []
            except BrokerUnavailableError as error:
                logger.warning(
                    "the queue %r may still be bound to %s, which STOMP cannot undo and AMQP did not (%s): "
                    "their messages are discarded; ask an admin to unbind it from the exchange %r, or name the port of "
                    "AMQP with ?amqp_port=",
                    self._queue, ", ".join(former), error, self._spec.exchange,
                )  # fmt: skip
        self._former_patterns = (*self._spec.patterns, *former)
        self.unbinds = not former

    def _routing_key(self, headers: dict[str, str]) -> str | None:
        destination = headers.get("destination", "")
        if destination.startswith("/queue/") and KEY_HEADER in headers:
            # A requeued dead letter: it was sent to this queue only, with the queue's name as routing key.
            return headers[KEY_HEADER]
        return rabbitmq_routing_key(destination)

    def _bury(self, delivery: Delivery, headers: dict[str, str]) -> None:
        name = self._queue + DEAD_SUFFIX
        if self._dead_stands:
            destination, declaration = rabbitmq_queue(name), {}
        else:
            destination, declaration = rabbitmq_declared_queue(name), {"durable": "true", **self._queue_limits()}
        try:
            self._connection.send(destination, delivery.body, delivery.content_type, {**headers, **declaration})
        except ErrorFrameError as error:
            # The queue may exist with earlier limits.
            self._dead_stands = error.blame is Blame.QUEUE
            raise
        self.acknowledge(delivery)
