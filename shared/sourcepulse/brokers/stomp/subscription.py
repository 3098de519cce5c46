# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Receiving over STOMP: the part common to both brokers."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from sourcepulse.brokers import Delivery
from sourcepulse.brokers.dead_letters import KEY_HEADER, REASON_HEADER
from sourcepulse.brokers.network.subscription import Handle, NetworkSubscription
from sourcepulse.brokers.stomp.connection import StompConnection
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, ExchangeMissingError, SubscriptionError
from sourcepulse.events.safe_text import ascii_line, reason_line

#: The header of a dead letter that names the queue that it came from.
QUEUE_HEADER = "x-queue"

logger = logging.getLogger(__name__)


class StompSubscription(NetworkSubscription):
    """One consumer of one queue over STOMP, see `Subscription`; each message is acknowledged separately."""

    _Connection = StompConnection
    _connection: StompConnection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: STOMP cannot remove a binding.
        self.unbinds = False
        self._may_bury = True

    def open(self) -> None:
        """Connect, declare queue and bindings, and start consuming."""
        self._check()
        self.abandon()
        self._opening += 1
        try:
            self._connection.open()
            self._subscribe()
        except ErrorFrameError as error:
            raise self._refusal(error) from None
        self._stood = True

    def acknowledge_all(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._ack(delivery)
        self._connection.flush()

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move the message to the dead letters of a durable queue, with the reason in its headers; else drop it.

        If we have no right to the dead letters, the first call raises BrokerUnavailableError; the message is then
        redelivered, and dropped like all later ones.
        """
        if not self._spec.durable or not self._may_bury:
            self.acknowledge(delivery)
            return
        self._handle_of(delivery)
        try:
            headers = {REASON_HEADER: reason_line(reason), KEY_HEADER: reason_line(delivery.routing_key)}
            self._bury(delivery, headers)
        except ErrorFrameError as error:
            if error.blame in (Blame.US, Blame.KEY):
                self._may_bury = False
                logger.warning("rejected messages of the queue %r are dropped: %s", self._spec.queue, error)
            # RabbitMQ closed the connection.
            raise BrokerUnavailableError(
                f"the dead letters of {self._spec.queue!r} accept no messages for now: {error}"
            ) from None

    @abstractmethod
    def _subscribe(self) -> None:
        """Declare, bind and consume on the open connection, and set `interrupted`."""

    @abstractmethod
    def _routing_key(self, headers: dict[str, str]) -> str | None:
        """Return the routing key of a message; None if it claims one that cannot be its own."""

    @abstractmethod
    def _bury(self, delivery: Delivery, headers: dict[str, str]) -> None:
        """Copy a message to the dead letters, then acknowledge it; ErrorFrameError if the broker refuses."""

    def _read(self, wait_s: float) -> bool:
        try:
            frame = self._connection.read(wait_s)
        except ErrorFrameError as error:
            raise BrokerUnavailableError(f"{self._connection.host} ends the subscription: {error}") from None
        if frame is None or frame.cmd != "MESSAGE":
            return False
        self._arrived.append(self._delivery(frame))
        return True

    def _refusal(self, error: ErrorFrameError) -> Exception:
        host, queue = self._connection.host, self._spec.queue
        if error.blame is Blame.QUEUE:
            return SubscriptionError(
                f"the queue {queue!r} exists with other properties (a queue made over AMQP has others); choose "
                f"another name, request the limits it was created with, or delete it: {error}"
            )
        if error.blame is Blame.MISSING:
            return ExchangeMissingError(f"{host} does not have the exchange or queue: {error}")
        if error.blame in (Blame.US, Blame.KEY):
            return BrokerRefusedUsError(f"{host} refuses us: {error}{self._hint(str(error))}")
        if error.blame is Blame.LOCKED:
            return BrokerUnavailableError(f"the queue {queue!r} still belongs to another connection: {error}")
        return BrokerUnavailableError(f"{host} cannot provide the subscription: {error}")

    def _hint(self, refusal: str) -> str:  # noqa: ARG002 - for brokers that have one
        """Return what may help after a refusal."""
        return ""

    def _delivery(self, frame: Any) -> Delivery:
        headers = frame.headers
        key = self._routing_key(headers)
        return Delivery(
            routing_key=key or "",
            defect="" if key is not None else "it claims a topic that its queue does not take",
            body=frame.body,
            content_type=ascii_line(headers.get("content-type", "")),
            redelivered=headers.get("redelivered") == "true",
            handle=Handle(self._opening, headers.get("ack", ""), headers.get("destination", "")),
        )

    def _is_connected(self) -> bool:
        return self._connection.stands

    def _ack(self, delivery: Delivery, transaction: str | None = None) -> None:
        self._connection.requests.ack(self._handle_of(delivery).tag, transaction=transaction)
