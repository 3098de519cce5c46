# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A lost last event is reported by the numbers in heartbeats, and nothing else is."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.test_gaps import HOLD_SECONDS, LANE, Clock, Past, gap, ordering, take_all
from sourcepulse import Consumer, Event, Outbox, config
from sourcepulse.consumer.order.coverage import Coverage
from sourcepulse.consumer.order.ordering import Ordering
from sourcepulse.consumer.silence.heartbeat import claims
from sourcepulse.gaps import Gap, Lane, Reset, WentBack
from sourcepulse.relay.assemble import open_relay
from support.brokers.embedded_log import log_url, publish_events, push_event, wait_until
from support.events.heartbeats import heartbeat


def settle(at: Ordering[int], clock: Clock) -> list[int | Gap | Reset | WentBack]:
    clock.now += HOLD_SECONDS
    at.settle_claims()
    return take_all(at)


def test_what_a_heartbeat_names_and_did_not_come_is_a_gap_once() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.offer(1, LANE, 1)
    at.claim(LANE, 3)
    assert settle(at, clock) == [1, gap(2, 3)]
    at.claim(LANE, 3)
    assert settle(at, clock) == []
    at.offer(4, LANE, 4)
    assert take_all(at) == [4]
    assert at.passed == [(LANE, 3)]


def test_a_claim_waits_for_the_hold_time_and_for_what_comes_meanwhile() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.offer(1, LANE, 1)
    at.claim(LANE, 3)
    at.settle_claims()
    assert take_all(at) == [1]
    for number in (2, 3):
        at.offer(number, LANE, number)
    assert settle(at, clock) == [2, 3]


def test_the_first_heartbeat_is_the_baseline_of_a_source_of_which_nothing_came() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.claim(LANE, 40)
    assert settle(at, clock) == []
    assert at.passed == [(LANE, 40)]
    at.claim(LANE, 42)
    assert settle(at, clock) == [gap(41, 42)]


def test_an_event_that_came_before_the_first_heartbeat_was_settled_is_not_late() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.claim(LANE, 40)
    at.offer(39, LANE, 39)
    at.offer(40, LANE, 40)
    assert settle(at, clock) == [39, 40]
    assert at.late == 0


def test_a_new_epoch_in_a_heartbeat_is_a_reset_and_not_a_gap() -> None:
    clock = Clock()
    at = ordering(Past({LANE: 90}), clock)
    new = Lane(LANE.source, "two", None)
    at.claim(new, 5)
    assert settle(at, clock) == [Reset(source=LANE.source, epoch="two")]
    at.offer(6, new, 6)
    assert take_all(at) == [6]


def test_what_another_process_handled_or_an_old_heartbeat_names_is_not_a_gap() -> None:
    clock = Clock()
    past = Past({LANE: 5_000})
    at = ordering(past, clock)
    at.claim(LANE, 3_000)
    assert settle(at, clock) == []
    past.lanes[LANE] = 5_010
    at.claim(LANE, 5_010)
    assert settle(at, clock) == []
    at.claim(LANE, 5_011)
    assert settle(at, clock) == [gap(5_011, 5_011)]


def test_a_hole_before_a_waiting_event_is_reported_by_that_event_alone() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    for number in (1, 3):
        at.offer(number, LANE, number)
    at.claim(LANE, 4)
    assert settle(at, clock) == [1]
    at.give_up()
    assert take_all(at) == [gap(2, 2), 3]
    assert settle(at, clock) == [gap(4, 4)]


def test_a_forged_number_in_a_heartbeat_does_not_blind_the_lane() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.offer(1, LANE, 1)
    at.claim(LANE, 10**15)
    assert settle(at, clock) == [1, gap(2, 10**15)]
    for number in (2, 3, 5):
        at.offer(number, LANE, number)
    clock.now += HOLD_SECONDS
    at.give_up()
    assert [step for step in take_all(at) if not isinstance(step, WentBack)] == [2, 3, gap(4, 4), 5]
    at.claim(LANE, 6)
    assert settle(at, clock) == [gap(6, 6)]


def test_a_gap_that_was_not_taken_when_the_connection_broke_is_reported_later() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.offer(1, LANE, 1)
    assert take_all(at) == [1]
    at.claim(LANE, 2)
    clock.now += HOLD_SECONDS
    at.settle_claims()
    at.forget_untaken()
    assert take_all(at) == []
    at.claim(LANE, 2)
    assert settle(at, clock) == [gap(2, 2)]
    at.forget_untaken()
    at.claim(LANE, 2)
    assert settle(at, clock) == []


def test_the_lanes_of_a_heartbeat_are_those_that_the_topics_cover_wholly() -> None:
    event = heartbeat(repo=9, types={"hg.push.v1": 4, "hg.tag.moved.v1": 5})
    source = "hg://host/repo"
    assert list(claims(event, Coverage(["hg.#"]))) == [(Lane(source, "one", None), 9)]
    assert list(claims(event, Coverage(["hg.push.#"]))) == [(Lane(source, "one", "hg.push.v1"), 4)]
    assert list(claims(event, Coverage(["hg.push.integration.#"]))) == []
    assert list(claims(push_event(1), Coverage(["#"]))) == []


@pytest.mark.parametrize("other", [["build.#"], ["hg.#"]])
def test_what_other_topics_did_not_take_or_counted_otherwise_is_not_lost(tmp_path: Path, other: list[str]) -> None:
    url = log_url(tmp_path)

    def handle(topics: list[str], *numbers: int) -> int:
        with Consumer(url, topics, queue="q", durable=True, state=tmp_path / "s.db", hold_seconds=0.05) as consumer:
            publish_events(url, *(push_event(number) for number in numbers))
            while consumer.receive(0.12) is not None:
                consumer.acknowledge()
            return consumer.stats.gaps

    assert handle(["hg.push.#"], 1, 2) == 0
    assert handle(other, 3, 4) == 0
    assert handle(["hg.push.#"], 5, 6) == 0
    assert handle(["hg.push.#"], 8) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=30), lambda inner: st.lists(inner, max_size=3)
    ),
    st.sampled_from(["epoch", "sources", "source", "sequence", "types", "type", "typesequence"]),
)
def test_a_heartbeat_of_another_shape_claims_nothing_wrong(value: object, name: str) -> None:
    event = heartbeat(repo=9, types={"hg.push.v1": 4})
    text = json.dumps(event.data).replace(f'"{name}":', f'"{name}": {json.dumps(value)}, "former":', 1)
    for topics in (["hg.#"], ["hg.push.#"]):
        for lane, number in claims(event._replace(data=json.loads(text)), Coverage(topics)):
            assert isinstance(lane.source, str)
            assert isinstance(lane.epoch, str)
            assert 1 <= number < 2**63


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int]]:
    """What happens, in order: an event is published or lost, a heartbeat is sent, something is read, time passes."""
    steps = draw(
        st.lists(
            st.sampled_from(["publish", "lose", "beat", "read", "hear", "wait", "break"]), min_size=25, max_size=60
        )
    )
    return [("publish", 0), ("read", 1), *((step, draw(st.integers(0, 3))) for step in steps)]


@given(histories())
def test_every_lost_last_event_is_reported_and_no_other(history: list[tuple[str, int]]) -> None:
    clock = Clock()
    at = ordering(clock=clock)
    sent = 0
    lost: set[int] = set()
    queue: list[int] = []
    beats: list[int] = []
    taken: list[int] = []
    reported: list[int] = []

    def take() -> None:
        for step in take_all(at):
            if isinstance(step, Gap):
                reported.extend(range(step.first_missing, step.last_missing + 1))
            else:
                assert isinstance(step, int)
                taken.append(step)

    def idle() -> None:
        # The receiver does so when the broker has nothing more.
        if not queue:
            at.give_up()
            at.settle_claims()

    for step, count in history:
        if step == "publish":
            sent += 1
            queue.append(sent)
        elif step == "lose":
            sent += 1
            lost.add(sent)
        elif step == "beat":
            beats.append(sent)
        elif step == "hear" and beats:
            at.claim(LANE, beats.pop(0))
        elif step == "wait":
            clock.now += count
            idle()
        elif step == "break":
            # Those that were not taken are delivered again.
            at.forget_untaken()
            queue[:0] = [number for number in range(1, (queue or [sent + 1])[0]) if number not in {*lost, *taken}]
        elif step == "read":
            for number in queue[:count]:
                at.offer(number, LANE, number)
            del queue[:count]
            if count % 2:
                take()
        assert set(reported) <= lost
    for number in queue:
        at.offer(number, LANE, number)
    queue.clear()
    for number in [*beats, sent, sent]:
        at.claim(LANE, number)
        clock.now += HOLD_SECONDS
        idle()
    take()
    first = min([*taken, sent + 1])
    assert sorted(reported) == sorted(number for number in lost if number > first)
    assert sorted(taken) == [number for number in range(1, sent + 1) if number not in lost]


def test_the_relays_own_heartbeats_reveal_that_the_last_events_were_dropped(tmp_path: Path) -> None:
    url = log_url(tmp_path)
    gaps: list[Gap] = []
    settings = config.load({"broker": str(url), "heartbeat_s": 1}, environ={})
    with (
        Outbox.open(tmp_path / "o.db") as outbox,
        Consumer(
            url, ["hg.push.#"], queue="q", durable=True, state=tmp_path / "s.db", heartbeats=True,
            on_gap=gaps.append, hold_seconds=0.2,
        ) as consumer,
        open_relay(outbox.path, settings, stop := threading.Event()) as relay,
    ):  # fmt: skip
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            outbox.append([push_event(1)._replace(numbers=None)])
            assert consumer.receive(30) is not None
            consumer.acknowledge()
            unbind(tmp_path / "log.db", "hg.push.#")
            outbox.append([push_event(number)._replace(numbers=None) for number in (2, 3)])
            wait_until(lambda: gaps or consumer.receive(0.1))
        finally:
            stop.set()
            thread.join(30)
    assert [(each.type, each.first_missing, each.last_missing) for each in gaps] == [("hg.push.v1", 2, 3)]


def test_a_type_has_its_own_numbers_a_part_of_one_none_and_the_next_process_knows_the_gap(tmp_path: Path) -> None:
    url = log_url(tmp_path)
    gaps: list[Gap] = []

    def handle(queue: str, topic: str, *events: Event) -> None:
        with Consumer(
            url, [topic], queue=queue, durable=True, state=tmp_path / queue, heartbeats=True,
            on_gap=gaps.append, hold_seconds=0.05,
        ) as consumer:  # fmt: skip
            publish_events(url, *events)
            while consumer.receive(0.65) is not None:
                consumer.acknowledge()

    beat = heartbeat(repo=9, types={"hg.push.v1": 3, "hg.tag.moved.v1": 6})
    handle("part", "hg.push.repo", push_event(5, typesequence=2), beat)
    assert gaps == []
    handle("whole", "hg.push.#", push_event(6, typesequence=2), beat)
    assert gaps == [Gap(source="hg://host/repo", epoch="one", type="hg.push.v1", first_missing=3, last_missing=3)]
    handle("whole", "hg.push.#", push_event(10, typesequence=4), heartbeat(repo=10, types={"hg.push.v1": 4}))
    assert len(gaps) == 1


def test_heartbeats_in_the_queue_itself_reveal_a_loss_however_busy_the_queue_is(tmp_path: Path) -> None:
    url = log_url(tmp_path)
    gaps: list[Gap] = []
    with Consumer(url, ["#"], on_gap=gaps.append, hold_seconds=0.05) as consumer:
        publish_events(url, push_event(1), heartbeat(repo=2, other=0))
        for number in range(1, 40):
            # There is no pause in which the queue is empty.
            publish_events(url, push_event(number, source="hg://host/other"), heartbeat(repo=2, other=number))
            for _ in range(2):
                assert consumer.receive(30) is not None
                consumer.acknowledge()
            if gaps:
                break
            time.sleep(0.01)
        assert consumer.receive(0) is not None
    assert [(gap.source, gap.first_missing, gap.last_missing) for gap in gaps] == [("hg://host/repo", 2, 2)]


def unbind(log: Path, pattern: str) -> None:
    """Unbind a queue while its consumer is connected, as an admin can do at a broker."""
    with closing(sqlite3.connect(log)) as db, db:
        db.execute("DELETE FROM bindings WHERE pattern = ?", (pattern,))
        db.execute("UPDATE log SET bindings_version = bindings_version + 1")
