# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Names at both STOMP brokers: no two things share one, and a pattern takes at ActiveMQ what it must."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sourcepulse.brokers.stomp.destinations import (
    VIRTUAL_TOPIC,
    activemq_dead_letters,
    activemq_patterns,
    activemq_queue,
    activemq_routing_key,
    activemq_topic,
    activemq_topics,
    check_activemq_exchange,
    is_activemq_name,
    rabbitmq_declared_queue,
    rabbitmq_key,
    rabbitmq_queue,
    rabbitmq_routing_key,
)
from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import matches

words = st.sampled_from(["hg", "push", "a"])
keys = st.lists(words, min_size=1, max_size=5).map(".".join)
patterns = st.lists(words | st.sampled_from(["*", "#"]), min_size=1, max_size=5).map(".".join)
exchanges = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)
#: Any name at all, among them the ones that look like an escaped other one.
names = st.text(min_size=1, max_size=8) | st.text("_-2EF.", min_size=1, max_size=8)


def takes_at_activemq(topics: str, topic: str) -> bool:
    """Match as ActiveMQ does: `*` is one word, `>` the rest, none included, and what follows it is not looked at."""
    wanted, given_words = topics.split("."), topic.split(".")
    for place, word in enumerate(wanted):
        if word == ">":
            return True
        if place >= len(given_words) or word not in ("*", given_words[place]):
            return False
    return len(wanted) == len(given_words)


def has_inner_hash(pattern: str) -> bool:
    return "#" in pattern.split(".")[:-1]


@given(st.lists(patterns, min_size=1, max_size=4), keys)
@example(["#.push"], "hg.push")
@example(["hg.#"], "hg")
@example(["*", "#.*"], "hg")
@example(["hg.#", "hg.*", "hg.push"], "hg.push")
def test_the_patterns_for_activemq_take_at_least_what_was_asked_for(asked: list[str], key: str) -> None:
    topic = activemq_topic("pulse", key).removeprefix("/topic/")
    topics = [activemq_topics("pulse", pattern).removeprefix("/topic/") for pattern in activemq_patterns(asked)]
    wanted = any(matches(pattern, key) for pattern in asked)
    taken = any(takes_at_activemq(each, topic) for each in topics)
    assert taken or not wanted
    if not any(map(has_inner_hash, asked)):
        assert taken == wanted


@given(st.lists(patterns, min_size=1, max_size=4))
def test_the_patterns_for_activemq_are_few_and_stay_what_they_are(asked: list[str]) -> None:
    kept = activemq_patterns(asked)
    assert 1 <= len(kept) <= len(asked)
    assert len(set(kept)) == len(kept)
    assert activemq_patterns(kept) == kept
    assert not any(map(has_inner_hash, kept))


def test_a_pattern_within_another_one_needs_no_queue_of_its_own() -> None:
    assert activemq_patterns(["hg.push", "hg.#", "hg.*.x", "bz.*"]) == ("hg.#", "bz.*")
    assert activemq_patterns(["hg.#.push", "hg.#.pull"]) == ("hg.#",)


@given(exchanges, keys)
def test_a_key_is_read_back_from_its_topic(exchange: str, key: str) -> None:
    topic = activemq_topic(exchange, key)
    assert activemq_routing_key(exchange, {"destination": topic, "original-destination": "/topic/other"}) == key
    queue = {"destination": activemq_queue(exchange, "hg.#", "q"), "original-destination": topic}
    assert activemq_routing_key(exchange, queue) == (key if matches("hg.#", key) else None)


@given(st.tuples(exchanges, patterns, names), st.tuples(exchanges, patterns, names))
@example(("pulse", "hg", "a.b"), ("pulse", "hg", "a_2Eb"))
@example(("a", "hg", "x"), ("a", "hg", "x"))
def test_two_subscriptions_share_no_queue_at_activemq(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    one, other = (
        (exchange, activemq_patterns([pattern])[0], name.encode("utf-8", "replace").decode())
        for exchange, pattern, name in (one, other)
    )
    first, second = activemq_queue(*one), activemq_queue(*other)
    assert (first == second) == (one == other)
    assert (activemq_dead_letters(one[2]) == activemq_dead_letters(other[2])) == (one[2] == other[2])
    # ActiveMQ fills the queue whose name begins so, and no other: the name must be one word.
    consumer, _, rest = first.removeprefix("/queue/Consumer.").partition(f".{VIRTUAL_TOPIC}{one[0]}.")
    assert is_activemq_name(consumer)
    assert "." not in consumer
    assert rest.replace(">", "#") == one[1]


@given(names)
def test_dead_letters_are_not_in_a_queue_that_a_topic_fills(name: str) -> None:
    name = name.encode("utf-8", "replace").decode()
    assert VIRTUAL_TOPIC not in activemq_dead_letters(name).removeprefix("/queue/Consumer.").partition(".")[2]


@pytest.mark.parametrize("exchange", ["a.b", "a>", "*", "", "a,b", "a b", "a/b", "ä", "a?b"])
def test_an_exchange_that_activemq_would_read_otherwise_is_refused(exchange: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used at ActiveMQ"):
        check_activemq_exchange(exchange)


@pytest.mark.parametrize("key", ["hg.>", "hg.*", "hg,bz", "hg?x=1", "hg..push", "hg.", "", "hg push", "hg.é", "hg\n"])
def test_a_key_that_activemq_would_read_otherwise_is_known(key: str) -> None:
    assert not is_activemq_name(key)


@given(st.tuples(names, names), st.tuples(names, names))
@example(("a", "b/c"), ("a/b", "c"))
@example(("a", "%2F"), ("a", "/"))
def test_two_bindings_share_no_destination_at_rabbitmq(one: tuple[str, str], other: tuple[str, str]) -> None:
    try:
        first, second = rabbitmq_key(*one), rabbitmq_key(*other)
    except ConfigError:
        assert any("%2F" in name for name in (*one, *other))
        return
    assert (first == second) == (one == other)
    assert first.count("/") == 3
    assert rabbitmq_routing_key(first) == one[1]


@given(names)
def test_a_queue_at_rabbitmq_is_one_word_of_its_destination(name: str) -> None:
    if "%2F" in name:
        for make in (rabbitmq_queue, rabbitmq_declared_queue):
            with pytest.raises(ConfigError, match="cannot be used over STOMP"):
                make(name)
        return
    assert rabbitmq_queue(name).removeprefix("/amq/queue/").replace("%2F", "/") == name
    assert "/" not in rabbitmq_declared_queue(name).removeprefix("/queue/")


@pytest.mark.parametrize(
    ("destination", "key"),
    [
        ("/exchange/sourcepulse/hg.push", "hg.push"),
        ("/exchange/sourcepulse/a%2Fb", "a/b"),
        ("/exchange/sourcepulse/%2Ftopic%2Fx", "/topic/x"),
        ("/topic/hg.push", "hg.push"),
        ("/queue/hg.push", "hg.push"),
        ("/exchange/sourcepulse", ""),
        ("", ""),
    ],
)
def test_a_routing_key_is_read_from_what_rabbitmq_writes(destination: str, key: str) -> None:
    assert rabbitmq_routing_key(destination) == key
