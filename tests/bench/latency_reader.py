# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer in a process of its own that prints when each message reached its callback, and which it was.

python -m bench.latency_reader ours|kombu URL STATE TOPIC

Prints a first line once it is subscribed, then `SECONDS<tab>JSON` of the data of each event (with kombu, of the body).
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import kombu

from sourcepulse import Consumer
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE

#: Each process has a queue of its own.
QUEUE = f"latency-{os.getpid()}"
PREFETCH = 100


def ours(url: str, state: str, topic: str) -> None:
    """Receive with our consumer, whose memory is the file `state`."""
    consumer = Consumer(url, [topic], QUEUE, durable=True, prefetch=PREFETCH, state=state)
    consumer.open()
    _print("subscribed")
    for event in consumer:
        _print(f"{time.time()}\t{json.dumps(event.data)}")


def bare(url: str, _state: str, topic: str) -> None:
    """Receive with a bare kombu consumer."""
    with kombu.Connection(url) as connection:
        channel = connection.channel()
        exchange = kombu.Exchange(DEFAULT_EXCHANGE, "topic", durable=True)
        queue = kombu.Queue(QUEUE, exchange, topic, durable=True)

        def handle(body: Any, message: Any) -> None:
            _print(f"{time.time()}\t{body if isinstance(body, str) else json.dumps(body)}")
            message.ack()

        with kombu.Consumer(channel, [queue], callbacks=[handle], accept=["json"], prefetch_count=PREFETCH):
            _print("subscribed")
            while True:
                connection.drain_events()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    {"ours": ours, "kombu": bare}[sys.argv[1]](*sys.argv[2:])
