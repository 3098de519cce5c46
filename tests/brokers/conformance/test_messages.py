# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The same bytes and properties on every broker, up to 256 KiB; what a broker will not take is refused alone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sourcepulse.brokers import Outcome
from sourcepulse.events.event import Event
from sourcepulse.events.wire import encode
from support.brokers.broker_under_test import BrokerUnderTest, RemoteBroker
from support.brokers.embedded_log import as_message, push_event
from support.brokers.messages import bodies, is_silent, message, next_event, receive, settle, take

EVENT_MAX_BYTES = 256 * 1024
#: Every character of one UTF-16 word but the halves of pairs, and some beyond.
CHARACTERS = "".join(chr(code) for code in (*range(0xD800), *range(0xE000, 0x10000), 0x1F600, 0x10FFFF))


def test_bodies_of_any_bytes_are_kept(broker: BrokerUnderTest) -> None:
    sent = [
        b"",
        b"\x00",
        b"a\x00b\x00",
        b"\n\r\n\x00\n",
        bytes(range(256)),
        b"\xff\x00\xce" * 1000,
        "ä€😀".encode() * 1000,
        b"\n" * 10_000,
        b"MESSAGE\nsubscription:1\n\nbody\x00",
        b"x" * EVENT_MAX_BYTES,
        b"\xce" * (EVENT_MAX_BYTES // 2),
    ]
    sources = [broker.subscription(broker.spec("#", durable=durable)) for durable in (True, False)]
    broker.publish(*(message(number, body=body) for number, body in enumerate(sent)))
    for source in sources:
        assert bodies(source, len(sent)) == sent


@pytest.mark.parametrize("as_escapes", [False, True], ids=["utf-8", "escapes"])
def test_an_event_of_every_character_arrives_as_it_was(broker: BrokerUnderTest, as_escapes: bool) -> None:
    event = push_event(1)._replace(data={"number": 1, "text": CHARACTERS[: 30_000 if as_escapes else None]})
    body = encode(event)
    if as_escapes:
        body = json.dumps(json.loads(body)).encode()
    assert 100_000 < len(body) < EVENT_MAX_BYTES
    consumer = broker.consumer("hg.#")
    broker.publish(replace(as_message(event), body=body))
    assert next_event(consumer) == event


def test_the_largest_events_pass_in_a_row(broker: BrokerUnderTest) -> None:
    def large(number: int) -> Event:
        return push_event(number)._replace(data={"number": number, "text": "ä" * 130_000})

    consumer = broker.consumer("hg.#", prefetch=10)
    broker.publish_events(*(large(number) for number in range(1, 41)))
    assert take(consumer, 40) == list(range(1, 41))


def test_key_and_content_type_come_with_the_body(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#"))
    classic = replace(message(2, key="hg.tag.moved.x"), content_type="application/json")
    broker.publish(message(1), classic)
    assert [(each.routing_key, each.content_type, each.redelivered) for each in receive(source, 2)] == [
        ("hg.push.repo", "application/cloudevents+json", False),
        ("hg.tag.moved.x", "application/json", False),
    ]


def test_a_stranger_sees_what_a_consumer_filters_on(remote: RemoteBroker) -> None:
    ear = remote.hear()
    remote.publish(message(1, body=b"\x00\xff"), replace(message(2, key="hg.tag.moved.x"), type="hg.tag.moved.v1"))
    first, second = ear.take(2)
    assert (first.routing_key, first.body) == ("hg.push.repo", b"\x00\xff")
    assert (first.id, first.type, first.content_type) == ("id-1", "hg.push.v1", "application/cloudevents+json")
    assert first.time == "1795345161"
    assert (second.routing_key, second.id, second.type) == ("hg.tag.moved.x", "id-2", "hg.tag.moved.v1")


def test_a_message_over_the_limit_is_refused_alone_and_the_rest_stays_in_order(narrow: BrokerUnderTest) -> None:
    source = narrow.subscription(narrow.spec("#"))
    large = b"x" * (narrow.message_max_bytes + 1)
    settled = narrow.publish(*(message(number, body=large if number == 12 else None) for number in range(30)))
    assert [item.tag for item in settled if item.outcome is Outcome.REFUSED] == [12]
    assert next(item.reason for item in settled if item.tag == 12)
    assert sorted(item.tag for item in settled) == list(range(30))
    got = [int(body) for body in bodies(source, 29)]
    while (delivery := source.receive(0.3)) is not None:
        # What the broker had not confirmed when it refused may come again.
        source.acknowledge(delivery)
        got.append(int(delivery.body))
    assert sorted(set(got), key=got.index) == [number for number in range(30) if number != 12]


def test_messages_over_the_limit_one_after_the_other_are_all_refused(narrow: BrokerUnderTest) -> None:
    source = narrow.subscription(narrow.spec("#"))
    large = b"x" * (narrow.message_max_bytes + 1)
    sender = narrow.publisher()
    for number in range(5):
        sender.send(message(number, body=large))
    assert [item.outcome for item in settle(sender, 5)] == [Outcome.REFUSED] * 5
    sender.send(message(9))
    assert [item.outcome for item in settle(sender, 1)] == [Outcome.DELIVERED]
    assert bodies(source, 1) == [b"9"]
    assert is_silent(source)
