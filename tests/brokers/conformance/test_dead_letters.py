# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What cannot be handled is put aside, with body, key and reason, and holds nothing up."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sourcepulse.brokers import QueueLimits
from sourcepulse.errors import DecodeError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import encode
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import DeadLetter, bodies, is_silent, message, next_event, receive, take

MAX_DELIVERIES = 3
#: A header of STOMP has its own escapes, and no room for a book.
ODD_REASONS = (
    "a:b\\nc\\d\r\n\x00 e",
    "Größe, 日本",
    "x" * 5000,
    "",
)


def test_what_is_rejected_is_set_aside_with_body_key_and_reason(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#"))
    broker.publish(*(message(number, key=f"hg.push.{number}") for number in range(4)))
    for number, delivery in enumerate(receive(source, 4)):
        if number in (1, 2):
            source.reject(delivery, f"because of {number}")
        else:
            source.acknowledge(delivery)
    source.close()
    assert broker.dead(2) == [
        DeadLetter(routing_key=f"hg.push.{number}", body=b"%d" % number, reason=f"because of {number}")
        for number in (1, 2)
    ]
    assert is_silent(broker.subscription(broker.spec("hg.#"), former=("hg.#",)))


@pytest.mark.parametrize("reason", ODD_REASONS, ids=["escapes", "letters", "long", "none"])
def test_a_reason_of_any_text_puts_the_message_aside(broker: BrokerUnderTest, reason: str) -> None:
    source = broker.subscription(broker.spec("hg.#"))
    broker.publish(message(1, body=b"\x00\xff\xfe\n\r\n:"), message(2))
    (first,) = receive(source, 1)
    source.reject(first, reason)
    assert bodies(source, 1) == [b"2"]
    (letter,) = broker.dead(1)
    assert letter.body == b"\x00\xff\xfe\n\r\n:"
    # It may be shortened, and what no header can hold may be replaced; the beginning is enough.
    assert letter.reason[:4] == reason[:4].replace("\x00", "?")


def test_many_messages_are_set_aside_one_after_the_other(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#", prefetch=10))
    broker.publish(*(message(number) for number in range(60)))
    for _ in range(60):
        source.reject(receive(source, 1)[0], "because")
    assert [letter.body for letter in broker.dead(60)] == [b"%d" % number for number in range(60)]


def test_what_a_temporary_subscription_rejects_is_dropped(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#", durable=False))
    broker.publish(message(1), message(2))
    source.reject(receive(source, 1)[0], "because")
    assert bodies(source, 1) == [b"2"]
    assert is_silent(source)


def test_an_event_that_the_program_rejects_leaves_no_gap(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(push_event(1), push_event(2))
    next_event(consumer)
    consumer.reject("not today")
    assert take(consumer, 1) == [2]
    assert (consumer.stats.rejected, consumer.stats.gaps) == (1, 0)
    (letter,) = broker.dead(1)
    assert letter == DeadLetter(routing_key="hg.push.repo", body=encode(push_event(1)), reason="not today")


def test_an_event_whose_callback_keeps_failing_is_set_aside_and_the_rest_goes_on(broker: BrokerUnderTest) -> None:
    handled: list[int] = []

    def callback(event: Event) -> None:
        if event.data["number"] == 2:
            raise ValueError("a secret detail")
        handled.append(event.data["number"])

    consumer = broker.consumer("hg.#", timeout=0.5)
    broker.publish_events(*(push_event(number) for number in range(1, 5)))
    consumer.run(callback, attempts=2, retry_seconds=0.01)
    assert handled == [1, 3, 4]
    (letter,) = broker.dead(1)
    assert letter.reason == "the callback failed 2 times, the last time with ValueError"


def test_an_event_that_kills_its_consumer_is_set_aside_after_the_limit_and_the_rest_goes_on(
    broker: BrokerUnderTest,
) -> None:
    limits = QueueLimits(max_deliveries=MAX_DELIVERIES)
    broker.consumer("hg.#", limits=limits).close()
    broker.publish_events(*(push_event(number) for number in range(1, 6)))
    deaths, handled = _die_on(2, broker, MAX_DELIVERIES)
    # The broker may have delivered it to the connection that was just closed; that delivery counts as the first.
    assert deaths in (MAX_DELIVERIES - 1, MAX_DELIVERIES)
    assert handled == ["1", *["2"] * deaths, "3", "4", "5", "left"]
    (letter,) = broker.dead(1)
    assert (letter.routing_key, letter.body) == ("hg.push.repo", encode(push_event(2)))
    assert "never acknowledged" in letter.reason
    assert is_silent(broker.consumer("hg.#", limits=limits))


def _die_on(number: int, broker: BrokerUnderTest, max_deliveries: int) -> tuple[int, list[str]]:
    """Run a program that dies on one event until it survives; give how often it died, and what it handled."""
    handled: list[str] = []
    for deaths in range(max_deliveries + 3):
        child = broker.child(
            "hg.#", dies_at=number, limits={"max_deliveries": max_deliveries}, timeout=1.0, hold_seconds=0.1
        )
        code, said = child.end()
        handled += said
        if code == 0:
            return deaths, handled
    raise AssertionError(handled)


@pytest.mark.parametrize("limit", [1, 2])
def test_a_small_delivery_limit_sets_no_other_event_aside(broker: BrokerUnderTest, limit: int) -> None:
    limits = QueueLimits(max_deliveries=limit)
    broker.consumer("hg.#", limits=limits).close()
    broker.publish_events(*(push_event(number) for number in range(1, 4)))
    deaths, handled = _die_on(1, broker, limit)
    assert deaths == limit
    assert handled[deaths:] == ["2", "3", "left"]
    assert [letter.body for letter in broker.dead(1)] == [encode(push_event(1))]


def test_messages_that_are_not_events_are_reported_set_aside_and_stop_nothing(broker: BrokerUnderTest) -> None:
    good = json.loads(encode(push_event(1)))
    bad = [
        b"",
        b"\xff\xfenonsense",
        b"not json",
        b"[]",
        b'{"specversion":"1.0"}',
        json.dumps({**good, "specversion": "9.9"}).encode(),
        json.dumps({**good, "id": ""}).encode(),
    ]
    reported: list[DecodeError] = []
    consumer = broker.consumer("hg.#", on_bad=reported.append)
    broker.publish_events(push_event(1))
    for body in bad:
        broker.publish_as_a_stranger("hg.push.repo", body)
    broker.publish_events(push_event(2))
    assert take(consumer, 2) == [1, 2]
    assert [error.raw for error in reported] == bad
    assert consumer.stats.bad == len(bad)
    letters = broker.dead(len(bad))
    assert [letter.body for letter in letters] == bad
    assert all(letter.reason and letter.routing_key == "hg.push.repo" for letter in letters)


def test_a_strangers_events_are_read_as_ours(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.#")
    for number in range(1, 4):
        broker.publish_as_a_stranger("hg.push.repo", encode(push_event(number)))
    for number in range(1, 4):
        assert next_event(consumer) == push_event(number)
        consumer.acknowledge()
    assert consumer.stats.bad == 0


def test_dead_letters_of_one_queue_are_not_anothers(broker: BrokerUnderTest) -> None:
    queues = [f"{broker.queue}-{number}" for number in range(2)]
    first, second = (broker.subscription(broker.spec("hg.#", queue=queue)) for queue in queues)
    broker.publish(message(1), replace(message(2), routing_key="hg.tag.x"))
    first.reject(receive(first, 1)[0], "because")
    assert bodies(second, 2) == [b"1", b"2"]
    assert bodies(first, 1) == [b"2"]
    assert [letter.body for letter in broker.dead(1, queues[0])] == [b"1"]
    assert broker.take_dead(queues[1]) == []
