# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Routing keys and patterns: escaping, the 255-byte bound, and matching against an independent reference."""

from __future__ import annotations

import hashlib
import itertools
import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import (
    KEY_MAX_BYTES,
    check_pattern,
    covers,
    escape_word,
    matches,
    routing_key,
    simplified,
    unescape_word,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
AWKWARD = st.text(st.sampled_from("_-.*#/ A0ä,%"), max_size=8)
WORDS = st.sampled_from(["a", "b", "c", "*", "#"])
KEY_WORDS = st.lists(st.sampled_from(["a", "b", "c", "_"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("linux_64 debug", "linux__64_20debug"),
        ("", "_"),
        ("_", "__"),
        ("*", "_2A"),
        ("a.b", "a_2Eb"),
        ("Jörg", "J_C3_B6rg"),
        ("x-86", "x-86"),
        ("%2E,>/", "_252E_2C_3E_2F"),
    ],
)
def test_a_value_is_escaped_as_the_contract_says(value: str, word: str) -> None:
    assert escape_word(value) == word
    assert unescape_word(word) == value


@given(TEXTS | AWKWARD)
def test_an_escaped_value_is_one_plain_word_and_comes_back(value: str) -> None:
    word = escape_word(value)

    assert re.fullmatch(r"[A-Za-z0-9_-]+", word)
    assert unescape_word(word) == value


@given(TEXTS | AWKWARD, TEXTS | AWKWARD)
def test_two_values_never_share_a_word(one: str, other: str) -> None:
    assert (escape_word(one) == escape_word(other)) == (one == other)


@given(st.binary(max_size=30))
def test_a_name_in_any_bytes_comes_back_byte_for_byte(raw: bytes) -> None:
    word = escape_word(os.fsdecode(raw))

    assert os.fsencode(unescape_word(word)) == raw


@given(st.text(st.sampled_from("_-0A9Ffa.é"), max_size=6))
def test_what_no_escape_wrote_is_refused(word: str) -> None:
    try:
        value = unescape_word(word)
    except ValueError:
        return
    assert escape_word(value) == word


@pytest.mark.parametrize("word", ["", "a_", "_4", "_g0", "_c3", "_41", "a.b", "é", "_-"])
def test_a_word_that_is_not_an_escape_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"is not an escaped word|ordinal not in range"):
        unescape_word(word)


@given(st.lists(TEXTS, max_size=12))
def test_a_key_never_takes_more_than_255_bytes(variable: list[str]) -> None:
    key = routing_key("hg", "push", variable=variable)
    whole = ".".join(["hg", "push", *map(escape_word, variable)])

    assert len(key.encode("ascii")) <= KEY_MAX_BYTES
    if len(whole) <= 255:
        assert key == whole
    else:
        assert key == whole[:237] + "_-" + hashlib.sha256(whole.encode()).hexdigest()[:16]
        assert len(key) == 255


@pytest.mark.parametrize(("length", "cut"), [(247, False), (248, True), (300, True)])
def test_only_a_key_beyond_255_bytes_is_cut(length: int, cut: bool) -> None:
    key = routing_key("hg", "push", variable=["x" * length])

    assert ("_-" in key) == cut
    assert len(key) == min(len("hg.push.") + length, 255)


def test_cut_keys_of_long_paths_stay_different_and_match_the_pattern_of_their_tree() -> None:
    keys = {routing_key("hg", "push", variable=["integration", "x" * 300, name]) for name in ("one", "two")}

    assert len(keys) == 2
    assert all(matches("hg.push.integration.#", key) for key in keys)


def test_thousands_of_wildcards_are_compared_as_a_few() -> None:
    key = routing_key("hg", "push", variable=["try"])

    assert simplified(".".join(["#"] * 6_000)) == ["#"]
    assert simplified(".".join(["hg", *["#", "*"] * 3, "try", *["#"] * 2])) == ["hg", *["*"] * 3, "#", "try", "#"]
    assert matches(".".join(["#"] * 100_000), key)
    assert not matches(".".join(["#", "*"] * 100_000), key)


def test_a_pattern_that_is_longer_than_any_key_or_open_at_many_places_is_refused() -> None:
    assert check_pattern("a" * 255) == "a" * 255
    with pytest.raises(ConfigError, match=r"a topic has 256 bytes; .* at most 255"):
        check_pattern("a" * 256)
    with pytest.raises(ConfigError, match="has 11,999 bytes"):
        check_pattern(".".join(["#"] * 6_000))
    assert check_pattern("#.a.#.b.#.c.#", hashes_max=4) == "#.a.#.b.#.c.#"
    with pytest.raises(ConfigError, match="more than 4 words '#'"):
        check_pattern("#.a.#.b.#.c.#.d.#", hashes_max=4)


def reference(pattern: str) -> re.Pattern[str]:
    """Build a regular expression over a key of which every word is preceded by a dot."""
    parts = {"*": r"\.[^.]+", "#": r"(?:\.[^.]+)*"}
    return re.compile("".join(parts.get(word, rf"\.{re.escape(word)}") for word in pattern.split(".")))


@given(st.lists(WORDS, min_size=1, max_size=6), KEY_WORDS)
def test_matching_agrees_with_a_regular_expression(pattern_words: list[str], key_words: list[str]) -> None:
    pattern, key = ".".join(pattern_words), ".".join(key_words)

    assert matches(pattern, key) == bool(reference(pattern).fullmatch(f".{key}"))


def test_matching_agrees_with_a_regular_expression_on_every_short_pattern_and_key() -> None:
    keys = [".".join(words) for size in (1, 2, 3, 4) for words in itertools.product("ab", repeat=size)]
    for size in (1, 2, 3, 4):
        for words in itertools.product(["a", "b", "*", "#"], repeat=size):
            pattern = ".".join(words)
            expected = reference(pattern)
            for key in keys:
                assert matches(pattern, key) == bool(expected.fullmatch(f".{key}")), (pattern, key)


def test_a_pattern_of_many_wildcards_does_not_hang() -> None:
    # A backtracking matcher would need longer than the universe has.
    assert not matches(".".join(["#", "*"] * 60 + ["z"]), ".".join("a" * 120))


@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
@example(["#", "*"], ["a"])
@example(["a", "#", "*"], ["a"])
@example(["a", "#", "*"], ["a", "b"])
def test_a_pattern_covers_a_family_exactly_if_it_takes_every_key_of_it(
    pattern_words: list[str], family: list[str]
) -> None:
    pattern = ".".join(pattern_words)
    # 'z' stands for all words that the pattern does not name; a key of more words than the pattern has says
    # whether its end is open.
    longest = len(pattern_words) + 2
    tails = [[], *([*head, *["z"] * fill] for head in ([], ["a"], ["z", "b"]) for fill in range(longest + 1))]
    takes_all = all(matches(pattern, ".".join([*family, *tail])) for tail in tails)

    assert covers(pattern, family) == takes_all


@pytest.mark.parametrize("pattern", ["#", "*", "hg.push.#", "a.*.b_20c.#", "x-86", "_"])
def test_a_good_pattern_is_given_back(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", ["", ".", "a..b", "a.", "hg.push.>", "a*", "##", "a b", "ä", "a.#b", "a\n"])
def test_a_bad_pattern_is_a_configuration_error_that_names_the_word(pattern: str) -> None:
    with pytest.raises(ConfigError, match="has the word"):
        check_pattern(pattern)
