# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A relay with nothing to do keeps its connection, however often the broker wants a heartbeat."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from sourcepulse.brokers import Publisher, open_publisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.relay import Relay
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import system_event
from support.brokers.broker_under_test import RemoteBroker
from support.brokers.messages import WAIT_SECONDS, next_event

#: The brokers give up a connection after two or three heartbeats of a second that did not come.
IDLE_SECONDS = 5.0


def test_an_idle_relay_keeps_its_connection_at_one_heartbeat_a_second(remote: RemoteBroker, tmp_path: Path) -> None:
    consumer = remote.consumer("system.#")
    opened: list[Publisher] = []

    def connect() -> Publisher:
        url = BrokerUrl.parse(remote.url_of(options="?heartbeat=1"))
        opened.append(open_publisher(url, exchange=remote.exchange))
        return opened[-1]

    stop = threading.Event()
    # Each thread has a connection of its own.
    place = tmp_path / "o.db"
    with Outbox.open(place) as outbox, Outbox.open(place) as own, Outbox.open(place) as writer:
        delivery = Delivery(own, "public", connect, exchange=remote.exchange, clock=time.time)
        relay = Relay(outbox, [delivery], sweep=lambda: 0, keep=Keep(days=1, bytes=10**9), stop=stop)
        running = threading.Thread(target=relay.run)
        running.start()
        try:
            for number in range(2):
                writer.append([system_event(number)])
                assert next_event(consumer).data["message"] == f"event {number}"
                consumer.acknowledge()
                time.sleep(0 if number else IDLE_SECONDS)
        finally:
            stop.set()
            running.join(WAIT_SECONDS)
    assert not running.is_alive()
    assert len(opened) == 1
