# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A broker killed in the middle: nothing lost, order kept, repeats known by their ids, every client comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sourcepulse.brokers import Publisher, Settlement
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery, DeliveryReport
from sourcepulse.testing import system_event
from support.brokers.broker_under_test import RemoteBroker
from support.brokers.embedded_log import push_event
from support.brokers.messages import WAIT_SECONDS, is_silent, next_event, receive, take

#: More than any publisher's window, so that the broker dies in the middle.
EVENTS = 2000
KILLED_AFTER = 300


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


class Watched:
    """A publisher that counts what it settles, and reports it."""

    def __init__(self, inner: Publisher, settled: Callable[[int], None]) -> None:
        self._inner = inner
        self._settled = settled
        self.window = inner.window
        self.open, self.send, self.abandon, self.close = inner.open, inner.send, inner.abandon, inner.close

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        settlements = self._inner.settle(wait_seconds)
        self._settled(len(settlements))
        return settlements


def never() -> bool:
    return False


def deliver_all(delivery: Delivery) -> int:
    """Attempt until nothing is left, as the relay does, without its waits; give how many were delivered."""
    delivered = 0
    deadline = time.monotonic() + 2 * WAIT_SECONDS
    while delivery.has_work():
        assert time.monotonic() < deadline, "events are left"
        delivered += delivery.attempt(never).delivered
    return delivered


def test_a_broker_killed_in_the_middle_of_a_stream_loses_nothing_and_keeps_the_order(
    remote: RemoteBroker, outbox: Outbox
) -> None:
    outbox.append([system_event(number) for number in range(EVENTS)])
    raw = remote.subscription(remote.spec("system.#", queue=f"{remote.queue}-raw"))
    raw.close()
    consumer = remote.consumer("system.#")
    remote.keep_declarations()
    total = 0

    def settled(count: int) -> None:
        nonlocal total
        before, total = total, total + count
        if before < KILLED_AFTER <= total:
            remote.kill()

    delivery = Delivery(
        outbox,
        "public",
        lambda: Watched(remote.new_publisher(remote.exchange), settled),
        exchange=remote.exchange,
        clock=time.time,
    )
    report: DeliveryReport = delivery.attempt(never)
    assert report.error is not None
    assert KILLED_AFTER <= report.delivered < EVENTS
    remote.start()
    # What was confirmed is not sent again, so it must have outlived the kill.
    assert deliver_all(delivery) == EVENTS - report.delivered
    delivery.close()

    ids: dict[int, str] = {}
    raw.open()
    while len(ids) < EVENTS:
        (message,) = receive(raw, 1)
        event = json.loads(message.body)
        assert ids.setdefault(int(event["sequence"]), event["id"]) == event["id"]
        raw.acknowledge(message)
    assert list(ids) == list(range(1, EVENTS + 1))

    handled = []
    for _ in range(EVENTS):
        got = next_event(consumer)
        assert got.numbers is not None
        handled.append(got.numbers.sequence)
        consumer.acknowledge()
    assert handled == list(range(1, EVENTS + 1))
    assert is_silent(consumer)
    assert consumer.stats.reconnects >= 1
    assert (consumer.stats.gaps, consumer.stats.late, consumer.stats.interruptions) == (0, 0, 0)


def test_consumers_of_a_killed_broker_come_back_as_they_were(remote: RemoteBroker) -> None:
    interrupted: list[str] = []
    durable = remote.consumer("hg.#", on_interrupted=lambda: interrupted.append("durable"))
    temporary = remote.consumer("hg.#", durable=False, on_interrupted=lambda: interrupted.append("temporary"))
    away = remote.consumer("hg.#", queue=f"{remote.queue}-away")
    away.close()
    remote.keep_declarations()
    remote.publish_events(*(push_event(number) for number in range(1, 6)))
    assert take(durable, 2) == [1, 2]
    assert take(temporary, 5) == [1, 2, 3, 4, 5]
    at_work = next_event(durable)
    remote.kill()
    remote.start()
    durable.acknowledge()
    # It stands again when it asked for an event; what a temporary one missed meanwhile is gone.
    assert temporary.receive(0.1) is None
    wait = time.monotonic() + WAIT_SECONDS
    while not temporary.connected or not durable.connected:
        assert time.monotonic() < wait
        assert temporary.receive(0.1) is None
        if not durable.connected:
            durable.receive(0.1)
    remote.publish_events(push_event(6), push_event(7))
    assert at_work.data["number"] == 3
    assert take(durable, 4) == [4, 5, 6, 7]
    assert take(temporary, 2) == [6, 7]
    assert interrupted == ["temporary"]
    assert (durable.stats.gaps, durable.stats.reconnects) == (0, 1)
    assert is_silent(durable), "the event at work came again and was known by its id"
    again = remote.consumer("hg.#", queue=f"{remote.queue}-away")
    assert take(again, 7) == list(range(1, 8))
    assert again.stats.interruptions == 0
