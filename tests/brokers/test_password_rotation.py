# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The password of the relay is changed while events come: all arrive, and no process is ended for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse import Consumer, config
from sourcepulse.outbox import Outbox
from sourcepulse.outbox_view import figures
from sourcepulse.relay_thread import RelayThread
from sourcepulse.testing import system_event
from support.broker_under_test import unique
from support.local_log import wait_until
from support.rabbitmq import ADMIN, RELAY, RabbitNode

EVENTS = 10


@pytest.fixture
def node(rabbitmq: RabbitNode) -> Iterator[RabbitNode]:
    yield rabbitmq
    rabbitmq.control("change_password", *RELAY)


def rotate(node: RabbitNode, scheme: str, folder: Path, *, seconds: float, file_first: bool) -> None:
    """Send ten events over so many seconds, with a new password in the middle and all connections closed."""
    url = node.stomp_url if scheme == "stomp" else node.url
    broker_file = folder / "broker"
    broker_file.write_text(url(RELAY))
    broker_file.chmod(0o600)
    new = (RELAY[0], "n3w-s3cret")
    settings = config.load({"broker_file": str(broker_file)}, environ={})
    told: list[str] = []

    def change_at_the_broker() -> None:
        node.control("change_password", *new)
        node.control("close_all_connections", "--vhost", "pulse", "rotation")

    def change_in_the_file() -> None:
        broker_file.write_text(url(new))

    first, second = change_at_the_broker, change_in_the_file
    if file_first:
        first, second = second, first
    # Its connection is closed as well; its queue stands.
    consumer = Consumer(
        node.url(ADMIN), ["system.test.#"], queue=unique("queue"), durable=True, state=folder / "state.db"
    )
    changing = threading.Thread(target=first)
    with Outbox.open(folder / "outbox.db") as outbox, consumer:
        relay = RelayThread(outbox.path, settings, tell=told.append)
        relay.start()
        begun = time.monotonic()
        try:
            for number in range(EVENTS):
                outbox.append([system_event(number)])
                if number == 3:
                    changing.start()
                if number == 6:
                    second()
                time.sleep(max(0.0, begun + (number + 1) * seconds / EVENTS - time.monotonic()))
            wait_until(lambda: figures(outbox)["streams"]["public"]["pending"] == 0, 60.0)
            assert [int(_next(consumer)) for _ in range(EVENTS)] == list(range(EVENTS))
            stream = figures(outbox)["streams"]["public"]
        finally:
            relay.stop()
            # It closes the connections of whatever test comes next.
            changing.join(60)
    assert (stream["delivered"], stream["buried"], told) == (EVENTS, 0, [])


def _next(consumer: Consumer) -> str:
    event = consumer.receive(30)
    assert event is not None
    consumer.acknowledge()
    return str(event.data["message"]).removeprefix("event ")


@pytest.mark.parametrize("scheme", ["amqp", "stomp"])
@pytest.mark.parametrize("file_first", [True, False])
def test_a_password_is_changed_while_events_come(
    node: RabbitNode, tmp_path: Path, scheme: str, file_first: bool
) -> None:
    rotate(node, scheme, tmp_path, seconds=4.0, file_first=file_first)


@pytest.mark.soak
def test_a_password_is_changed_while_events_come_for_100_seconds(node: RabbitNode, tmp_path: Path) -> None:
    rotate(node, "amqp", tmp_path, seconds=100.0, file_first=False)
