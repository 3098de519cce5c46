# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The backlog of one source does not keep another source's new event waiting."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import system_event
from support.brokers.amqp import admin, body_of, bound_queue, publisher
from support.brokers.messages import WAIT_SECONDS
from support.brokers.rabbitmq import RabbitNode

BACKLOG_EVENTS = 20_000
BUSY, QUIET = "system://busy", "system://quiet"


def test_a_new_event_overtakes_the_backlog_of_another_source(
    rabbitmq: RabbitNode, exchange: str, tmp_path: Path
) -> None:
    queue = bound_queue(rabbitmq, exchange)
    bodies: list[bytes] = []
    is_enough = threading.Event()
    with Outbox.open(tmp_path / "o.db") as writer, Outbox.open(tmp_path / "o.db") as own, admin(rabbitmq) as channel:
        writer.append([system_event(number, source=BUSY) for number in range(BACKLOG_EVENTS)])
        delivery = Delivery(
            own, "public", lambda: publisher(rabbitmq.url(), exchange=exchange), exchange=exchange, clock=time.time
        )
        relay = threading.Thread(target=delivery.attempt, args=(is_enough.is_set,))
        channel.basic_consume(queue, no_ack=True, callback=lambda message: bodies.append(body_of(message)))
        relay.start()
        try:
            while not bodies:
                channel.connection.drain_events(timeout=WAIT_SECONDS)
            writer.append([system_event(0, source=QUIET)])
            while QUIET.encode() not in bodies[-1]:
                channel.connection.drain_events(timeout=WAIT_SECONDS)
        finally:
            is_enough.set()
            relay.join(WAIT_SECONDS)
            delivery.close()
    assert not relay.is_alive()
    assert len(bodies) < BACKLOG_EVENTS / 2
