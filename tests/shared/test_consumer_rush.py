# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events that rush by: recorded in one commit and acknowledged together, never acknowledged before."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Delivery
from sourcepulse.brokers.file.subscription import LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory import batch as consumer_batch
from sourcepulse.consumer.memory.batch import BATCH_EVENTS, BATCH_SECONDS, RUSH_EVENTS, RUSH_SECONDS, Batch
from sourcepulse.consumer.memory.event_name import name_of
from sourcepulse.consumer.received_event import Item
from sourcepulse.events.wire import decode
from support.brokers.embedded_log import log_url, publish_events, push_event

KILL_LIMIT_SECONDS = 60
#: The default of a consumer.
PREFETCH = 100
#: Handles events, in a rush however slow the machine is, until it kills itself in the middle of one.
RUSH = """
import os, signal, sys
from sourcepulse import Consumer
from sourcepulse.consumer.memory import batch
batch.RUSH_SECONDS = batch.BATCH_SECONDS = 60.0
def handle(event):
    os.write(1, b"%d\\n" % event.data["number"])
    if event.data["number"] == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
with Consumer(sys.argv[1], ["hg.#"], queue="me", durable=True, state=sys.argv[2]) as consumer:
    if sys.argv[4] == "loop":
        for event in consumer:
            handle(event)
    else:
        consumer.run(handle)
"""


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


def an_item(*, redelivered: bool = False) -> Item:
    event = push_event(1)
    delivery = Delivery(routing_key=event.routing_key, body=b"", content_type="", redelivered=redelivered, handle=1)
    return Item(event=event, delivery=delivery, generation=1, lane=None, number=1, ready=True)


def numbers(consumer: Consumer) -> list[int]:
    return [event.data["number"] for event in consumer]


def rush(batch: Batch, clock: Clock, count: int) -> list[int]:
    """Add this many in quick succession; return how many were due together, each time that some were."""
    groups = []
    for _ in range(count):
        clock.now += RUSH_SECONDS / 100
        batch.add(an_item())
        if batch.due:
            groups.append(len(batch.items()))
            batch.clear()
    return groups


def name(delivery: Delivery) -> str:
    event = decode(delivery.body, routing_key=delivery.routing_key)
    return name_of(event, delivery.body, delivery.content_type)


def test_events_at_leisure_are_due_one_by_one() -> None:
    clock = Clock()
    batch = Batch(clock)
    for _ in range(3 * RUSH_EVENTS):
        clock.now += RUSH_SECONDS
        batch.add(an_item())
        assert batch.due
        batch.clear()
        assert not batch
        assert not batch.due


def test_a_rush_is_due_in_groups_after_its_beginning() -> None:
    groups = rush(Batch(clock := Clock(), 10), clock, RUSH_EVENTS + 31)
    # The first event came after a pause.
    assert groups == [1] * (RUSH_EVENTS + 1) + [10] * 3


def test_nothing_waits_longer_than_the_limit_nor_behind_a_slow_or_redelivered_one() -> None:
    clock = Clock()
    batch = Batch(clock)
    rush(batch, clock, RUSH_EVENTS + 5)
    assert not batch.due
    clock.now += BATCH_SECONDS
    assert batch.due
    batch.clear()
    rush(batch, clock, 5)
    clock.now += BATCH_SECONDS
    batch.add(an_item())
    assert batch.due
    batch.clear()
    rush(batch, clock, 5)
    assert not batch.due
    batch.add(an_item(redelivered=True))
    assert batch.due


def test_one_pause_does_not_end_a_rush_and_slow_events_do() -> None:
    clock = Clock()
    batch = Batch(clock, 10)
    rush(batch, clock, RUSH_EVENTS + 9)
    clock.now += 2 * RUSH_SECONDS
    assert rush(batch, clock, 12) == [10, 10]
    # Two slow batches in a row.
    for due in (False, False, False, True, False, False, False, True, True, True):
        clock.now += RUSH_SECONDS * 1.01
        batch.add(an_item())
        assert batch.due is due
        if due:
            batch.clear()


@pytest.mark.parametrize("count", [7 * BATCH_EVENTS, 7 * BATCH_EVENTS + 3])
def test_an_id_is_in_the_memory_before_its_event_is_acknowledged(
    url: BrokerUrl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    state = tmp_path / "state.db"
    together: list[int] = []
    real = LocalSubscription.acknowledge

    def known() -> set[str]:
        with sqlite3.connect(state) as db:
            ids = {row[0] for row in db.execute("SELECT id FROM seen")}
        db.close()
        return ids

    def acknowledge(subscription: LocalSubscription, delivery: Delivery) -> None:
        assert name(delivery) in known()
        real(subscription, delivery)

    def acknowledge_all(subscription: LocalSubscription, deliveries: Sequence[Delivery]) -> None:
        together.append(len(deliveries))
        assert {name(each) for each in deliveries} <= known()
        for delivery in deliveries:
            real(subscription, delivery)

    # A rush on a busy machine as well.
    for limit in ("RUSH_SECONDS", "BATCH_SECONDS"):
        monkeypatch.setattr(consumer_batch, limit, 30.0)
    monkeypatch.setattr(LocalSubscription, "acknowledge", acknowledge)
    monkeypatch.setattr(LocalSubscription, "acknowledge_all", acknowledge_all)
    with Consumer(url, ["hg.#"], queue="me", durable=True, state=state, timeout=0.3) as consumer:
        publish_events(url, *(push_event(number) for number in range(1, count + 1)))
        assert numbers(consumer) == list(range(1, count + 1))
        # When the loop has ended nothing is left to do.
        assert len(known()) == count
    assert max(together) == BATCH_EVENTS
    with Consumer(url, ["hg.#"], queue="me", durable=True, state=":memory:", timeout=0.3) as another:
        assert numbers(another) == []


@pytest.mark.parametrize("form", ["loop", "run"])
def test_after_a_kill_in_a_rush_at_most_the_batch_at_hand_comes_again(
    url: BrokerUrl, tmp_path: Path, form: str
) -> None:
    state = tmp_path / "state.db"
    Consumer(url, ["hg.#"], queue="me", durable=True, state=state).__enter__().close()
    publish_events(url, *(push_event(number) for number in range(1, 200)))
    command = [sys.executable, "-c", RUSH, str(url), str(state), "180", form]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "shared")}
    began = []
    for _ in range(2):
        ended = subprocess.run(command, env=environ, timeout=KILL_LIMIT_SECONDS, stdout=subprocess.PIPE, check=False)
        assert ended.returncode == -signal.SIGKILL
        began.append([int(line) for line in ended.stdout.split()])
    first, second = began
    assert first == list(range(1, 181))
    # With `run` the thread that records may lag behind on a busy machine, by the prefetch at most.
    assert 180 - (BATCH_EVENTS if form == "loop" else PREFETCH) < second[0] <= 180
    assert second == list(range(second[0], 181))
    # What is redelivered is recorded one by one, so it does not come a third time.
    with Consumer(url, ["hg.#"], queue="me", durable=True, state=state, timeout=0.3) as consumer:
        assert numbers(consumer) == list(range(180, 200))
        assert consumer.stats.gaps == 0
        assert consumer.stats.rejected == 0
