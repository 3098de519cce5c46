# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which events a client gets, and what is refused in a query."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import matches
from sourcepulse_web.stream.filter import Filter, filter_of
from support.web.rows import row

WORDS = st.sampled_from(["hg", "push", "bug", "a-b", "_2E"])
PATTERNS = st.lists(st.one_of(WORDS, st.sampled_from(["*", "#"])), min_size=1, max_size=5).map(".".join)
KEYS = st.lists(WORDS, min_size=1, max_size=5).map(".".join)


@given(topics=st.lists(PATTERNS, max_size=3), exclude=st.lists(PATTERNS, max_size=2), key=KEYS)
def test_topics_and_excluded_ones_are_compared_as_a_broker_does(
    topics: list[str], exclude: list[str], key: str
) -> None:
    asked = Filter(topics=tuple(topics), exclude=tuple(exclude))
    wanted = not topics or any(matches(pattern, key) for pattern in topics)
    assert asked.passes(row(key=key)) == (wanted and not any(matches(pattern, key) for pattern in exclude))


def test_a_type_and_a_source_must_both_fit() -> None:
    asked = filter_of({"type": ["hg.push.v1", "hg.tree.#"], "source": ["hg://a/b"]})
    assert asked.passes(row(source="hg://a/b"))
    assert asked.passes(row(source="hg://a/b", type_="hg.tree.closed.v1"))
    assert not asked.passes(row(source="hg://a/b", type_="hg.bookmark.moved.v1"))
    assert not asked.passes(row(source="hg://a/c"))


def test_what_stands_for_a_withheld_event_passes_as_its_type() -> None:
    stand_in = row(
        type_="system.event.withheld.v1",
        body=b'{"type":"system.event.withheld.v1","data":{"type":"bugzilla.bug.created.v1"}}',
    )
    assert Filter(types=("bugzilla.bug.created.v1",)).passes(stand_in)
    assert not Filter(types=("bugzilla.bug.changed.v1",)).passes(stand_in)
    assert not Filter(types=("hg.#",)).passes(row(type_="system.event.withheld.v1", body=b"no JSON"))


def test_why_names_the_pattern_by_which_an_event_passes() -> None:
    assert Filter().why(row()) == "#"
    assert Filter(topics=("build.#", "hg.#")).why(row()) == "hg.#"
    assert Filter(types=("hg.*.v1",)).why(row()) == "hg.*.v1"
    assert Filter(sources=("hg://a/b",)).why(row(source="hg://a/b")) == "hg://a/b"


def test_equal_filters_are_one_key() -> None:
    assert len({filter_of({"topic": ["hg.#"]}), Filter(topics=("hg.#",)), Filter()}) == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"topic": ["hg.push*"]}, "the word 'push*'"),
        ({"topic": [""]}, "the word ''"),
        ({"exclude": ["a" * 256]}, "256 bytes; a routing key has at most 255"),
        ({"topic": ["hg.#"] * 51}, "topic= occurs 51 times; at most 50"),
        ({"type": ["#.a.#.b.#.c.#.d.#"]}, "more than 4 words '#'"),
        ({"source": ["x" * 1025]}, "1025 bytes; at most 1024"),
        ({"source": [""]}, "source= is empty"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_the_reason(arguments: dict[str, list[str]], sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        filter_of(arguments)
