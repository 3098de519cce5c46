# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events a second from outbox to broker over STOMP, against stock stomp.py in its fastest safe way at each broker."""

from __future__ import annotations

import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import amqp

from bench.sample import PLAIN_BODY, ROUTING_KEY, check_size, sample
from bench.stats import AtLeast, Figure, interleaved, row
from bench.stomp_py import StompPyPublisher
from sourcepulse.brokers import Message, Outcome, open_publisher
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.stomp.destinations import activemq_queue, activemq_topic, rabbitmq_key
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import PUBLIC
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery
from support.brokers import activemq, rabbitmq
from support.brokers.rabbitmq import ADMIN, VHOST
from support.brokers.stomp_wire import StompWire

ROUNDS = 15
EVENTS = 3_000
SETTLE_SECONDS = 1.0
#: After what is to be in a queue came, nothing more comes for so long.
SILENCE_SECONDS = 0.1
SUBSCRIBER = "bench"


class Site(ABC):
    """A broker with one durable queue, and the three ways to fill it."""

    def __init__(self, folder: Path, url: str, port: int, destination: str, *, vhost: str | None = None) -> None:
        self.outbox = Outbox.open(folder / "outbox.db")
        self.url = BrokerUrl.parse(url)
        self.delivery = Delivery(
            self.outbox,
            PUBLIC,
            lambda: open_publisher(self.url, exchange=DEFAULT_EXCHANGE),
            exchange=DEFAULT_EXCHANGE,
            clock=time.time,
        )
        self.publisher = open_publisher(self.url, exchange=DEFAULT_EXCHANGE)
        self.publisher.open()
        self.stock = StompPyPublisher(port, ADMIN, vhost=vhost, destination=destination)
        self._number = 0

    def close(self) -> None:
        self.delivery.close()
        self.publisher.close()
        self.stock.close()
        self.outbox.close()

    def check(self) -> None:
        """Make sure that all ways carry bodies of about the same size."""
        self._append(1)
        check_size(self.outbox)
        self.delivery.attempt(lambda: False)
        self.empty(1)

    def with_stomp_py(self) -> float:
        """Publish with stock stomp.py; gives messages a second."""
        return EVENTS / self._timed(lambda: self.safely(EVENTS))

    def with_our_publisher(self) -> float:
        """Publish with the library's publisher alone; gives messages a second."""

        def publish() -> None:
            unsettled = 0
            for message in messages:
                self.publisher.send(message)
                unsettled += 1
                while unsettled >= self.publisher.window:
                    unsettled -= self._settle()
            while unsettled:
                unsettled -= self._settle()

        messages = [self._message(number) for number in range(EVENTS)]
        return EVENTS / self._timed(publish)

    def with_our_relay(self) -> float:
        """Deliver what waits in an outbox, confirmed and recorded; gives events a second."""
        self._append(EVENTS)

        def deliver() -> None:
            report = self.delivery.attempt(lambda: False)
            assert report.delivered == EVENTS, report

        return EVENTS / self._timed(deliver)

    @abstractmethod
    def safely(self, count: int) -> None:
        """Publish that many messages with stomp.py in its fastest safe way at this broker."""

    @abstractmethod
    def empty(self, count: int) -> None:
        """Empty the queue and make sure that it held that many messages."""

    @staticmethod
    def _message(number: int) -> Message:
        event = sample(number)
        return Message(
            tag=number,
            id=event.id,
            type=event.type,
            time=event.time,
            routing_key=event.routing_key,
            content_type="application/cloudevents+json",
            body=PLAIN_BODY,
            source=event.source,
            subject=event.subject,
        )

    def _settle(self) -> int:
        settled = self.publisher.settle(SETTLE_SECONDS)
        assert all(settlement.outcome is Outcome.DELIVERED for settlement in settled), settled
        return len(settled)

    def _append(self, count: int) -> None:
        self.outbox.append([sample(self._number + step) for step in range(count)])
        self._number += count

    def _timed(self, work: Callable[[], None]) -> float:
        begun = time.perf_counter()
        work()
        spent = time.perf_counter() - begun
        self.empty(EVENTS)
        return spent


class RabbitSite(Site):
    """RabbitMQ: stomp.py asks for a receipt on each of 100 messages."""

    def __init__(self, folder: Path) -> None:
        self.node = rabbitmq.RabbitNode(folder)
        self.node.start()
        self.connection = amqp.Connection(f"127.0.0.1:{self.node.port}", *ADMIN, virtual_host=VHOST)
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.exchange_declare(DEFAULT_EXCHANGE, "topic", durable=True, auto_delete=False)
        self.channel.queue_declare(SUBSCRIBER, durable=True, auto_delete=False)
        self.channel.queue_bind(SUBSCRIBER, DEFAULT_EXCHANGE, "#")
        destination = rabbitmq_key(DEFAULT_EXCHANGE, ROUTING_KEY)
        super().__init__(folder, self.node.stomp_url(), self.node.stomp_port, destination, vhost=VHOST)

    def close(self) -> None:
        super().close()
        self.connection.close()
        self.node.close()

    def safely(self, count: int) -> None:
        self.stock.receipt_on_each(count)

    def empty(self, count: int) -> None:
        arrived = self.channel.queue_purge(SUBSCRIBER)
        assert arrived == count, f"{arrived} of {count} arrived"


class ActiveSite(Site):
    """ActiveMQ: stomp.py sends 100 messages as one transaction with a receipt for its COMMIT."""

    def __init__(self, folder: Path) -> None:
        self.node = activemq.ActiveMqNode(folder)
        self.node.start()
        self._queue = activemq_queue(DEFAULT_EXCHANGE, "#", SUBSCRIBER)
        # A queue of a virtual topic takes what is sent after it was first subscribed to.
        self.empty(0)
        destination = activemq_topic(DEFAULT_EXCHANGE, ROUTING_KEY)
        super().__init__(folder, self.node.url(), self.node.port, destination)

    def close(self) -> None:
        super().close()
        self.node.close()

    def safely(self, count: int) -> None:
        self.stock.transactions(count)

    def empty(self, count: int) -> None:
        with StompWire(self.node.port, ADMIN) as wire:
            wire.send("SUBSCRIBE", {"destination": self._queue, "id": "0", "ack": "auto"})
            wire.read_all(count)
            assert wire.is_silent(SILENCE_SECONDS), f"more than {count} arrived"
            assert wire.request("UNSUBSCRIBE", {"id": "0"}).command == "RECEIPT"


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    if rabbitmq.is_installed():
        _measure("RabbitMQ", RabbitSite, "receipt on all of 100", rounds)
    else:
        print("STOMP: RabbitMQ is not installed")
    if activemq.is_installed():
        _measure("ActiveMQ", ActiveSite, "transaction of 100", rounds)
    else:
        print("STOMP: ActiveMQ is not installed")


def _measure(broker: str, site_of: Callable[[Path], Site], way: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="sourcepulse-bench-") as name:
        site = site_of(Path(name))
        try:
            site.check()
            taken = interleaved((site.with_stomp_py, site.with_our_publisher, site.with_our_relay), rounds)
        finally:
            site.close()
    row(f"STOMP, {broker}: relay, events/s", Figure.of([relay for _, _, relay in taken]))
    row(f"STOMP, {broker}: our publisher alone, messages/s", Figure.of([ours for _, ours, _ in taken]))
    row(f"STOMP, {broker}: stomp.py, {way}, messages/s", Figure.of([stock for stock, _, _ in taken]))
    row(f"STOMP, {broker}: relay / stomp.py", Figure.of([relay / stock for stock, _, relay in taken]), AtLeast(0.9))
    row(
        f"STOMP, {broker}: our publisher alone / stomp.py",
        Figure.of([ours / stock for stock, ours, _ in taken]),
        AtLeast(0.9),
    )


if __name__ == "__main__":
    main()
