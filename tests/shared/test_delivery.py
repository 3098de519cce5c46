# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Delivery: in order, three outcomes, nothing lost when the broker goes away in the middle."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.brokers import Message, Outcome
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, ConfigError, RelayRunningError
from sourcepulse.outbox.delivery_state import bind_broker, bound_broker, next_attempt_in, record_failure
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.outgoing.replays import request_replay
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.destination import admit
from sourcepulse.relay.relay import Relay, is_relayed, relay_lock
from sourcepulse.relay.retry import RETRY_MOST_SECONDS, retry_seconds
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


def delivery_to(broker: MemoryBroker, outbox: Outbox, *, pulse: bool = False) -> Delivery:
    return Delivery(
        outbox,
        "public",
        broker.publisher,
        exchange="sourcepulse",
        pulse_format=pulse,
        clock=lambda: 1_795_345_170.0,
        jitter=lambda: 1.0,
    )


def never() -> bool:
    return False


def test_events_arrive_in_order_with_their_properties(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([system_event(n) for n in range(250)])
    report = delivery_to(broker, outbox).attempt(never)
    assert report.delivered == 250
    assert [m.tag for m in broker.messages] == list(range(1, 251))
    first = broker.messages[0]
    assert (first.routing_key, first.type) == ("system.test.degraded", "system.test.degraded.v1")
    assert json.loads(first.body)["id"] == first.id
    assert figures(outbox)["streams"]["public"]["pending"] == 0


def test_without_work_there_is_no_connection(outbox: Outbox) -> None:
    broker = MemoryBroker()
    delivery_to(broker, outbox).attempt(never)
    assert broker.connections == 0


def test_a_refused_event_is_buried_and_the_rest_flows_on(outbox: Outbox) -> None:
    broker = MemoryBroker(judge=lambda m: Outcome.REFUSED if m.tag == 3 else Outcome.DELIVERED)
    outbox.append([system_event(n) for n in range(5)])
    report = delivery_to(broker, outbox).attempt(never)
    assert (report.delivered, report.buried) == (4, 1)
    (buried,) = rows(outbox, Selection(state="buried"))
    assert (buried["position"], buried["reason"]) == (3, "refused by the test")
    assert [m.tag for m in broker.messages] == [1, 2, 4, 5]


def test_what_no_queue_took_is_delivered_and_counted(outbox: Outbox) -> None:
    broker = MemoryBroker(judge=lambda _: Outcome.UNROUTABLE)
    outbox.append([system_event(1)])
    assert delivery_to(broker, outbox).attempt(never).unroutable == 1
    assert figures(outbox)["streams"]["public"]["unroutable"] == 1


def test_a_broker_that_goes_away_leaves_the_rest_pending_and_a_time_for_the_next_attempt(outbox: Outbox) -> None:
    def judge(message: Message) -> Outcome:
        if message.tag == 4 and broker.connections < 3:
            raise BrokerUnavailableError("the broker went away")
        return Outcome.DELIVERED

    broker = MemoryBroker(judge=judge)
    outbox.append([system_event(n) for n in range(6)])
    delivery = delivery_to(broker, outbox)
    report = delivery.attempt(never)
    assert (report.delivered, str(report.error)) == (3, "the broker went away")
    assert 0.4 < next_attempt_in(outbox, "public") <= 0.5
    delivery.attempt(never)
    assert 0.9 < next_attempt_in(outbox, "public") <= 1.0
    assert delivery.attempt(never).delivered == 3
    assert [m.tag for m in broker.messages] == [1, 2, 3, 4, 5, 6]
    state = figures(outbox)["streams"]["public"]
    assert (state["failures"], state["next_attempt_at"], state["last_error"]) == (0, None, "the broker went away")


def test_a_broker_that_refuses_us_is_asked_slowly(outbox: Outbox) -> None:
    def judge(_: Message) -> Outcome:
        raise BrokerRefusedUsError("wrong password")

    outbox.append([system_event(1)])
    delivery_to(MemoryBroker(judge=judge), outbox).attempt(never)
    assert next_attempt_in(outbox, "public") > 30


def test_on_a_request_to_stop_it_finishes_what_is_in_progress_and_begins_nothing_new(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([system_event(n) for n in range(500)])
    report = delivery_to(broker, outbox).attempt(lambda: bool(broker.messages))
    assert 0 < report.delivered < 500
    assert figures(outbox)["streams"]["public"]["pending"] == 500 - report.delivered


def test_a_replay_carries_its_old_id_and_numbers_and_the_mark(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([system_event(1)])
    delivery = delivery_to(broker, outbox)
    delivery.attempt(never)
    request_replay(outbox, 1)
    assert delivery.attempt(never).replayed == 1
    first, again = (json.loads(m.body) for m in broker.messages)
    assert again.pop("replayed") is True
    assert first == again


def test_the_pulse_format_wraps_the_same_payload(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([system_event(1)])
    delivery_to(broker, outbox, pulse=True).attempt(never)
    message = json.loads(broker.messages[0].body)
    assert message["payload"] == system_event(1).data
    assert message["_meta"]["exchange"] == "sourcepulse"
    assert message["_meta"]["routing_key"] == "system.test.degraded"


@given(st.lists(st.sampled_from("dur!"), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_whatever_the_broker_does_each_event_is_delivered_or_buried_and_the_order_holds(script: list[str]) -> None:
    import tempfile

    answers = iter(script)

    def judge(_: Message) -> Outcome:
        answer = next(answers, "d")
        if answer == "!":
            raise BrokerUnavailableError("gone")
        return {"d": Outcome.DELIVERED, "u": Outcome.UNROUTABLE, "r": Outcome.REFUSED}[answer]

    broker = MemoryBroker(judge=judge)
    with tempfile.TemporaryDirectory() as directory, Outbox.open(Path(directory, "o.db")) as outbox:
        outbox.append([system_event(n) for n in range(8)])
        delivery = delivery_to(broker, outbox)
        while delivery.attempt(never).error:
            pass
        buried = {row["position"] for row in rows(outbox, Selection(state="buried"))}
    tags = [m.tag for m in broker.messages]
    assert tags == sorted(tags)
    assert set(tags) | buried == set(range(1, 9))
    assert not set(tags) & buried


def test_the_wait_doubles_and_has_a_cap() -> None:
    waits = [retry_seconds(failures, jitter=lambda: 1.0) for failures in range(40)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == RETRY_MOST_SECONDS
    assert retry_seconds(3, jitter=lambda: 0.0) == 2.0


def test_another_broker_is_refused_without_rebind(outbox: Outbox) -> None:
    admit(outbox, "public", "amqp://typo:5672/%2F sourcepulse", rebind=False)
    admit(outbox, "public", "amqp://a:5672/%2F sourcepulse", rebind=False)
    assert bound_broker(outbox, "public") is None, "nothing was confirmed yet"
    bind_broker(outbox, "public", "amqp://a:5672/%2F sourcepulse")
    admit(outbox, "public", "amqp://a:5672/%2F sourcepulse", rebind=False)
    with pytest.raises(ConfigError, match=f"`sourcepulse outbox rebind --outbox {outbox.path}`.* --rebind"):
        admit(outbox, "public", "amqp://b:5672/%2F sourcepulse", rebind=False)
    assert "--rebind" in figures(outbox)["streams"]["public"]["last_error"]
    admit(outbox, "public", "amqp://b:5672/%2F sourcepulse", rebind=True)
    assert bound_broker(outbox, "public") == "amqp://b:5672/%2F sourcepulse"


def test_one_outbox_has_one_relay(outbox: Outbox) -> None:
    assert not is_relayed(outbox.path)
    with relay_lock(outbox.path):
        assert is_relayed(outbox.path)
        with pytest.raises(RelayRunningError), relay_lock(outbox.path):
            pass
    assert not is_relayed(outbox.path)


def test_a_fault_of_ours_ends_the_relay_loudly(outbox: Outbox) -> None:
    def judge(_: Message) -> Outcome:
        raise ZeroDivisionError

    outbox.append([system_event(1)])
    with Outbox.open(outbox.path) as own:
        relay = Relay(
            outbox,
            [delivery_to(MemoryBroker(judge=judge), own)],
            sweep=lambda: 0,
            keep=Keep(days=1, bytes=1_000),
            stop=threading.Event(),
        )
        with pytest.raises(ZeroDivisionError):
            relay.run()
    assert figures(outbox)["streams"]["public"]["pending"] == 1


def test_a_locked_outbox_holds_the_relay_up_and_does_not_end_it(outbox: Outbox) -> None:
    broker = MemoryBroker()
    stop = threading.Event()
    outbox.append([system_event(1)])
    with Outbox.open(outbox.path, lock_wait_s=0.05) as own, Outbox.open(outbox.path, lock_wait_s=0.05) as house:
        relay = Relay(house, [delivery_to(broker, own)], sweep=lambda: 0, keep=Keep(days=1, bytes=1_000), stop=stop)
        running = threading.Thread(target=relay.run)
        with outbox.writing():
            running.start()
            time.sleep(0.5)
        deadline = time.monotonic() + 30
        while outbox.claim("public") and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.set()
        running.join(30)
    assert not running.is_alive()
    assert figures(outbox)["streams"]["public"]["pending"] == 0


def test_an_event_that_is_buried_by_hand_while_it_is_under_way_ends_nothing(outbox: Outbox) -> None:
    outcomes = {1: Outcome.REFUSED, 2: Outcome.DELIVERED, 3: Outcome.DELIVERED}

    def judge(message: Message) -> Outcome:
        if message.tag < 3:
            outbox.bury(message.tag, "by hand")
        return outcomes[message.tag]

    outbox.append([system_event(n) for n in range(3)])
    delivery_to(MemoryBroker(judge=judge), outbox).attempt(never)
    found = [(row["state"], row["reason"]) for row in rows(outbox, Selection())]
    assert found == [("buried", "by hand"), ("delivered", None), ("delivered", None)]


def test_an_event_whose_bytes_were_damaged_is_buried_and_the_rest_flows_on(outbox: Outbox) -> None:
    broker = MemoryBroker()
    outbox.append([system_event(n) for n in range(4)])
    delivery_to(broker, outbox).attempt(never)
    outbox.append([system_event(n) for n in range(4, 7)])
    with outbox.writing() as db:
        db.execute("UPDATE bodies SET body = x'00' WHERE position IN (2, 5)")
    for position in (1, 2, 3):
        request_replay(outbox, position)
    report = delivery_to(broker, outbox, pulse=True).attempt(never)
    assert (report.delivered, report.buried, report.replayed) == (2, 1, 3)
    assert [row["position"] for row in rows(outbox, Selection(state="buried"))] == [5]
    assert len(broker.messages) == 4 + 2 + 2


def test_a_clock_that_is_set_back_does_not_make_the_broker_wait_for_it(tmp_path: Path) -> None:
    now = 2_000_000.0
    with Outbox.open(tmp_path / "o.db", clock=lambda: now) as outbox:
        record_failure(outbox, "public", BrokerUnavailableError("gone"), retry_in=lambda _: 30.0)
        assert next_attempt_in(outbox, "public") == 30.0
        now -= 86_400.0
        assert next_attempt_in(outbox, "public") == 0.0


def test_in_one_attempt_too_no_stream_waits_for_the_other(outbox: Outbox) -> None:
    delivered = threading.Event()

    def frozen(_: Message) -> Outcome:
        return Outcome.DELIVERED if delivered.wait(20) else Outcome.REFUSED

    def thawing(_: Message) -> Outcome:
        delivered.set()
        return Outcome.DELIVERED

    outbox.append([system_event(1, source="system://a"), system_event(1, source="system://a?restricted")])
    with Outbox.open(outbox.path) as one, Outbox.open(outbox.path) as other:
        deliveries = [
            Delivery(own, stream, MemoryBroker(judge=judge).publisher, exchange="x", clock=time.time)
            for own, stream, judge in ((one, "public", frozen), (other, "restricted", thawing))
        ]
        keep = Keep(days=1, bytes=1_000)
        reports = Relay(outbox, deliveries, sweep=lambda: 0, keep=keep, stop=threading.Event()).once()
    assert [(report.delivered, report.buried) for report in reports] == [(1, 0), (1, 0)]
