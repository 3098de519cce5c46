# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The promise, with a real outbox, relay and RabbitMQ: the broker drops the last event, the consumer reports a gap."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse import Outbox, config
from sourcepulse.events.event import Event
from sourcepulse.gaps import Gap
from sourcepulse.relay.assemble import open_relay
from support.brokers.broker_rabbitmq import RabbitBroker, StompRabbitBroker
from support.brokers.embedded_log import push_event
from support.brokers.messages import WAIT_SECONDS, take
from support.brokers.rabbitmq import RabbitNode

HEARTBEAT_SECONDS = 2


@pytest.fixture(params=[RabbitBroker, StompRabbitBroker])
def broker(
    request: pytest.FixtureRequest, rabbitmq: RabbitNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RabbitBroker]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made: RabbitBroker = request.param(rabbitmq)
    yield made
    made.close()


def stored(*numbers: int) -> list[Event]:
    return [push_event(number)._replace(numbers=None) for number in numbers]


def test_a_last_event_that_the_broker_drops_is_a_gap_within_two_heartbeats_and_can_be_replayed(
    broker: RabbitBroker, tmp_path: Path
) -> None:
    gaps: list[Gap] = []
    settings = config.load(
        {"broker": broker.url, "exchange": broker.exchange, "heartbeat_s": HEARTBEAT_SECONDS}, environ={}
    )
    consumer = broker.consumer("hg.push.#", heartbeats=True, on_gap=gaps.append, hold_seconds=0.5)
    with (
        Outbox.open(tmp_path / "o.db") as outbox,
        open_relay(outbox.path, settings, stop := threading.Event()) as relay,
    ):
        running = threading.Thread(target=relay.run)
        running.start()
        try:
            outbox.append(stored(1))
            assert take(consumer, 1) == [1]
            broker.remove_binding("hg.push.#")
            outbox.append(stored(2, 3))
            while outbox.has_pending("public"):
                time.sleep(0.02)
            heard = broker.consumer("system.relay.heartbeat", durable=False)
            beats, deadline = 0, time.monotonic() + WAIT_SECONDS
            while not gaps and time.monotonic() < deadline:
                assert consumer.receive(0.1) is None
                while heard.receive(0) is not None:
                    heard.acknowledge()
                    beats += 1
        finally:
            stop.set()
            running.join(WAIT_SECONDS)
    (gap,) = gaps
    assert (gap.source, gap.type, gap.first_missing, gap.last_missing) == ("hg://host/repo", "hg.push.v1", 2, 3)
    assert beats <= 2
    assert consumer.replay(gap, outbox=tmp_path / "o.db") == 2
    assert take(consumer, 2) == [2, 3]
