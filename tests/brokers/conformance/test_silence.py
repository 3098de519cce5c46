# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer notices what does not come: a source that fell silent, and a last event that was lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from sourcepulse import Consumer
from sourcepulse.gaps import Gap, Silence
from support.brokers.broker_rabbitmq import RabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import WAIT_SECONDS, is_silent, take
from support.events.heartbeats import RELAY, heartbeat


def serve_until(consumer: Consumer, condition: Callable[[], object]) -> None:
    """Wait for events, of which none must come, until a condition holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        assert consumer.receive(0.1) is None


def test_a_relay_that_falls_silent_is_reported_once_and_its_return_too(broker: BrokerUnderTest) -> None:
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
    serve_until(consumer, lambda: len(silent) > 1)
    assert silent[1].heard_at is not None
    assert (consumer.stats.silences, consumer.stats.filtered, consumer.stats.gaps) == (2, 0, 0)


def test_an_old_heartbeat_out_of_the_backlog_is_no_sign_of_life(broker: BrokerUnderTest) -> None:
    silent: list[Silence] = []
    heard: list[Silence] = []
    broker.consumer("#").close()
    broker.publish_events(push_event(1), heartbeat(age_s=3600), push_event(2))
    consumer = broker.consumer("#", expect={RELAY: 1}, on_silent=silent.append, on_heard=heard.append)
    while (event := consumer.receive(0.3)) is not None:
        assert silent == []
        consumer.acknowledge()
        assert event.source == RELAY or event.numbers is not None
    serve_until(consumer, lambda: silent)
    assert silent[0].heard_at is not None
    assert time.time() - silent[0].heard_at > 3000
    assert heard == []


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
    broker.publish_events(*(push_event(number) for number in range(1, 41)), heartbeat(repo=40))
    got: list[int] = []
    while len(got) < 40:
        got += take(consumer, 1)
        time.sleep(0.02)
    serve = time.monotonic() + 1.0
    serve_until(consumer, lambda: time.monotonic() > serve)
    assert (got, gaps) == (list(range(1, 41)), [])


def test_a_type_is_followed_by_its_own_numbers_and_a_part_of_one_by_none(broker: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    part = broker.consumer("hg.push.repo", queue=f"{broker.queue}-2", heartbeats=True, hold_seconds=0.1)
    consumer = broker.consumer("hg.push.#", heartbeats=True, on_gap=gaps.append, hold_seconds=0.1)
    broker.publish_events(push_event(5, typesequence=2))
    assert (take(consumer, 1), take(part, 1)) == ([5], [5])
    broker.publish_events(heartbeat(repo=9, types={"hg.push.v1": 3, "hg.tag.moved.v1": 6}))
    serve_until(consumer, lambda: gaps)
    assert gaps == [Gap(source="hg://host/repo", epoch="one", type="hg.push.v1", first_missing=3, last_missing=3)]
    assert is_silent(part)
    assert part.stats.gaps == 0


def test_a_consumer_that_stands_by_claims_no_loss_of_what_another_one_receives(broker: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    serving = broker.consumer("hg.#", state=":memory:")
    broker.publish_events(push_event(1))
    assert take(serving, 1) == [1]
    standby = broker.consumer("hg.#", state=":memory:", heartbeats=True, on_gap=gaps.append, hold_seconds=0.05)
    for last in (2, 4):
        broker.publish_events(push_event(last - 1), push_event(last), heartbeat(repo=last))
        assert standby.receive(0.8) is None
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


def test_what_an_unbound_queue_lost_is_reported_before_anything_else_comes(listed: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    consumer = listed.consumer("hg.#", heartbeats=True, on_gap=gaps.append, hold_seconds=0.2)
    listed.publish_events(push_event(1))
    assert take(consumer, 1) == [1]
    if isinstance(listed, RabbitBroker):
        listed.remove_binding("hg.#")
        listed.publish_events(push_event(2))
    listed.publish_events(heartbeat(repo=2))
    serve_until(consumer, lambda: gaps)
    assert [(gap.first_missing, gap.last_missing) for gap in gaps] == [(2, 2)]
    consumer.close()
    # The next process knows that it was reported.
    again = listed.consumer("hg.#", heartbeats=True, on_gap=gaps.append, hold_seconds=0.2)
    listed.publish_events(push_event(3), heartbeat(repo=3))
    assert take(again, 1) == [3]
    assert is_silent(again)
    assert len(gaps) == 1
