# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever the order and the batches in which events arrive, the board is the same, and the same as made again."""

from __future__ import annotations

import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse_web.board.fact import Fact, UnreadableError
from sourcepulse_web.board.reduce import REDUCERS, reduce
from support.web.board_histories import REPOS, batches, history, interleaved
from support.web.board_log import BoardLog

#: What depends on the order of arrival: positions, and what is counted from them.
POSITIONS = ("id", "changed", "push", "position", "older", "since")
STORIES = 3
#: A few in each run, many in a soak.
FEW = settings(max_examples=6, deadline=None, derandomize=True)
MANY = settings(max_examples=150, deadline=None)

seeds = st.integers(0, 2**32)


def documents(log: BoardLog) -> dict[str, Any]:
    pages = {repo: log.board.page(repo, limit=200) for repo in REPOS}
    nodes = sorted({push["node"] for page in pages.values() if page for push in page["pushes"] if push["node"]})
    return {"pages": pages, "trees": log.board.trees(), "stories": [log.board.story(node) for node in nodes[:STORIES]]}


def without_positions(document: Any) -> Any:
    if isinstance(document, dict):
        return {
            name: without_positions(value)
            for name, value in document.items()
            if name not in POSITIONS or not isinstance(value, int | str)
        }
    return [without_positions(each) for each in document] if isinstance(document, list) else document


@given(seeds, seeds)
@FEW
def test_a_board_that_followed_is_the_same_as_one_made_again(what: int, order: int) -> None:
    check_made_again(what, order)


@given(seeds, seeds, seeds)
@FEW
def test_the_order_among_sources_changes_nothing_but_positions(what: int, one: int, other: int) -> None:
    check_order(what, one, other)


@given(seeds, seeds)
@FEW
def test_updates_bring_a_page_to_what_a_new_one_shows(what: int, order: int) -> None:
    check_updates(what, order)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@given(seeds, seeds, seeds)
@MANY
def test_many_histories_in_many_orders(what: int, one: int, other: int) -> None:
    check_made_again(what, one)
    check_order(what, one, other)
    check_updates(what, other)


def check_made_again(what: int, order: int) -> None:
    events = interleaved(history(what), order)
    with tempfile.TemporaryDirectory() as folder, closing(BoardLog(Path(folder))) as log:
        for batch in batches(events, order):
            log.add(*batch)
        followed = documents(log)
        log.board.rebuild()
        assert documents(log) == followed
        with closing(log.open()) as other:
            assert other.trees() == followed["trees"]


def check_order(what: int, one: int, other: int) -> None:
    found = []
    for order in (one, other):
        with tempfile.TemporaryDirectory() as folder, closing(BoardLog(Path(folder))) as log:
            log.add(*interleaved(history(what), order))
            found.append(without_positions(documents(log)))
    assert found[0] == found[1]


def check_updates(what: int, order: int) -> None:
    events = interleaved(history(what), order)
    with tempfile.TemporaryDirectory() as folder, closing(BoardLog(Path(folder))) as log:
        shown: dict[int, Any] = {}
        position, tree = 0, None
        for batch in batches(events, order):
            log.add(*batch)
            update = log.board.changed(REPOS[0], position, 10**9)
            if update is not None:
                shown |= {push["id"]: push for push in update["pushes"]}
                position, tree = update["position"], update["tree"]
        page = log.board.page(REPOS[0], limit=200)
        if page is not None:
            assert tree == page["tree"]
            places = {each["place"] for line in page["places"] for each in line["places"]}
            assert {id_: _asked(push, places) for id_, push in shown.items()} == {
                push["id"]: _asked(push, places) for push in page["pushes"]
            }


def _asked(push: Any, places: set[str]) -> Any:
    """Return a push without the places of builders that came later, which a page adds by itself."""
    words = {word["place"]: word for line in push["lines"] for word in line["words"] if word["state"] != "none"}
    assert set(words) <= places
    return {**push, "lines": words, "of": None, "summary": None}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


class _Nothing:
    """A view of a board without rows."""

    def get(self, *_: object) -> None:
        return None

    def find(self, *_: object) -> list[Any]:
        return []

    def between(self, *_: object, **__: object) -> list[Any]:
        return []


@given(st.sampled_from(sorted(REDUCERS)), st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_data_of_any_shape_is_reduced_or_called_unreadable(type_: str, drawn: st.DataObject) -> None:
    names = (
        *("repo", "changesets", "first", "last", "count", "bug", "id", "comment", "buildid", "buildername", "nodes"),
        *("sourcestamps", "normalized", "properties", "state", "started_at", "buildrequestid", "outcome", "heads"),
    )
    data = drawn.draw(st.dictionaries(st.sampled_from(names), json_values, max_size=8))
    with suppress(UnreadableError):
        reduce(_Nothing(), Fact(1, type_, "hg://h/r", "id", "2026-11-22T11:09:40.000000Z", "e", 1, data))
