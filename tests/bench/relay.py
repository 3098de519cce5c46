# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events a second from outbox to RabbitMQ, against publishing without confirms and with one confirm after the other."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import amqp
import kombu

from bench.sample import PLAIN_BODY, ROUTING_KEY, check_size, sample
from bench.stats import AtLeast, Figure, interleaved, row
from sourcepulse.brokers.amqp.publisher import AmqpPublisher
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import PUBLIC
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery
from support.brokers.rabbitmq import ADMIN, VHOST, RabbitNode, is_installed

ROUNDS = 9
EVENTS = 5_000
#: One after the other is slow; this many show enough.
EVENTS_ONE_BY_ONE = 400
QUEUE = "bench"


class Site:
    """A broker with one durable queue, and the three ways to fill it."""

    def __init__(self, folder: Path) -> None:
        self.node = RabbitNode(folder)
        self.node.start()
        self.raw = amqp.Connection(f"127.0.0.1:{self.node.port}", *ADMIN, virtual_host=VHOST)
        self.raw.connect()
        self.channel = self.raw.channel()
        self.channel.exchange_declare(DEFAULT_EXCHANGE, "topic", durable=True, auto_delete=False)
        self.channel.queue_declare(QUEUE, durable=True, auto_delete=False)
        self.channel.queue_bind(QUEUE, DEFAULT_EXCHANGE, "#")
        self.confirming = kombu.Connection(self.node.url(), transport_options={"confirm_publish": True})
        self.producer = kombu.Producer(self.confirming.channel())
        self.outbox = Outbox.open(folder / "outbox.db")
        url = BrokerUrl.parse(self.node.url())
        self.delivery = Delivery(
            self.outbox,
            PUBLIC,
            lambda: AmqpPublisher(url, exchange=DEFAULT_EXCHANGE),
            exchange=DEFAULT_EXCHANGE,
            clock=time.time,
        )
        self._number = 0

    def close(self) -> None:
        self.delivery.close()
        self.outbox.close()
        self.confirming.release()
        self.raw.close()
        self.node.close()

    def check(self) -> None:
        """Make sure that all ways carry bodies of about the same size."""
        self._append(1)
        check_size(self.outbox)
        self.delivery.attempt(lambda: False)
        self.channel.queue_purge(QUEUE)

    def without_confirms(self) -> float:
        """Publish with plain py-amqp until everything is in the queue; gives messages a second."""

        def publish() -> None:
            for _ in range(EVENTS):
                message = amqp.Message(PLAIN_BODY, content_type="application/json", delivery_mode=2)
                self.channel.basic_publish(message, DEFAULT_EXCHANGE, ROUTING_KEY)
            # Answered after all that came before it on the channel.
            self.channel.queue_declare(QUEUE, passive=True)

        return EVENTS / self._timed(publish, EVENTS)

    def one_by_one(self) -> float:
        """Publish with kombu, which waits for the confirm of each; gives messages a second."""

        def publish() -> None:
            for _ in range(EVENTS_ONE_BY_ONE):
                self.producer.publish(
                    PLAIN_BODY,
                    exchange=DEFAULT_EXCHANGE,
                    routing_key=ROUTING_KEY,
                    content_type="application/json",
                    content_encoding="utf-8",
                    delivery_mode=2,
                )

        return EVENTS_ONE_BY_ONE / self._timed(publish, EVENTS_ONE_BY_ONE)

    def relay(self) -> float:
        """Deliver what waits in an outbox, confirmed and recorded; gives events a second."""
        self._append(EVENTS)

        def deliver() -> None:
            report = self.delivery.attempt(lambda: False)
            assert report.delivered == EVENTS, report

        return EVENTS / self._timed(deliver, EVENTS)

    def _append(self, count: int) -> None:
        self.outbox.append([sample(self._number + step) for step in range(count)])
        self._number += count

    def _timed(self, work: Callable[[], None], count: int) -> float:
        begun = time.perf_counter()
        work()
        spent = time.perf_counter() - begun
        arrived = self.channel.queue_purge(QUEUE)
        assert arrived == count, f"{arrived} of {count} arrived"
        return spent


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    if not is_installed():
        print("relay: RabbitMQ is not installed")
        return
    with tempfile.TemporaryDirectory(prefix="sourcepulse-bench-") as name:
        site = Site(Path(name))
        try:
            site.check()
            taken = interleaved((site.without_confirms, site.one_by_one, site.relay), rounds)
        finally:
            site.close()
    row("AMQP: relay, events/s", Figure.of([relay for _, _, relay in taken]))
    row("AMQP: py-amqp without confirms, messages/s", Figure.of([raw for raw, _, _ in taken]))
    row("AMQP: kombu, a confirm for each, messages/s", Figure.of([single for _, single, _ in taken]))
    row("AMQP: relay / without confirms", Figure.of([relay / raw for raw, _, relay in taken]), AtLeast(0.8))
    row("AMQP: relay / a confirm for each", Figure.of([relay / single for _, single, relay in taken]), AtLeast(10))


if __name__ == "__main__":
    main()
