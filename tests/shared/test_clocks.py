# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A clock that jumps deletes nothing that can be replayed, and events sent by a slow one do not expire at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sourcepulse.brokers.stomp import activemq_publisher as stomp_activemq_publisher
from sourcepulse.events.event import format_time
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.retention import DAY_SECONDS, Keep, prune_by_a_sound_clock
from sourcepulse.testing import system_event
from support.brokers.activemq import ActiveMqNode
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.messages import message, receive

KEEP = Keep(days=30, bytes=2**30)
HOUR_SECONDS = 3_600.0


class Clock:
    now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def kept(outbox: Outbox) -> tuple[int, int]:
    with outbox.reading() as db:
        return tuple(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("events", "bodies"))  # type: ignore[return-value]


def filled(path: Path, clock: Callable[[], float]) -> Outbox:
    outbox = Outbox.open(path, clock=clock)
    outbox.append([system_event(number) for number in range(6)])
    outbox.acknowledge("public", range(1, 5))
    return outbox


@pytest.mark.parametrize("looked_before", [True, False])
def test_one_look_by_a_clock_400_days_ahead_deletes_nothing(tmp_path: Path, clock: Clock, looked_before: bool) -> None:
    with filled(tmp_path / "o.db", clock) as outbox:
        for _ in range(3 * looked_before):
            prune_by_a_sound_clock(outbox, KEEP)
            clock.now += HOUR_SECONDS
        clock.now += 401 * DAY_SECONDS
        outbox.acknowledge("public", [5, 6])
        assert prune_by_a_sound_clock(outbox, KEEP) == 0
        assert kept(outbox) == (6, 6)
        clock.now -= 401 * DAY_SECONDS
        for _ in range(3):
            prune_by_a_sound_clock(outbox, KEEP)
            clock.now += HOUR_SECONDS
        assert kept(outbox) == (6, 6)


@pytest.mark.parametrize("every_s", [600.0, DAY_SECONDS, 7 * DAY_SECONDS])
def test_what_is_old_goes_however_seldom_it_is_looked(tmp_path: Path, clock: Clock, every_s: float) -> None:
    with filled(tmp_path / "o.db", clock) as outbox:
        prune_by_a_sound_clock(outbox, KEEP)
        clock.now += 31 * DAY_SECONDS
        for _ in range(8):
            prune_by_a_sound_clock(outbox, KEEP)
            clock.now += every_s
        assert kept(outbox) == (6, 2)


def test_an_event_that_a_slow_clock_sends_to_activemq_arrives(
    activemq: ActiveMqNode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    broker = ActiveMqBroker(activemq)
    try:
        source = broker.subscription(broker.spec("#"))
        now = time.time()

        class SlowTime:
            monotonic = staticmethod(time.monotonic)

            @staticmethod
            def time() -> float:
                return now - 8 * DAY_SECONDS

        monkeypatch.setattr(stomp_activemq_publisher, "time", SlowTime)
        broker.publish(replace(message(1), time=format_time(now)))
        assert receive(source, 1)[0].body == b"1"
    finally:
        broker.close()
