# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a board's URL may ask for, and documents in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_web.pages.trees import texts, view
from sourcepulse_web.pages.trees.drawn import Drawn
from sourcepulse_web.server.page import environment
from support.web import board_examples as examples
from support.web.board_pages import HOSTILE

SECONDS = 1_795_347_060.0


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({b"show": [b"all"]}, "show= must be one of everything, problems, new"),
        ({b"theme": [b"blue"]}, "theme= must be light or dark"),
        ({b"before": [b"-1"]}, "before= must be a whole number"),
        ({b"before": [b"9" * 400]}, "before= must be a whole number"),
        ({b"limit": [b"201"]}, "limit= must be a whole number from 1 to 200"),
        ({b"limit": ["٣".encode()]}, "limit= must be a whole number from 1 to 200"),
    ],
)
def test_a_query_that_means_nothing_is_refused_with_a_sentence(query: dict[bytes, list[bytes]], sentence: str) -> None:
    with pytest.raises(view.BadQueryError, match=sentence):
        view.wanted(query)


def test_links_keep_the_rest_of_the_query() -> None:
    wanted = view.wanted({b"q": [b"bug 1"], b"show": [b"new"], b"theme": [b"dark"]})
    assert wanted.query(before=500) == "?show=new&q=bug%201&before=500&theme=dark"
    assert wanted.query(q="", show="", theme="") == "?"
    assert wanted.limit == view.PAGE_PUSHES_MAX


@given(st.text(), st.text())
def test_nothing_that_cannot_be_seen_is_shown(before: str, after: str) -> None:
    for character in "\x00\x1b\x7f\u200b\u202e\u2066\ufeff\ud800":
        shown = texts.shown(before + character + after)
        assert character not in shown
        assert f"U+{ord(character):04X}" in shown
        shown.encode()


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "data:text/html,x", " https://x", "//x", "/x", "java\nscript:x", "https://x/\n", "", None],
)
def test_only_addresses_of_the_web_become_links(url: str | None) -> None:
    assert texts.link(url) is None
    assert texts.link("HTTPS://ci.example.org/#/builders/3") == "HTTPS://ci.example.org/#/builders/3"


@given(st.text(alphabet="Bbug 0123456789-()xyzé\t"))
def test_a_description_in_parts_is_the_same_text(text: str) -> None:
    bugs = [examples.bug(number) for number in (1, 12, 1234)]
    parts = list(texts.linked(text, bugs, ["xyz", ""]))
    assert "".join(part.text for part in parts) == texts.shown(text)
    assert all(part.text for part in parts)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (455, "7 min 35 s"),
        (3660, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_durations_have_at_most_two_units(seconds: int, text: str) -> None:
    assert texts.lasting(seconds) == text


def test_a_board_may_have_any_name() -> None:
    assert texts.board_address("a b/ü?x#y.json") == "/trees/a%20b/%C3%BC%3Fx%23y.json"


def test_closed_trees_are_first_then_new_failures_then_names() -> None:
    names = [tree["name"] for tree in view.sorted_trees(examples.trees())]
    assert names == ["inbound", "late", "release", "docs", "main", "toolkit"]


def test_the_filter_finds_what_is_drawn_and_what_is_not() -> None:
    pushes = examples.pushes()
    for query, users in {
        "SRC/parse.c": ["dave", "carol", "alice", "bob", "maximilian-alexander.vonderweidenberg", "erin"],
        "  bug   1279 ": ["bob", "maximilian-alexander.vonderweidenberg"],
        "linux64-debug-memory: broke": ["alice"],
        "1f0c5a2be9d0": ["alice"],
        "nothing of it": [],
    }.items():
        assert [push["user"] for push in view.matching(pushes, query)] == users


def test_a_wall_says_since_which_push_a_test_fails() -> None:
    values = view.wall_values(examples.board(), examples.trees(), view.Wanted(wall=True), SECONDS)
    assert values["since"][0] == "alice 1f0c5a2be9d0, 31 min"
    assert [tree["name"] for tree in values["others"]] == ["late", "release", "docs", "main", "toolkit"]


def test_a_push_is_drawn_again_when_anything_of_it_is_corrected() -> None:
    drawn, push = Drawn(environment()), examples.pushes()[2]
    first = drawn.push(push)
    assert drawn.push({**push}) is first
    hidden = [{**desc, "bugs": [{**bug, "summary": None} for bug in desc["bugs"]]} for desc in push["descs"]]
    assert "Crash on empty input" in first
    assert "Crash on empty input" not in drawn.push({**push, "descs": hidden})  # type: ignore[typeddict-item]
    assert all(str(text) not in drawn.push({**push, "user": text}) for text in HOSTILE[:2])
