# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The password of the relay is changed while events come: all arrive, and no process is ended for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sourcepulse import Consumer, config
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.thread import RelayThread
from sourcepulse.testing import system_event
from support.brokers import rabbit_admin
from support.brokers.activemq import ActiveMqNode, require_activemq
from support.brokers.embedded_log import wait_until
from support.brokers.messages import unique
from support.brokers.rabbitmq import ADMIN, RELAY, RabbitNode

EVENTS = 10
#: After the last event, all have arrived within this.
ARRIVAL_LIMIT_SECONDS = 60.0
NEW = (RELAY[0], "n3w-s3cret")


@pytest.fixture
def node(rabbitmq: RabbitNode) -> Iterator[RabbitNode]:
    yield rabbitmq
    rabbit_admin.change_password(rabbitmq, *RELAY)


@dataclass(frozen=True)
class Rotation:
    """A broker whose password for the relay is changed; `change` does so, and closes all connections."""

    url: Callable[[tuple[str, str]], str]
    reader: str
    change: Callable[[], None]


def rabbit(node: RabbitNode, scheme: str) -> Rotation:
    """RabbitMQ, where an admin changes a password while it runs."""

    def change() -> None:
        rabbit_admin.change_password(node, *NEW)
        rabbit_admin.close_all_connections(node)

    # The reader's connection is closed as well; its queue stands.
    return Rotation(node.stomp_url if scheme == "stomp" else node.url, node.url(ADMIN), change)


def rotate(rotation: Rotation, folder: Path, *, seconds: float, file_first: bool) -> None:
    """Send ten events over so many seconds, with a new password in the middle."""
    broker_file = folder / "broker"
    broker_file.write_text(rotation.url(RELAY))
    broker_file.chmod(0o600)
    settings = config.load({"broker_file": str(broker_file)}, environ={})
    warnings: list[str] = []

    def change_in_the_file() -> None:
        broker_file.write_text(rotation.url(NEW))

    change_at_the_broker = rotation.change
    first, second = change_at_the_broker, change_in_the_file
    if file_first:
        first, second = second, first
    consumer = Consumer(
        rotation.reader, ["system.test.#"], queue=unique("queue"), durable=True, state=folder / "state.db"
    )
    changing = threading.Thread(target=first)
    with Outbox.open(folder / "outbox.db") as outbox, consumer:
        relay = RelayThread(outbox.path, settings, warn=warnings.append)
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
            wait_until(lambda: figures(outbox)["streams"]["public"]["pending"] == 0, ARRIVAL_LIMIT_SECONDS)
            assert [int(_next(consumer)) for _ in range(EVENTS)] == list(range(EVENTS))
            stream = figures(outbox)["streams"]["public"]
        finally:
            relay.stop()
            # It closes the connections of whatever test comes next.
            changing.join(60)
    assert (stream["delivered"], stream["buried"], warnings) == (EVENTS, 0, [])


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
    rotate(rabbit(node, scheme), tmp_path, seconds=2.0, file_first=file_first)


@pytest.mark.soak
@pytest.mark.parametrize("scheme", ["amqp", "stomp"])
def test_a_password_is_changed_while_events_come_for_100_seconds(node: RabbitNode, tmp_path: Path, scheme: str) -> None:
    rotate(rabbit(node, scheme), tmp_path, seconds=100.0, file_first=False)


@pytest.mark.soak
@pytest.mark.parametrize("file_first", [True, False])
def test_a_password_of_activemq_is_changed_by_a_restart_while_events_come_for_100_seconds(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, file_first: bool
) -> None:
    require_activemq()
    node = ActiveMqNode(tmp_path_factory.mktemp("activemq"))

    def change() -> None:
        # As the shipped file has it: the passwords stand in the broker's own configuration.
        settings = node.folder / "activemq.xml"
        settings.write_text(settings.read_text().replace(f'"{RELAY[1]}"', f'"{NEW[1]}"'))
        node.stop()
        node.start()

    try:
        node.start()
        rotate(Rotation(node.url, node.url(ADMIN), change), tmp_path, seconds=100.0, file_first=file_first)
    finally:
        node.close()
