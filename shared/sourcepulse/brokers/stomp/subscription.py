# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Receiving over STOMP: the part common to both brokers."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sourcepulse.brokers import Delivery, SubscriptionSpec
from sourcepulse.brokers.stomp.connection import CALL_LIMIT_SECONDS, CONNECT_LIMIT_SECONDS, StompConnection
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError
from sourcepulse.errors import (
    BrokerRefusedUsError,
    BrokerUnavailableError,
    ExchangeMissingError,
    SubscriptionError,
)
from sourcepulse.events.text import ascii_line, reason_line

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

PREFETCH_MAX = 65_535
#: The headers of a dead letter: the reason, the routing key, and the queue that it came from.
REASON_HEADER = "x-reason"
KEY_HEADER = "x-routing-key"
QUEUE_HEADER = "x-queue"

logger = logging.getLogger(__name__)


class _Handle(NamedTuple):
    opening: int
    ack: str
    destination: str


class StompSubscription(ABC):
    """One consumer of one queue over STOMP, see `Subscription`; each message is acknowledged separately."""

    @property
    def notes(self) -> Sequence[str]:
        """What the broker does differently from the request."""
        return ()

    def __init__(
        self,
        url: BrokerUrl,
        spec: SubscriptionSpec,
        *,
        former_patterns: Sequence[str] = (),
        connect_limit_s: float = CONNECT_LIMIT_SECONDS,
        call_limit_s: float = CALL_LIMIT_SECONDS,
    ) -> None:
        self.interrupted = False
        #: STOMP cannot remove a binding.
        self.unbinds = False
        self._url = url
        self._spec = spec
        self._former_patterns = tuple(former_patterns)
        self._connect_limit_s = connect_limit_s
        self._call_limit_s = call_limit_s
        self._connection = StompConnection(url, connect_limit_s=connect_limit_s, call_limit_s=call_limit_s)
        self._opening = 0
        self._stood = False
        self._may_bury = True
        self._arrived: deque[Delivery] = deque()

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

    def receive(self, wait_seconds: float) -> Delivery | None:
        """Wait at most `wait_seconds` for one message; BrokerUnavailableError if the queue was deleted."""
        deadline = time.monotonic() + wait_seconds
        while not self._arrived:
            # What has arrived is read even if there is no time to wait.
            now = time.monotonic()
            try:
                frame = self._connection.read(max(0.0, deadline - now))
            except ErrorFrameError as error:
                raise BrokerUnavailableError(f"{self._connection.host} ends the subscription: {error}") from None
            if frame is not None and frame.cmd == "MESSAGE":
                self._arrived.append(self._delivery(frame))
            elif now >= deadline:
                return None
        return self._arrived.popleft()

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge a message; BrokerUnavailableError if it came over an older connection."""
        self._ack(delivery)
        self._connection.flush()

    def acknowledge_all(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages with one write; raises what `acknowledge` raises."""
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

    def abandon(self) -> None:
        """Drop the connection; unacknowledged messages are redelivered."""
        self._connection.abandon()
        self._arrived.clear()

    def close(self) -> None:
        """Disconnect once the acknowledgements have reached the broker; a temporary queue is removed."""
        self._connection.close()
        self.abandon()

    @abstractmethod
    def _subscribe(self) -> None:
        """Declare, bind and consume on the open connection, and set `interrupted`."""

    @abstractmethod
    def _routing_key(self, headers: dict[str, str]) -> str | None:
        """Return the routing key of a message; None if it claims one that cannot be its own."""

    @abstractmethod
    def _bury(self, delivery: Delivery, headers: dict[str, str]) -> None:
        """Copy a message to the dead letters, then acknowledge it; ErrorFrameError if the broker refuses."""

    def _check(self) -> None:
        spec = self._spec
        if not spec.patterns or spec.durable != bool(spec.queue):
            raise SubscriptionError("a subscription needs patterns, and a queue name exactly if it is durable")
        if spec.from_start and not spec.durable:
            raise SubscriptionError("the broker stores nothing for a temporary queue: from_start is not supported")
        if not 1 <= spec.prefetch <= PREFETCH_MAX:
            raise SubscriptionError(f"prefetch is {spec.prefetch}; it can be 1 to {PREFETCH_MAX}")

    def _consume(self, number: int | str, destination: str, headers: dict[str, str]) -> None:
        """Subscribe under a number and wait for the broker's receipt."""
        self._connection.call(
            lambda receipt: self._connection.requests.subscribe(
                destination, number, ack="client-individual", headers={**headers, "receipt": receipt}
            )
        )

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
            handle=_Handle(self._opening, headers.get("ack", ""), headers.get("destination", "")),
        )

    def _handle_of(self, delivery: Delivery) -> _Handle:
        handle = delivery.handle
        if not isinstance(handle, _Handle) or handle.opening != self._opening or not self._connection.stands:
            raise BrokerUnavailableError("the message came over a connection that is closed; it will be redelivered")
        return handle

    def _ack(self, delivery: Delivery, transaction: str | None = None) -> None:
        self._connection.requests.ack(self._handle_of(delivery).ack, transaction=transaction)
