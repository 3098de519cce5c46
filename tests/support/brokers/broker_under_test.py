# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One broker as a conformance test uses it: the library's pieces by URL alone, and a look from outside.

What differs by nature stands as a flag of the class, and nowhere in a test.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from sourcepulse import Consumer
from sourcepulse.brokers import (
    Message,
    Outcome,
    Publisher,
    QueueLimits,
    Settlement,
    Subscription,
    SubscriptionSpec,
    open_publisher,
    open_subscription,
)
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event
from support.brokers.activemq import ActiveMqNode
from support.brokers.child import Child
from support.brokers.embedded_log import as_message
from support.brokers.messages import SMALL_MESSAGE_BYTES, WAIT_SECONDS, DeadLetter, Seen, send_all, unique
from support.brokers.rabbitmq import RabbitNode

LIMITS = QueueLimits()


class BrokerUnderTest(ABC):
    """What a test asks of any broker; `close` drops all that was opened."""

    #: Whether a publisher learns that no queue took its message.
    reports_unroutable: ClassVar[bool] = True
    #: Whether a client may say how much a queue holds.
    sets_queue_limits: ClassVar[bool] = True
    #: Whether a consumer learns that its queue was removed; its events' numbers show it anyway.
    reports_lost_queue: ClassVar[bool] = True
    #: Whether a broker process stands behind it, with a network in between.
    is_remote: ClassVar[bool] = True
    #: A larger body is refused, where a test is about that.
    message_max_bytes: int = SMALL_MESSAGE_BYTES

    def __init__(self) -> None:
        #: How long a test waits for what must come.
        self.patience_s = WAIT_SECONDS
        #: This test's own.
        self.exchange = unique("exchange")
        self.queue = unique("queue")
        self._opened: list[Publisher | Subscription | Consumer | Child | Ear] = []

    @property
    @abstractmethod
    def url(self) -> str:
        """The whole difference between the brokers."""

    # What the library makes of the URL; the broken brokers override these two.

    def new_publisher(self, exchange: str) -> Publisher:
        """Return an unopened publisher."""
        return open_publisher(BrokerUrl.parse(self.url), exchange=exchange)

    def new_subscription(self, spec: SubscriptionSpec, former: Sequence[str]) -> Subscription:
        """Return an unopened subscription."""
        return open_subscription(BrokerUrl.parse(self.url), spec, former_patterns=former)

    def prepare(self, exchange: str) -> None:  # noqa: B027 - most have nothing to do here
        """Do what an admin has to do once for an exchange, where the library cannot."""

    # The port.

    def spec(
        self,
        *patterns: str,
        queue: str | None = None,
        durable: bool = True,
        shared: bool = False,
        prefetch: int = 100,
        exchange: str | None = None,
        limits: QueueLimits = LIMITS,
    ) -> SubscriptionSpec:
        """Describe a subscription, by default to this test's own queue."""
        return SubscriptionSpec(
            exchange=exchange or self.exchange,
            patterns=patterns or ("#",),
            queue=(queue or self.queue) if durable else None,
            durable=durable,
            shared=shared,
            prefetch=prefetch,
            limits=limits,
        )

    def subscription(self, spec: SubscriptionSpec, *, former: Sequence[str] = ()) -> Subscription:
        """Open a subscription."""
        self.prepare(spec.exchange)
        source = self.new_subscription(spec, former)
        self._opened.append(source)
        source.open()
        return source

    def publisher(self, exchange: str | None = None) -> Publisher:
        """Open a publisher."""
        self.prepare(exchange or self.exchange)
        sender = self.new_publisher(exchange or self.exchange)
        self._opened.append(sender)
        sender.open()
        return sender

    def publish(self, *messages: Message, exchange: str | None = None) -> list[Settlement]:
        """Publish over a connection of its own, and settle everything."""
        sender = self.publisher(exchange)
        settled = send_all(sender, messages)
        sender.close()
        return settled

    # The user's view.

    def consumer(self, *topics: str, queue: str | None = None, durable: bool = True, **options: Any) -> Consumer:
        """Subscribe as a program does, by default to this test's own queue."""
        options.setdefault("exchange", self.exchange)
        self.prepare(options["exchange"])
        name = (queue or self.queue) if durable else None
        consumer = Consumer(options.pop("url", self.url), topics or ("#",), queue=name, durable=durable, **options)
        self._opened.append(consumer)
        consumer.open()
        return consumer

    def publish_events(self, *events: Event, exchange: str | None = None) -> None:
        """Publish events; each is delivered, or reported as unroutable."""
        settled = self.publish(*map(as_message, events), exchange=exchange)
        assert {item.outcome for item in settled} <= {Outcome.DELIVERED, Outcome.UNROUTABLE}, settled

    def child(
        self,
        *topics: str,
        dies_at: int | None = None,
        hangs_at: int | None = None,
        limits: dict[str, int] | None = None,
        **options: Any,
    ) -> Child:
        """Start a consumer of this test's own queue in a process of its own, and wait until it is subscribed."""
        self.prepare(self.exchange)
        asked = {
            "topics": topics or ("#",),
            "queue": self.queue,
            "durable": True,
            "exchange": self.exchange,
            "dies_at": dies_at,
            "hangs_at": hangs_at,
            "limits": limits or {},
            **options,
        }
        child = Child(self.url, asked)
        self._opened.append(child)
        assert child.lines(1) == ["ready"]
        return child

    # The view from outside.

    @abstractmethod
    def publish_as_a_stranger(self, routing_key: str, body: bytes) -> None:
        """Publish bytes to this test's exchange by a client that is not ours."""

    @abstractmethod
    def take_dead(self, queue: str) -> list[DeadLetter]:
        """Remove and return the dead letters of a queue that are there now, oldest first."""

    @abstractmethod
    def remove_queue(self) -> None:
        """Remove this test's own queue as an admin does, while no consumer uses it."""

    def dead(self, count: int, queue: str | None = None) -> list[DeadLetter]:
        """Wait for `count` dead letters, by default of this test's own queue, and take them."""
        letters: list[DeadLetter] = []
        deadline = time.monotonic() + self.patience_s
        while len(letters) < count:
            assert time.monotonic() < deadline, f"only {len(letters)} of {count} dead letters"
            letters += self.take_dead(queue or self.queue)
        return letters

    def close(self) -> None:
        """Drop everything that was opened, the latest first."""
        for opened in reversed(self._opened):
            if isinstance(opened, Consumer | Child | Ear):
                opened.close()
            else:
                opened.abandon()
        self._opened.clear()


class RemoteBroker(BrokerUnderTest):
    """A broker that is a process of its own, behind a network."""

    #: The CA that the node's certificates are from.
    ca_file: Path

    def __init__(self, node: RabbitNode | ActiveMqNode) -> None:
        super().__init__()
        self.ca_file = node.ca_file
        self.ca = node.ca
        self._node = node
        self._is_dead = False

    @property
    def url(self) -> str:
        return self.url_of()

    @property
    @abstractmethod
    def plain(self) -> BrokerUrl:
        """Where it listens without TLS, with the login of all its URLs."""

    @property
    @abstractmethod
    def encrypted(self) -> BrokerUrl:
        """Where it listens for TLS."""

    def url_of(
        self,
        *,
        user: tuple[str, str] | None = None,
        hosts: str | None = None,
        tls: bool = False,
        options: str = "",
    ) -> str:
        """Return a URL for another login, other `host:port,host:port`, or TLS; `options` begin with a '?'."""
        url = self.encrypted if tls else self.plain
        name, password = user or (url.user, url.password)
        hosts = hosts or f"{'localhost' if tls else '127.0.0.1'}:{url.hosts[0][1]}"
        vhost = "" if url.vhost == "/" else f"/{url.vhost}"
        return f"{url.scheme}://{name}:{password}@{hosts}{vhost}{options}"

    def keep_declarations(self) -> None:
        """Wait until queues and bindings outlive a kill of the node."""
        self._node.keep_declarations()

    def kill(self) -> None:
        """Kill the node in the middle of whatever it does."""
        self._is_dead = True
        self._node.kill()

    def start(self) -> None:
        """Start the node again."""
        self._node.start()
        self._is_dead = False

    def close(self) -> None:
        super().close()
        if self._is_dead:
            # Other tests use it too.
            self.start()

    def hasty_publisher(self, url: str, limit_s: float) -> Publisher:
        """Return an unopened publisher that waits for nothing longer than so."""
        self.prepare(self.exchange)
        kind: Any = type(open_publisher(parsed := BrokerUrl.parse(url), exchange=self.exchange))
        limits = {"connect_limit_s": limit_s, "call_limit_s": limit_s, "confirm_limit_s": limit_s}
        made: Publisher = kind(parsed, exchange=self.exchange, **limits)
        self._opened.append(made)
        return made

    def hasty_subscription(self, url: str, spec: SubscriptionSpec, limit_s: float) -> Subscription:
        """Return an unopened subscription that waits for nothing longer than so."""
        self.prepare(spec.exchange)
        kind: Any = type(open_subscription(parsed := BrokerUrl.parse(url), spec))
        made: Subscription = kind(parsed, spec, connect_limit_s=limit_s, call_limit_s=limit_s)
        self._opened.append(made)
        return made

    @abstractmethod
    def hear(self) -> Ear:
        """Listen to this test's exchange with a client that is not ours."""


class Ear:
    """A client that is not ours, and hears everything that is published to one exchange."""

    def take(self, count: int) -> list[Seen]:
        """Wait for that many messages."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening."""
