# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer notices what does not come: a source that fell silent, and a last event that was lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from sourcepulse import Consumer
from sourcepulse.gaps import Gap, Silence
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import WAIT_SECONDS, take
from support.events.heartbeats import RELAY, heartbeat


def serve_until(consumer: Consumer, condition: Callable[[], object]) -> None:
    """Wait for events, of which none must come, until a condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        assert consumer.receive(0.1) is None


def test_a_relay_that_falls_silent_is_reported_and_its_return_too(broker: BrokerUnderTest) -> None:
    silent: list[Silence] = []
    heard: list[Silence] = []
    consumer = broker.consumer("hg.#", expect={RELAY: 1}, on_silent=silent.append, on_heard=heard.append)
    serve_until(consumer, lambda: silent)
    assert (silent[0].source, silent[0].heard_at, silent[0].connected) == (RELAY, None, True)
    assert consumer.silent == (RELAY,)
    broker.publish_events(heartbeat(), push_event(1))
    assert take(consumer, 1) == [1], "the heartbeats are not for the program"
    serve_until(consumer, lambda: heard)
    assert (heard, consumer.silent) == (silent, ())
    assert (consumer.stats.silences, consumer.stats.filtered, consumer.stats.gaps) == (1, 0, 0)


def test_a_lost_last_event_is_reported_with_the_next_heartbeats(broker: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    consumer = broker.consumer("hg.#", heartbeats=True, on_gap=gaps.append, hold_seconds=0.2)
    broker.publish_events(push_event(1), push_event(2))
    assert take(consumer, 2) == [1, 2]
    # The broker confirmed three and four, and they do not come; of the other source nothing ever came.
    broker.publish_events(heartbeat(repo=4, other=7))
    serve_until(consumer, lambda: gaps)
    assert gaps == [Gap(source="hg://host/repo", epoch="one", type=None, first_missing=3, last_missing=4)]
    broker.publish_events(heartbeat(repo=4, other=9))
    serve_until(consumer, lambda: len(gaps) == 2)
    assert gaps[1] == Gap(source="hg://host/other", epoch="one", type=None, first_missing=8, last_missing=9)
    broker.publish_events(push_event(5))
    assert take(consumer, 1) == [5]
    assert (consumer.stats.gaps, consumer.stats.missing, consumer.stats.late) == (2, 4, 0)


def test_a_heartbeat_that_overtakes_the_events_of_a_backlog_claims_no_loss(broker: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    consumer = broker.consumer("hg.#", heartbeats=True, on_gap=gaps.append, hold_seconds=0.05, prefetch=4)
    broker.publish_events(*(push_event(number) for number in range(1, 25)), heartbeat(repo=24))
    got: list[int] = []
    while len(got) < 24:
        got += take(consumer, 1)
        time.sleep(0.01)
    assert consumer.receive(0.65) is None
    assert (got, gaps) == (list(range(1, 25)), [])


def test_a_consumer_that_stands_by_claims_no_loss_of_what_another_one_receives(broker: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    serving = broker.consumer("hg.#", state=":memory:")
    broker.publish_events(push_event(1))
    assert take(serving, 1) == [1]
    standby = broker.consumer("hg.#", state=":memory:", heartbeats=True, on_gap=gaps.append, hold_seconds=0.05)
    for last in (2, 4):
        broker.publish_events(push_event(last - 1), push_event(last), heartbeat(repo=last))
        assert standby.receive(0.65) is None
    assert gaps == []
    assert standby.connected
    serving.close()


def test_a_loss_while_the_consumer_was_away_is_reported_though_nothing_waits(listed: BrokerUnderTest) -> None:
    consumer = listed.consumer("hg.#")
    listed.publish_events(push_event(1))
    assert take(consumer, 1) == [1]
    consumer.close()
    gaps: list[Gap] = []
    # Event two expired in the queue.
    consumer = listed.consumer("hg.#", heartbeats=True, on_gap=gaps.append, hold_seconds=0.2)
    listed.publish_events(heartbeat(repo=2))
    serve_until(consumer, lambda: gaps)
    assert [(gap.first_missing, gap.last_missing) for gap in gaps] == [(2, 2)]
