# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which events a subscription gets: exactly those whose key its patterns match, each once, on every broker."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from sourcepulse.errors import ConfigError, DecodeError, EventError
from sourcepulse.events.event import Event
from sourcepulse.events.topics import KEY_MAX_BYTES, matches, routing_key, unescape_word
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import bodies, is_silent, message, next_event, receive, take

#: Published last; every subscription of the matrix takes it.
LAST_KEY = "last.of.all"

KEYS = (
    "hg",
    "hg.push",
    "hg.push.repo",
    "hg.push.integration.inbound",
    "hg.push.push",
    "hg.tag.moved.repo",
    "HG.push.repo",
    "push",
    "push.hg",
    "build.finished.success.linux__64_20debug",
    "build.finished.failure.linux__64_20debug",
    "build._.x",
    "build.x",
    "b-1.2_3.__",
    "hgs.push.repo",
    "a.a.a.a",
    "a.b.a.b.a",
)
PATTERNS = (
    "#",
    "*",
    "*.*",
    "*.*.*",
    "hg",
    "hg.#",
    "hg.*",
    "hg.*.repo",
    "hg.push.#",
    "hg.push.*",
    "*.push",
    "*.push.#",
    "#.push",
    "#.repo",
    "hg.#.repo",
    "hg.#.push.#",
    "#.push.#",
    "#.#",
    "#.*",
    "*.#",
    "*.#.*",
    "hg.push.repo",
    "hg.push.repo.#",
    "build.finished.*.linux__64_20debug",
    "build._.x",
    "*.2_3.__",
    "a.#.a",
    "a.*.#.b.#",
    "#.b.*.b.#",
    "nothing.such",
)


def random_table(seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make patterns and keys of few different words, so that many match."""
    source = random.Random(seed)
    patterns = {".".join(source.choices(("a", "b", "*", "#"), k=source.randint(1, 5))) for _ in range(24)}
    keys = {".".join(source.choices(("a", "b"), k=source.randint(1, 5))) for _ in range(40)}
    return tuple(sorted(patterns)), tuple(sorted(keys))


def event(number: int, key: str) -> Event:
    """Make an event under any key; without numbers, because these keys belong to no source.

    Under a key that does not belong to a type it is not an event, which is reported to a consumer of the key.
    """
    type_ = ".".join((*key.split(".")[:2], "v1"))
    try:
        return push_event(number + 1, type_=type_)._replace(routing_key=key, numbers=None)
    except EventError:
        return push_event(number + 1)._replace(routing_key=key, numbers=None)


def test_the_port_gives_what_the_usual_patterns_match_and_nothing_else(broker: BrokerUnderTest) -> None:
    # Every broker knows these by itself; nothing has to be filtered.
    for number, pattern in enumerate(("hg.#", "hg.*.repo", "*.push.*", "build.x", "*", "#")):
        source = broker.subscription(broker.spec(pattern, queue=f"{broker.queue}-{number}"))
        broker.publish(*(message(place, key=key) for place, key in enumerate((*KEYS, LAST_KEY))))
        expected = [key for key in KEYS if matches(pattern, key)]
        assert [delivery.routing_key for delivery in receive(source, len(expected))] == expected
        if not matches(pattern, LAST_KEY):
            assert is_silent(source)
        source.close()


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "temporary"])
@pytest.mark.parametrize(("patterns", "keys"), [(PATTERNS, KEYS), random_table(1)], ids=["chosen", "random"])
def test_every_pattern_takes_the_keys_that_the_matcher_says(
    broker: BrokerUnderTest, patterns: tuple[str, ...], keys: tuple[str, ...], durable: bool
) -> None:
    got: dict[str, list[str]] = {pattern: [] for pattern in patterns}

    def recorder(pattern: str) -> Callable[[DecodeError], object]:
        return lambda error: got[pattern].append(str(error).partition("routing key '")[2].partition("'")[0])

    consumers = {
        pattern: broker.consumer(
            pattern, LAST_KEY, queue=f"{broker.queue}-{number}", durable=durable, on_bad=recorder(pattern)
        )
        for number, pattern in enumerate(patterns)
    }
    sent = [*keys, LAST_KEY]
    broker.publish_events(*(event(number, key) for number, key in enumerate(sent)))
    wrong = {}
    deadline = time.monotonic() + broker.patience_s
    for pattern, consumer in consumers.items():
        expected = [key for key in sent if key == LAST_KEY or matches(pattern, key)]
        here = got[pattern]
        # All was published before the first look; what is there beyond comes with it.
        while True:
            complete = len(here) >= len(expected) or time.monotonic() > deadline
            found = consumer.receive(0 if complete else 0.1)
            if found is not None:
                here.append(found.routing_key)
                consumer.acknowledge()
            elif complete:
                break
        # Between queues of one subscription there is no order.
        if sorted(here) != sorted(expected):
            wrong[pattern] = (set(here) ^ set(expected), len(here), len(expected))
    assert wrong == {}


def test_an_event_that_several_patterns_match_comes_once(broker: BrokerUnderTest) -> None:
    consumers = [
        broker.consumer("hg.#", "hg.push.*", "#.repo", "*.push.repo", durable=durable) for durable in (True, False)
    ]
    broker.publish_events(*(push_event(number) for number in range(1, 11)))
    for consumer in consumers:
        assert take(consumer, 10) == list(range(1, 11))
        assert is_silent(consumer)


def test_several_patterns_are_one_or_the_other(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.tag.#", "build.*", "bug.created"))
    keys = ("hg.tag.moved.x", "build.started", "bug.created", "hg.push.x", "build.started.x", "bug.created.x")
    broker.publish(*(message(number, key=key) for number, key in enumerate(keys)))
    assert sorted(bodies(source, 3)) == [b"0", b"1", b"2"]
    assert is_silent(source)


def test_words_of_any_text_can_be_asked_for_exactly(broker: BrokerUnderTest) -> None:
    texts = ("a/b c.d", "*", "#", ">", "é,ü", "", "_", "%2F", "~x?y=z&", "\x00\n", "/queue/x", "linux_64 debug")
    keys = [routing_key("hg", "push", variable=(text, "end")) for text in texts]
    everything = broker.consumer("hg.push.*.end")
    exact = {key: broker.consumer(key, durable=False) for key in keys}
    broker.publish_events(*(event(number, key) for number, key in enumerate(keys)))
    for number, (key, consumer) in enumerate(exact.items()):
        found = next_event(consumer)
        assert (found.routing_key, found.data["number"]) == (key, number + 1)
    assert take(everything, len(keys)) == list(range(1, len(keys) + 1))
    assert unescape_word(keys[0].split(".")[2]) == texts[0]


@pytest.mark.parametrize("pattern", ["#", "hg.push.#", "hg.push.*"])
def test_a_key_of_the_greatest_length_arrives_whole(broker: BrokerUnderTest, pattern: str) -> None:
    key = routing_key("hg", "push", variable=["ü" * 500])
    assert len(key) == KEY_MAX_BYTES
    sources = [broker.subscription(broker.spec(pattern, durable=durable)) for durable in (True, False)]
    broker.publish(message(1, key=key))
    assert [receive(source, 1)[0].routing_key for source in sources] == [key, key]


def test_a_pattern_of_many_words_and_many_patterns_are_taken(broker: BrokerUnderTest) -> None:
    deep = ".".join("w" * 60)
    consumer = broker.consumer(f"{deep}.*", *(f"many.{number}.#" for number in range(40)))
    keys = [f"{deep}.x", "many.0.x", "many.39.a.b", "many.40.x"]
    broker.publish_events(*(event(number, key) for number, key in enumerate(keys)))
    assert sorted(take(consumer, 3)) == [1, 2, 3]
    assert is_silent(consumer)


@pytest.mark.parametrize("pattern", ["", "hg..push", "hg.tr*", "hg.>", "hg/push", "hg,push", "hg push", ".hg", "hg."])
def test_what_is_not_a_pattern_is_refused_before_anything_is_sent(broker: BrokerUnderTest, pattern: str) -> None:
    with pytest.raises(ConfigError, match="the topic"):
        broker.consumer(pattern)


def test_a_key_with_a_word_of_no_pattern_is_refused_or_arrives_as_it_is(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("#"))
    odd = message(1, key="hg.pu sh/x")
    outcome = broker.publish(message(0), odd, replace(odd, tag=2, id="id-2", routing_key="hg.push"))
    arrived = {item.tag for item in outcome if item.outcome.value == "delivered"}
    assert {0, 2} <= arrived
    assert [(each.routing_key) for each in receive(source, len(arrived))] == [
        key for tag, key in enumerate(("hg.push.repo", "hg.pu sh/x", "hg.push")) if tag in arrived
    ]
