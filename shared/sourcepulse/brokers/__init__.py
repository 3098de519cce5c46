# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The broker port: what the relay and the consumer ask of any broker, and how a URL picks one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from sourcepulse.brokers.address import check_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sourcepulse.brokers.url import BrokerUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Bytes on their way to an exchange, with the properties that consumers filter on.

    `tag` is the caller's own token (the position in the outbox); it comes back in the settlement.
    `time` is RFC 3339 in UTC.
    """

    tag: int
    id: str
    type: str
    time: str
    routing_key: str
    content_type: str
    body: bytes


class Outcome(Enum):
    """What became of a message; "try later" is not one of them but a raised BrokerUnavailableError."""

    DELIVERED = "delivered"
    #: The broker took it and told that no queue was bound.
    UNROUTABLE = "unroutable"
    #: The broker will never take this message (too large, forbidden, malformed).
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The broker's word on one message."""

    tag: int
    outcome: Outcome
    reason: str = ""


class Publisher(Protocol):
    """One connection that publishes to one exchange, pipelined and confirmed.

    Every method is bounded in time by the publisher's own limits. Each may raise BrokerUnavailableError;
    then nothing more is known of what is unsettled, the caller abandons the publisher, opens a new one and
    sends everything unsettled again, from the oldest on.
    """

    #: How many messages may be unsettled at once.
    window: int

    def open(self) -> None:
        """Connect and declare the exchange."""

    def send(self, message: Message) -> None:
        """Hand over one message; the caller keeps at most `window` unsettled."""

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        """Wait for news at most so long and return it; empty if none came and none is overdue.

        A message unsettled for longer than the confirm limit raises BrokerUnavailableError.
        """

    def abandon(self) -> None:
        """Drop the connection at once, without a word to the broker; never raises."""

    def close(self) -> None:
        """Say good-bye to the broker when nothing is unsettled, else abandon; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What a queue may hold, so that a forgotten subscriber cannot fill the broker."""

    max_length: int = 100_000
    message_ttl_s: int = 7 * 86_400
    expires_s: int = 14 * 86_400
    #: An event is handed to a program at most so often; if it comes once more it goes to the dead letters.
    max_deliveries: int = 20


TEMPORARY_LIMITS = QueueLimits(max_length=1_000, message_ttl_s=86_400, expires_s=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpec:
    """What a consumer asks for.

    A durable subscription has a `queue` name and outlives its consumers; a temporary one has neither.
    `shared` lets several consumers split one durable queue; without it one at a time is served, in order.
    `from_start` asks for what is stored already, where the broker has any (the file log).
    """

    exchange: str
    patterns: tuple[str, ...]
    queue: str | None
    durable: bool
    shared: bool = False
    prefetch: int = 100
    from_start: bool = False
    limits: QueueLimits = QueueLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message as a broker handed it out; `handle` is the subscription's own word for acknowledging it.

    One with a `defect` is no event, whatever its body holds.
    """

    routing_key: str
    body: bytes
    content_type: str
    redelivered: bool
    handle: object
    defect: str = ""


class Subscription(Protocol):
    """One connection that receives from one queue.

    Each method may raise BrokerUnavailableError; the caller then abandons it and opens a new one, which
    stands as the old one did; what was not acknowledged comes again.
    """

    #: True if the last `open` found that messages may have been lost to the queue (it was gone or trimmed).
    interrupted: bool

    @property
    def unbinds(self) -> bool:
        """Return whether the last `open` undid the former patterns.

        If not, what they take still comes, and the consumer leaves it out and passes them to the next subscription.
        """

    @property
    def notes(self) -> Sequence[str]:
        """Return sentences on what this broker does otherwise than was asked, for the consumer to tell."""

    def open(self) -> None:
        """Connect, declare and bind the queue; SubscriptionError if the broker cannot give what was asked."""

    def receive(self, wait_seconds: float) -> Delivery | None:
        """Wait at most so long for one message."""

    def acknowledge(self, delivery: Delivery) -> None:
        """Tell the broker that the message is done with."""

    def acknowledge_all(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that these messages are done with, at less cost than one by one."""

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Set a message aside for good, where the broker keeps dead letters; else drop it."""

    def abandon(self) -> None:
        """Drop the connection at once; never raises."""

    def close(self) -> None:
        """End the subscription politely, within a limit; never raises."""


def open_publisher(url: BrokerUrl, *, exchange: str) -> Publisher:
    """Return an unopened publisher for the URL's scheme; ConfigError if the exchange cannot be had there."""
    check_place(url, exchange)
    if url.scheme == "file":
        from sourcepulse.brokers.file.queues import LocalPublisher

        return LocalPublisher(url, exchange=exchange)
    if url.scheme.endswith("+rabbitmq"):
        from sourcepulse.brokers.stomp.rabbitmq_publisher import StompRabbitmqPublisher

        return StompRabbitmqPublisher(url, exchange=exchange)
    if url.scheme.endswith("+activemq"):
        from sourcepulse.brokers.stomp.activemq_publisher import StompActivemqPublisher

        return StompActivemqPublisher(url, exchange=exchange)
    from sourcepulse.brokers.amqp.publisher import AmqpPublisher

    return AmqpPublisher(url, exchange=exchange)


def open_subscription(url: BrokerUrl, spec: SubscriptionSpec, *, former_patterns: Sequence[str] = ()) -> Subscription:
    """Return an unopened subscription for the URL's scheme.

    `former_patterns` are those that a durable queue may be bound to from before, for brokers that do not tell.
    """
    if url.scheme == "file":
        from sourcepulse.brokers.file.queues import LocalSubscription

        return LocalSubscription(url, spec)
    if url.scheme.endswith("+rabbitmq"):
        from sourcepulse.brokers.stomp.rabbitmq_subscription import StompRabbitmqSubscription

        return StompRabbitmqSubscription(url, spec, former_patterns=former_patterns)
    if url.scheme.endswith("+activemq"):
        from sourcepulse.brokers.stomp.activemq_subscription import StompActivemqSubscription

        return StompActivemqSubscription(url, spec, former_patterns=former_patterns)
    from sourcepulse.brokers.amqp.subscription import AmqpSubscription

    return AmqpSubscription(url, spec, former_patterns=former_patterns)
