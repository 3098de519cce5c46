# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a user with the right to publish cannot do: silence an event, speak for others, blind the gap detection."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import amqp
import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Message
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.errors import DecodeError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import encode
from sourcepulse.gaps import Gap, Lane
from support.brokers.activemq import ActiveMqNode
from support.brokers.amqp import admin
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import RabbitBroker, StompRabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import as_message, push_event
from support.brokers.messages import is_silent, next_event, take
from support.brokers.rabbitmq import RabbitNode

FORGED = 10**15
REPO = "hg://host/repo"


def changed(event: Event, **members: object) -> Message:
    """Return the message of an event with other members than any publisher of ours would write."""
    document = {**json.loads(encode(event)), **members}
    return replace(as_message(event), body=json.dumps(document).encode())


def test_a_number_that_no_outbox_gives_is_set_aside_and_nothing_behind_it_waits(broker: BrokerUnderTest) -> None:
    bad: list[DecodeError] = []
    consumer = broker.consumer("#", on_bad=bad.append)
    broker.publish(changed(push_event(1), sequence="9" * 20), as_message(push_event(2)))
    assert take(consumer, 1) == [2]
    assert [str(error).rpartition(": ")[2] for error in bad] == [
        "its sequence 99999999999999999999 is higher than 9223372036854775807"
    ]
    (letter,) = broker.dead(1)
    assert "higher than" in letter.reason
    consumer.close()
    assert is_silent(broker.consumer("#"))


def test_the_id_of_an_event_in_the_hand_of_a_stranger_does_not_silence_it(broker: BrokerUnderTest) -> None:
    bad: list[DecodeError] = []
    consumer = broker.consumer("#", on_bad=bad.append)
    genuine = push_event(1)
    elsewhere = push_event(1, source="hg://forged/x")._replace(id=genuine.id)
    same_place = genuine._replace(data={"number": 7})
    broker.publish_events(elsewhere, genuine, same_place, genuine)
    assert [next_event(consumer).source for _ in range(2) if consumer.acknowledge() is None] == [elsewhere.source, REPO]
    consumer.acknowledge()
    assert is_silent(consumer)
    assert [str(error) for error in bad] == [
        f"an event of {REPO} has the id {genuine.id} of another one, which came first"
    ]
    assert (consumer.stats.repeats, consumer.stats.bad) == (1, 1)
    (letter,) = broker.dead(1)
    assert json.loads(letter.body)["data"] == {"number": 7}
    consumer.close()
    # The next process knows both as well.
    again = broker.consumer("#", on_bad=bad.append)
    broker.publish_events(elsewhere, genuine, same_place)
    assert is_silent(again)
    assert (again.stats.repeats, again.stats.bad) == (2, 1)


def test_an_event_that_is_replayed_or_written_for_pulse_is_the_same_event(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("#")
    event = push_event(1)
    broker.publish_events(event, event._replace(replayed=True))
    assert take(consumer, 1) == [1]
    assert is_silent(consumer)
    assert (consumer.stats.repeats, consumer.stats.bad) == (1, 0)


def test_a_stand_in_for_an_event_that_was_handled_is_a_repeat(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("#")
    event = push_event(1)
    hidden = event._replace(type="system.event.withheld.v1", subject=None, data={"type": event.type}, replayed=True)
    broker.publish_events(event)
    assert take(consumer, 1) == [1]
    broker.publish_events(hidden)
    assert is_silent(consumer)
    assert (consumer.stats.repeats, consumer.stats.bad) == (1, 0)


def test_a_forged_number_and_a_loss_behind_it_are_reported_also_by_the_next_process(broker: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    options = {"hold_seconds": 0.1, "on_gap": gaps.append}
    consumer = broker.consumer("#", **options)
    broker.publish_events(push_event(1), push_event(2), push_event(FORGED))
    assert take(consumer, 3) == [1, 2, FORGED]
    broker.publish_events(push_event(3), push_event(5))
    assert take(consumer, 2) == [3, 5]
    assert [(gap.first_missing, gap.last_missing) for gap in gaps] == [(3, FORGED - 1), (4, 4)]
    assert consumer.stats.late == 0
    consumer.close()
    gaps.clear()
    again = broker.consumer("#", **options)
    broker.publish_events(push_event(6), push_event(8))
    assert take(again, 2) == [6, 8]
    assert [(gap.first_missing, gap.last_missing) for gap in gaps] == [(7, 7)]


@pytest.mark.parametrize("key", ["hg.push.repo", "hg", "bugzilla.bug.close"])
def test_a_publisher_of_one_kind_of_keys_cannot_speak_for_another(broker: BrokerUnderTest, key: str) -> None:
    consumer = broker.consumer("#")
    forged = push_event(1, source="bugzilla://x", type_="bugzilla.bug.closed.v1")._replace(routing_key=key)
    broker.publish_events(forged, push_event(2))
    assert take(consumer, 1) == [2]
    assert consumer.stats.bad == 1


@pytest.mark.parametrize(
    ("topics", "durable"), [("hg.#", True), ("*.push.#", True), ("#", False), ("hg.*.repo", False)]
)
def test_a_header_of_activemq_does_not_stand_for_the_topic_that_the_right_was_for(
    activemq: ActiveMqNode, topics: str, durable: bool
) -> None:
    broker = ActiveMqBroker(activemq)
    forged = push_event(1, source="bugzilla://x", type_="bugzilla.bug.closed.v1")
    topic = f"/topic/VirtualTopic.{broker.exchange}."
    try:
        consumer = broker.consumer(topics, durable=durable)
        with broker._wire() as wire:
            headers = {
                "destination": f"{topic}hg.push.repo",
                "original-destination": topic + forged.routing_key,
                "routing-key": forged.routing_key,
                "persistent": "true",
            }
            assert wire.request("SEND", headers, encode(forged)).command == "RECEIPT"
        broker.publish_events(push_event(2))
        assert take(consumer, 1) == [2]
        assert consumer.stats.bad == 1
    finally:
        broker.close()


def test_a_header_of_rabbitmq_does_not_stand_for_the_key_that_the_right_was_for(rabbitmq: RabbitNode) -> None:
    forged = push_event(1, source="bugzilla://x", type_="bugzilla.bug.closed.v1")
    for broker in (RabbitBroker(rabbitmq), StompRabbitBroker(rabbitmq)):
        try:
            consumer = broker.consumer("#")
            names = ("destination", "ack", "subscription", "message-id", "redelivered", "routing-key", "content-length")
            headers = dict.fromkeys(names, f"/exchange/{broker.exchange}/{forged.routing_key}")
            with admin(rabbitmq) as channel:
                message = amqp.Message(encode(forged), application_headers=headers)
                channel.basic_publish(message, broker.exchange, "hg.push.repo")
            broker.publish_events(push_event(2))
            assert take(consumer, 1) == [2]
            assert (consumer.stats.bad, consumer.stats.reconnects) == (1, 0)
        finally:
            broker.close()


def test_what_a_stranger_wrote_is_one_bounded_line_of_the_log(
    broker: BrokerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    evil = "x\n\x1b[31mERROR all is lost\u202e\x9b"
    consumer = broker.consumer("#", hold_seconds=0.05)
    reset = [push_event(number, source=f"hg://h/\u202e\x9b{'s' * 900}", epoch=f"{number}") for number in (1, 2)]
    with caplog.at_level(logging.WARNING):
        broker.publish(
            changed(push_event(1), type=evil * 1_000),
            changed(push_event(1), time=evil * 10_000),
            *map(as_message, reset),
            as_message(push_event(3)._replace(id=evil)),
        )
        while next_event(consumer).id != evil:
            consumer.acknowledge()
        consumer.reject(evil * 1_000)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) >= 4
    assert all(line.isprintable() and len(line) < 8_000 for line in lines), lines


def test_ids_that_an_earlier_version_remembered_are_known(broker: BrokerUnderTest, tmp_path: Path) -> None:
    event = push_event(1)
    state = ConsumerState(tmp_path / "old.db")
    state.record([(event.id, None, 0)])
    state.close()
    consumer = broker.consumer("#", state=tmp_path / "old.db")
    broker.publish_events(event, push_event(2))
    assert take(consumer, 1) == [2]
    assert (consumer.stats.repeats, consumer.stats.bad) == (1, 0)


def test_lanes_of_strangers_are_forgotten_again(tmp_path: Path) -> None:
    state = ConsumerState(tmp_path / "state.db", lanes=100)
    for number in range(3_000):
        state.record([(None, Lane(f"hg://stranger/{number}", "one", None), 1)])
    kept = [number for number in range(3_000) if state.last(Lane(f"hg://stranger/{number}", "one", None))]
    assert kept[-1] == 2_999
    assert len(kept) <= 1_100
    state.close()


def test_a_consumer_that_is_left_after_a_hostile_message_can_be_made_again(broker: BrokerUnderTest) -> None:
    for _ in range(3):
        consumer = broker.consumer("#")
        broker.publish(changed(push_event(1), sequence="9" * 20))
        assert is_silent(consumer)
        assert isinstance(consumer, Consumer)
        consumer.close()
