# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The broker port: what the relay and the consumer need from any broker, and the choice of one by URL."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from sourcepulse.brokers.exchange_names import check_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sourcepulse.brokers.url import BrokerUrl


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message to be published to an exchange, with the properties that consumers filter on.

    `tag` is the caller's own token (the position in the outbox); the settlement returns it.
    `time` is RFC 3339 in UTC. `source` and `subject` are those of the event; without them the embedded log reads the
    body.
    """

    tag: int
    id: str
    type: str
    time: str
    routing_key: str
    content_type: str
    body: bytes
    source: str = ""
    subject: str | None = None


class Outcome(Enum):
    """The result of publishing a message; "try later" is not a result but a raised BrokerUnavailableError."""

    DELIVERED = "delivered"
    #: The broker accepted the message and reported that no queue was bound.
    UNROUTABLE = "unroutable"
    #: The broker will never take this message (too large, forbidden, malformed).
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The broker's answer to one message."""

    tag: int
    outcome: Outcome
    reason: str = ""


class Publisher(Protocol):
    """One connection that publishes to one exchange, pipelined and confirmed.

    Every method is bounded in time by the publisher's own limits. Each may raise BrokerUnavailableError;
    the state of all unsettled messages is then unknown, and the caller abandons the publisher, opens a new one
    and sends every unsettled message again, oldest first.
    """

    #: How many messages may be unsettled at once.
    window: int

    def open(self) -> None:
        """Connect and declare the exchange."""

    def send(self, message: Message) -> None:
        """Send one message; the caller keeps at most `window` messages unsettled."""

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        """Wait at most `wait_seconds` for settlements and return them; empty if none came and none is overdue.

        A message that is unsettled for longer than the confirm limit raises BrokerUnavailableError.
        """

    def abandon(self) -> None:
        """Drop the connection at once, without notifying the broker; never raises."""

    def close(self) -> None:
        """Disconnect cleanly if nothing is unsettled, else abandon; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """What a queue may hold, so that a forgotten subscriber cannot fill the broker."""

    max_length: int = 100_000
    message_ttl_s: int = 7 * 86_400
    expires_s: int = 14 * 86_400
    #: How often an event is handed to a program; if it is delivered once more, it goes to the dead letters.
    max_deliveries: int = 20


TEMPORARY_LIMITS = QueueLimits(max_length=1_000, message_ttl_s=86_400, expires_s=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSpec:
    """The subscription that a consumer requests.

    A durable subscription has a `queue` name and outlives its consumers; a temporary one does neither.
    `shared` lets several consumers split one durable queue; without it one consumer at a time is served, in order.
    `from_start` requests the messages that are already stored, if the broker stores any (the file log), or those stored
    since a time, in seconds since 1970.
    """

    exchange: str
    patterns: tuple[str, ...]
    queue: str | None
    durable: bool
    shared: bool = False
    prefetch: int = 100
    from_start: bool | float = False
    limits: QueueLimits = QueueLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message as the broker delivered it; the subscription needs `handle` to acknowledge it.

    A message with a `defect` is not an event, whatever its body contains.
    """

    routing_key: str
    body: bytes
    content_type: str
    redelivered: bool
    handle: object
    defect: str = ""


class Subscription(Protocol):
    """One connection that receives from one queue.

    Each method may raise BrokerUnavailableError; the caller then abandons the subscription and opens it again.
    Unacknowledged messages are redelivered.
    """

    #: True if the last `open` found that the queue may have lost messages (it was removed or trimmed).
    interrupted: bool

    @property
    def unbinds(self) -> bool:
        """Return whether the last `open` unbound the former patterns.

        If not, their messages are still delivered: the consumer discards them and passes the patterns to the next
        subscription.
        """

    @property
    def served(self) -> bool:
        """Return whether the messages of the queue go to this consumer for sure, and to no other that came before."""

    @property
    def notes(self) -> Sequence[str]:
        """Return sentences for the consumer to log: what this broker does differently from the request."""

    def open(self) -> None:
        """Connect, declare and bind the queue; SubscriptionError if the broker cannot provide what was requested."""

    def receive(self, wait_seconds: float) -> Delivery | None:
        """Wait at most `wait_seconds` for one message."""

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge one message."""

    def acknowledge_all(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge several messages, at less cost than one by one."""

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move a message to the dead letters, if the broker keeps any; else drop it."""

    def abandon(self) -> None:
        """Drop the connection at once; never raises."""

    def close(self) -> None:
        """End the subscription cleanly, within a time limit; never raises."""


def open_publisher(url: BrokerUrl, *, exchange: str) -> Publisher:
    """Return an unopened publisher for the URL's scheme; ConfigError if the broker cannot have such an exchange."""
    check_place(url, exchange)
    if url.scheme == "file":
        from sourcepulse.brokers.file.subscription import LocalPublisher

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

    `former_patterns` are those that a durable queue may still be bound to, for brokers that do not report bindings.
    """
    if url.scheme == "file":
        from sourcepulse.brokers.file.subscription import LocalSubscription

        return LocalSubscription(url, spec)
    if url.scheme.endswith("+rabbitmq"):
        from sourcepulse.brokers.stomp.rabbitmq_subscription import StompRabbitmqSubscription

        return StompRabbitmqSubscription(url, spec, former_patterns=former_patterns)
    if url.scheme.endswith("+activemq"):
        from sourcepulse.brokers.stomp.activemq_subscription import StompActivemqSubscription

        return StompActivemqSubscription(url, spec, former_patterns=former_patterns)
    from sourcepulse.brokers.amqp.subscription import AmqpSubscription

    return AmqpSubscription(url, spec, former_patterns=former_patterns)
