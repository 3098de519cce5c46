# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events a second that a consumer handles and acknowledges, against a bare kombu consumer at the same broker.

The clock runs from the first event to the acknowledgement of the last; everything is in the queue before.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu

from bench.sample import sample
from bench.stats import AtLeast, Figure, interleaved, row
from sourcepulse import Consumer
from sourcepulse.brokers import open_publisher
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.state import MEMORY
from sourcepulse.events.event import PUBLIC
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery
from support.brokers import activemq, rabbitmq

ROUNDS = 15
EVENTS = 3_000
PREFETCH = 100
WAIT_SECONDS = 30.0
BARE_QUEUE = "bare"


@dataclass(frozen=True)
class Way:
    """One queue of ours at one broker, with its memory in a file or not."""

    name: str
    url: str
    state: str

    @property
    def queue(self) -> str:
        """The queue's own name, for every way empties one of its own."""
        return f"{self.url.partition(':')[0].rpartition('+')[2]}-{'memory' if self.state == MEMORY else 'file'}"

    def consumer(self) -> Consumer:
        """Return a consumer of the queue."""
        return Consumer(
            self.url, ["hg.#"], self.queue, durable=True, prefetch=PREFETCH, timeout=WAIT_SECONDS, state=self.state
        )

    def rate(self) -> float:
        """Handle everything in the queue; gives events a second."""
        count = 0
        begun = 0.0
        with self.consumer() as consumer:
            for _ in consumer:
                if count == 0:
                    begun = time.perf_counter()
                count += 1
                if count == EVENTS:
                    # The last one is acknowledged when the loop asks for more.
                    consumer.stop()
            spent = time.perf_counter() - begun
        assert count == EVENTS, f"{count} of {EVENTS} came"
        return EVENTS / spent


class BareKombu:
    """kombu as its documentation shows it: a callback that acknowledges each message."""

    def __init__(self, url: str) -> None:
        self._url = url
        exchange = kombu.Exchange(DEFAULT_EXCHANGE, "topic", durable=True)
        self._queue = kombu.Queue(BARE_QUEUE, exchange, routing_key="hg.#", durable=True)
        with kombu.Connection(url) as connection:
            self._queue(connection.default_channel).declare()

    def rate(self) -> float:
        """Receive and acknowledge everything in the queue without reading it; returns messages a second."""
        count = 0
        begun = 0.0

        def on_message(message: Any) -> None:
            nonlocal count, begun
            if count == 0:
                begun = time.perf_counter()
            count += 1
            message.ack()

        with (
            kombu.Connection(self._url) as connection,
            kombu.Consumer(connection, [self._queue], on_message=on_message, prefetch_count=PREFETCH),
        ):
            while count < EVENTS:
                connection.drain_events(timeout=WAIT_SECONDS)
            spent = time.perf_counter() - begun
        return EVENTS / spent


class Source:
    """A relay that fills all queues of one broker with the same new events."""

    def __init__(self, folder: Path, url: str) -> None:
        self._outbox = Outbox.open(folder / f"{url.partition(':')[0]}.outbox.db")
        parsed = BrokerUrl.parse(url)
        self._delivery = Delivery(
            self._outbox,
            PUBLIC,
            lambda: open_publisher(parsed, exchange=DEFAULT_EXCHANGE),
            exchange=DEFAULT_EXCHANGE,
            clock=time.time,
        )
        self._number = 0

    def fill(self) -> None:
        """Send what one round takes."""
        self._outbox.append([sample(self._number + step) for step in range(EVENTS)])
        self._number += EVENTS
        report = self._delivery.attempt(lambda: False)
        assert (report.delivered, report.unroutable) == (EVENTS, 0), report

    def close(self) -> None:
        """End the relay."""
        self._delivery.close()
        self._outbox.close()


def _measure(
    folder: Path, ways: list[Way], bare: Callable[[], float] | None, rounds: int
) -> dict[str, tuple[float, ...]]:
    """Return each way's rates, round by round; `bare` is the way called kombu."""
    for way in ways:
        way.consumer().__enter__().close()
    rates = {way.name: way.rate for way in ways}
    if bare is not None:
        rates["kombu"] = bare
    source = Source(folder, ways[0].url)
    left = 0

    def after_filling(rate: Callable[[], float]) -> Callable[[], float]:
        def measured() -> float:
            nonlocal left
            if left == 0:
                source.fill()
                left = len(rates)
            left -= 1
            return rate()

        return measured

    try:
        taken = interleaved([after_filling(rate) for rate in rates.values()], rounds)
    finally:
        source.close()
    return dict(zip(rates, zip(*taken, strict=True), strict=True))


def _ways(name: str, url: str, folder: Path) -> list[Way]:
    scheme = url.partition(":")[0]
    return [
        Way(f"{name}, state file", url, str(folder / f"{scheme}.state.db")),
        Way(f"{name}, {MEMORY}", url, MEMORY),
    ]


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        # Memory and outbox are on a real disk; the system's folder for such files may be in memory.
        folder = Path(name)
        if rabbitmq.is_installed():
            _rabbitmq(folder, rounds)
        else:
            print("consumer: RabbitMQ is not installed")
        if activemq.is_installed():
            node = activemq.ActiveMqNode(folder / "activemq")
            try:
                node.start()
                _print(_measure(folder, _ways("STOMP, ActiveMQ", node.url(), folder), None, rounds))
            finally:
                node.close()
        else:
            print("consumer: ActiveMQ is not installed")
        _print(_measure(folder, _ways("file://", f"file://{folder}/log.db", folder), None, rounds))


def _rabbitmq(folder: Path, rounds: int) -> None:
    node = rabbitmq.RabbitNode(folder / "rabbitmq")
    try:
        node.start()
        node.declare_exchange(DEFAULT_EXCHANGE)
        ways = [*_ways("AMQP", node.url(), folder), *_ways("STOMP, RabbitMQ", node.stomp_url(), folder)]
        rates = _measure(folder, ways, BareKombu(node.url()).rate, rounds)
    finally:
        node.close()
    _print(rates)
    for way in ways:
        pairs = zip(rates[way.name], rates["kombu"], strict=True)
        goal = AtLeast(0.9 if way.name.startswith("AMQP") else 0.7)
        row(f"consumer, {way.name} / bare kombu", Figure.of([ours / bare for ours, bare in pairs]), goal)


def _print(rates: dict[str, tuple[float, ...]]) -> None:
    for name, taken in rates.items():
        row(f"consumer, {name}, events/s", Figure.of(taken))


if __name__ == "__main__":
    main()
