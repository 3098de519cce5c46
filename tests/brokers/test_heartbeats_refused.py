# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A relay that may publish only its own family delivers all of it, though the broker refuses what it says of itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from sourcepulse import Consumer, config
from sourcepulse.catalogue import example_of
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.assemble import open_relay
from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import NARROW, RabbitNode

LIMIT_SECONDS = 30.0
REFUSED = "no heartbeats and status events for 600 s: "


@pytest.mark.parametrize("protocol", ["amqp", "stomp"])
def test_a_relay_without_the_right_to_publish_system_events_delivers_its_own(
    rabbitmq: RabbitNode, tmp_path: Path, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = rabbitmq.url(NARROW) if protocol == "amqp" else rabbitmq.stomp_url(NARROW)
    push = example_of("hg.push")
    settings = config.load({"broker": url, "heartbeat_s": 1}, environ={})
    with (
        Consumer(rabbitmq.url(), ["hg.push.#"], state=":memory:", timeout=LIMIT_SECONDS) as consumer,
        Outbox.open(tmp_path / "o.db") as outbox,
        open_relay(outbox.path, settings, stop := threading.Event()) as relay,
    ):
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            wait_until(lambda: REFUSED in caplog.text, LIMIT_SECONDS)
            for number in range(3):
                outbox.append([push._replace(id=f"{protocol}{number}", numbers=None)])
                received = consumer.receive(LIMIT_SECONDS)
                assert received is not None
                assert received.id == f"{protocol}{number}"
                consumer.acknowledge()
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)
        state = figures(outbox)["streams"]["public"]
        assert (state["pending"], state["failures"], state["buried"]) == (0, 0, 0)
    assert caplog.text.count(REFUSED) == 1
