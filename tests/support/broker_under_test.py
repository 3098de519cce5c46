# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One broker as a conformance test uses it: the library's pieces by URL alone, and a look from outside.

What differs by nature stands as a flag of the class, and nowhere in a test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import amqp
import amqp.exceptions

from sourcepulse import Consumer
from sourcepulse.brokers import (
    Delivery,
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
from sourcepulse.brokers.file.admin import dead_letters, delete_queue, queue_statistics
from sourcepulse.brokers.file.publisher import MESSAGE_MAX_BYTES
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import NothingThereError
from sourcepulse.events.event import Event
from support.activemq import ActiveMqNode
from support.amqp import admin
from support.local_log import as_message
from support.rabbitmq import RabbitNode
from support.stomp_wire import Frame, StompWire

#: Generous: proves that nothing hangs.
WAIT_SECONDS = 30.0
#: How long nothing must come, for nothing to come.
SILENCE_SECONDS = 0.3
LIMITS = QueueLimits()
#: What a broker is told to take at most, where a test is about larger messages.
SMALL_MESSAGE_BYTES = 100_000

#: A consumer in a process of its own: prints each event that it begins to handle, and dies as it is told.
CHILD = """
import json, os, sys, time
from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits
options = json.loads(sys.argv[1])
dies_at, hangs_at = options.pop("dies_at"), options.pop("hangs_at")
limits = QueueLimits(**options.pop("limits"))
with Consumer(os.environ["BROKER_URL"], limits=limits, **options) as consumer:
    print("ready", flush=True)
    for event in consumer:
        number = event.data["number"]
        print(number, flush=True)
        if number == dies_at:
            os._exit(1)
        if number == hangs_at:
            time.sleep(1000)
print("left", flush=True)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was put aside, as an operator finds it."""

    routing_key: str
    body: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message as a client sees it that knows nothing of us; `time` in whole seconds since 1970."""

    routing_key: str
    body: bytes
    content_type: str
    id: str
    type: str
    time: str


def unique(kind: str) -> str:
    """Return a name that no other test uses."""
    return f"{kind}-{uuid.uuid4().hex}"


class Child:
    """A consumer in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def lines(self, count: int) -> list[str]:
        """Read so many lines of what it prints; pytest's own timeout bounds the wait."""
        assert self._process.stdout is not None
        return [self._process.stdout.readline().strip() for _ in range(count)]

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(WAIT_SECONDS)

    def end(self) -> tuple[int, list[str]]:
        """Wait until it ends by itself; give its exit code and the rest of what it printed."""
        assert self._process.stdout is not None
        said = self._process.stdout.read().split()
        return self._process.wait(WAIT_SECONDS), said

    def close(self) -> None:
        """End it for good."""
        self._process.kill()
        self._process.wait(WAIT_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


class BrokerUnderTest(ABC):
    """What a test asks of any broker; `close` drops all that was opened."""

    #: Whether a publisher learns that no queue took its message.
    tells_unroutable: ClassVar[bool] = True
    #: Whether a client may say how much a queue holds.
    sets_queue_limits: ClassVar[bool] = True
    #: Whether a consumer learns that its queue was removed; its events' numbers tell anyway.
    tells_lost_queue: ClassVar[bool] = True
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
        """Describe a subscription, to this test's own queue unless told otherwise."""
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
        """Subscribe as a program does, to this test's own queue unless told otherwise."""
        options.setdefault("exchange", self.exchange)
        self.prepare(options["exchange"])
        name = (queue or self.queue) if durable else None
        consumer = Consumer(options.pop("url", self.url), topics or ("#",), queue=name, durable=durable, **options)
        self._opened.append(consumer)
        consumer.open()
        return consumer

    def publish_events(self, *events: Event, exchange: str | None = None) -> None:
        """Publish events; each is delivered, or told as unroutable."""
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
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(asked)],
            stdout=subprocess.PIPE,
            text=True,
            # The URL holds a password, and everybody may read an argument.
            env={**os.environ, "BROKER_URL": self.url, "PYTHONPATH": str(Path(__file__).parents[2] / "shared")},
        )
        child = Child(process)
        self._opened.append(child)
        assert child.lines(1) == ["ready"]
        return child

    # The view from outside.

    @abstractmethod
    def publish_as_a_stranger(self, routing_key: str, body: bytes) -> None:
        """Publish bytes to this test's exchange by a client that is not ours."""

    @abstractmethod
    def take_dead(self, queue: str) -> list[DeadLetter]:
        """Take out the dead letters of a queue that are there now, oldest first."""

    @abstractmethod
    def remove_queue(self) -> None:
        """Remove this test's own queue as an admin does, while nobody uses it."""

    def dead(self, count: int, queue: str | None = None) -> list[DeadLetter]:
        """Wait for so many dead letters, of this test's own queue unless told otherwise, and take them."""
        letters: list[DeadLetter] = []
        deadline = time.monotonic() + WAIT_SECONDS
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


class FileBroker(BrokerUnderTest):
    """The embedded log."""

    is_remote = False
    message_max_bytes = MESSAGE_MAX_BYTES

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._url = BrokerUrl(scheme="file", path=str(folder / "log.db"))

    @property
    def url(self) -> str:
        return str(self._url)

    def publish_as_a_stranger(self, routing_key: str, body: bytes) -> None:
        # The log has no other clients.
        self.publish(message(0, key=routing_key, body=body))

    def take_dead(self, queue: str) -> list[DeadLetter]:
        with suppress(NothingThereError):
            return [
                DeadLetter(routing_key=letter.routing_key, body=letter.body, reason=letter.reason)
                for letter in dead_letters(self._url, queue)
            ]
        return []

    def remove_queue(self) -> None:
        delete_queue(self._url, self.queue)

    def queues(self) -> set[str]:
        """Name all queues, those in use by others included."""
        return {queue.name for queue in queue_statistics(self._url)}


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
        """Wait for so many messages."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop listening."""


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
        listed = self.node.control("--quiet", "list_bindings", "-p", "pulse", "destination_name", "routing_key")
        rows = (line.split("\t") for line in listed.splitlines())
        return {row[1] for row in rows if row[0] == self.queue and row[1] != self.queue}

    @contextmanager
    def small_messages(self) -> Iterator[None]:
        """Have the node take small messages only, on every connection that is made meanwhile."""
        former = self.node.control("eval", "application:get_env(rabbit, max_message_size).").strip()
        size = former.removeprefix("{ok,").removesuffix("}")
        self._set_message_max(str(self.message_max_bytes))
        try:
            yield
        finally:
            self._set_message_max(size)

    def _set_message_max(self, size: str) -> None:
        self.node.control("eval", f"application:set_env(rabbit, max_message_size, {size}).")

    def queues(self) -> set[str]:
        """Name all queues, those in use by others included."""
        return set(self.node.control("--quiet", "list_queues", "-p", "pulse", "name").split()[1:])


class StompRabbitBroker(RabbitBroker):
    """RabbitMQ over STOMP."""

    tells_unroutable = False

    @property
    def plain(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.stomp_url())

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.stomp_tls_url())

    def prepare(self, exchange: str) -> None:
        with admin(self.node) as channel:
            channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)


class ActiveMqBroker(RemoteBroker):
    """ActiveMQ over STOMP."""

    tells_unroutable = False
    sets_queue_limits = False
    tells_lost_queue = False

    def __init__(self, node: ActiveMqNode) -> None:
        super().__init__(node)
        self.node = node

    @property
    def plain(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.url())

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.tls_url())

    def hear(self) -> Ear:
        ear = _StompEar(self._wire(), self.exchange)
        self._opened.append(ear)
        return ear

    def publish_as_a_stranger(self, routing_key: str, body: bytes) -> None:
        with self._wire() as wire:
            topic = f"/topic/VirtualTopic.{self.exchange}.{routing_key}"
            headers = {"destination": topic, "persistent": "true", "content-length": str(len(body))}
            assert wire.request("SEND", headers, body).command == "RECEIPT"

    def take_dead(self, queue: str) -> list[DeadLetter]:
        letters: list[Frame] = []
        with self._wire() as wire:
            headers = {"destination": f"/queue/Consumer.{queue}.dead", "id": "0", "ack": "client-individual"}
            wire.send("SUBSCRIBE", headers)
            with suppress(TimeoutError):
                while True:
                    letters.append(wire.read(SILENCE_SECONDS))
            for frame in letters:
                wire.request("ACK", {"id": frame.headers["ack"]})
        return [
            DeadLetter(
                routing_key=frame.headers.get("x-routing-key", ""),
                body=frame.body,
                reason=frame.headers.get("x-reason", ""),
            )
            for frame in letters
        ]

    def remove_queue(self) -> None:
        # Without its console nothing removes a single queue; the store may go as a whole.
        self.kill()
        self.node.forget_everything()
        self.start()

    def _wire(self) -> StompWire:
        return StompWire(self.node.port, (self.plain.user, self.plain.password))


class StrictActiveMqBroker(ActiveMqBroker):
    """ActiveMQ where it wants a certificate of who comes over TLS."""

    @property
    def encrypted(self) -> BrokerUrl:
        return BrokerUrl.parse(self.node.client_cert_url())


class _StompEar(Ear):
    def __init__(self, wire: StompWire, exchange: str) -> None:
        self._wire = wire
        wire.request("SUBSCRIBE", {"destination": f"/topic/VirtualTopic.{exchange}.>", "id": "0", "ack": "auto"})

    def take(self, count: int) -> list[Seen]:
        return [
            Seen(
                routing_key=frame.headers["destination"].split(".", 2)[2],
                body=frame.body,
                content_type=frame.headers.get("content-type", ""),
                id=frame.headers.get("event-id", ""),
                type=frame.headers.get("type", ""),
                time=frame.headers.get("event-time", ""),
            )
            for frame in self._wire.read_all(count, WAIT_SECONDS)
        ]

    def close(self) -> None:
        self._wire.close()


# What tests do with the pieces of any broker.


def message(number: int, *, key: str = "hg.push.repo", body: bytes | None = None) -> Message:
    """Make a message whose id and body say its number."""
    return Message(
        tag=number,
        id=f"id-{number}",
        type="hg.push.v1",
        time="2026-11-22T10:59:21.482913Z",
        routing_key=key,
        content_type="application/cloudevents+json",
        body=b"%d" % number if body is None else body,
    )


def send_all(sender: Publisher, messages: Iterable[Message]) -> list[Settlement]:
    """Send messages, never more than the window unsettled, and settle all of them."""
    settled: list[Settlement] = []
    sent = 0
    for each in messages:
        sender.send(each)
        sent += 1
        if sent - len(settled) >= sender.window:
            settled += settle(sender, sent - len(settled))
    return settled + settle(sender, sent - len(settled))


def settle(sender: Publisher, count: int) -> list[Settlement]:
    """Settle so many messages."""
    settled: list[Settlement] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(settled) < count:
        assert time.monotonic() < deadline, f"only {len(settled)} of {count} were settled"
        settled += sender.settle(0.5)
    assert len(settled) == count, settled
    return settled


def receive(source: Subscription, count: int) -> list[Delivery]:
    """Receive so many messages, without acknowledging them."""
    got: list[Delivery] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(got) < count:
        assert time.monotonic() < deadline, f"only {len(got)} of {count} came: {[each.body[:20] for each in got]}"
        if (delivery := source.receive(0.5)) is not None:
            got.append(delivery)
    return got


def bodies(source: Subscription, count: int) -> list[bytes]:
    """Receive and acknowledge so many messages, and give their bodies."""
    got: list[bytes] = []
    for _ in range(count):
        (delivery,) = receive(source, 1)
        source.acknowledge(delivery)
        got.append(delivery.body)
    return got


def is_silent(source: Subscription | Consumer) -> bool:
    """Return whether nothing more comes."""
    more = source.receive(SILENCE_SECONDS)
    assert more is None, more
    return True


def next_event(consumer: Consumer) -> Event:
    """Receive one event, without acknowledging it."""
    event = consumer.receive(WAIT_SECONDS)
    assert event is not None, "nothing came"
    return event


def take(consumer: Consumer, count: int) -> list[int]:
    """Handle so many events and give their numbers."""
    got: list[int] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(got) < count:
        event = consumer.receive(deadline - time.monotonic())
        assert event is not None, f"only {got} of {count} came"
        got.append(event.data["number"])
        consumer.acknowledge()
    return got
