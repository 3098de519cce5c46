# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A broker that stores events but not what a relay announces: events arrive, the rest is dropped and counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import config
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.assemble import open_relay
from support.brokers.amqp import bound_queue, content
from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import NARROW, RabbitNode

LIMIT_SECONDS = 30.0


def push(number: int) -> Event:
    return Event.of("hg.push.v1", source="hg://h/r", key=[str(number)], subject="r", time=1_795_345_170.0, data={})


@contextmanager
def relayed(outbox: Outbox, **values: Any) -> Iterator[None]:
    stop = threading.Event()
    with open_relay(outbox.path, config.load(values, environ={}), stop) as relay:
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)


def check_that_events_arrive(outbox: Outbox, **values: Any) -> None:
    def state() -> dict[str, Any]:
        found: dict[str, Any] = figures(outbox)["streams"]["public"]
        return found

    outbox.append([push(number) for number in range(3)])
    with relayed(outbox, **values):
        wait_until(lambda: state()["delivered"] == 3, LIMIT_SECONDS)
        wait_until(lambda: state()["failures_by_reason"].get("announcement", 0) >= 2, LIMIT_SECONDS)
    known = state()["failures_by_reason"]["announcement"]
    # Now an announcement is the first that this connection is used for.
    with relayed(outbox, **values):
        wait_until(lambda: state()["failures_by_reason"]["announcement"] > known, LIMIT_SECONDS)
        outbox.append([push(3)])
        wait_until(lambda: state()["delivered"] == 4, LIMIT_SECONDS)
    assert state()["failures"] == 0
    assert set(state()["failures_by_reason"]) == {"announcement"}


def test_a_stomp_login_that_may_not_publish_system_events_delivers_all_others(
    rabbitmq: RabbitNode, tmp_path: Path
) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        check_that_events_arrive(outbox, broker=rabbitmq.stomp_url(NARROW), heartbeat_s=1)


@pytest.mark.parametrize("scheme", ["amqp", "stomp"])
def test_a_full_queue_of_system_events_delays_no_other(
    rabbitmq: RabbitNode, exchange: str, tmp_path: Path, scheme: str
) -> None:
    limits = {"x-max-length": 0, "x-overflow": "reject-publish"}
    bound_queue(rabbitmq, exchange, key="system.#", arguments=limits)
    mine = bound_queue(rabbitmq, exchange, key="hg.#")
    url = rabbitmq.url() if scheme == "amqp" else rabbitmq.stomp_url()
    with Outbox.open(tmp_path / "o.db") as outbox:
        check_that_events_arrive(outbox, broker=url, exchange=exchange, heartbeat_s=1)
    assert len({message.properties["message_id"] for message in content(rabbitmq, mine)}) == 4
