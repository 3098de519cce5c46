# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who passes a tree, and what is kept of its state: pure functions, tried on everything."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_hg.tree.service import parse_answer
from sourcepulse_hg.tree.state import (
    APPROVAL,
    CLOSED,
    OPEN,
    STATES,
    TreeSettings,
    TreeState,
    TreeStateError,
    decode_state,
    encode_state,
    passes,
)

NOW = 1_795_345_170.0
_NAMES = st.sampled_from(["alice", "bob", "*", ""])
_STATES = st.builds(
    TreeState,
    state=st.sampled_from(STATES),
    reason=st.none() | st.text(),
    until=st.none() | st.floats(0, 4e9),
    user=st.none() | st.text(),
    since=st.floats(0, 4e9),
)


def _settings(users: tuple[str, ...] = (), closed: str = "", approval: str = "") -> TreeSettings:
    closed_words, approval_words = (tuple(re.compile(word) for word in [text] if word) for text in (closed, approval))
    return TreeSettings((), users, closed_words, approval_words, None, False, ())


@given(_STATES)
def test_a_state_is_read_as_it_was_written(state: TreeState) -> None:
    assert decode_state(encode_state(state)) == state


@given(st.binary(max_size=200))
def test_anything_else_is_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(TreeStateError):
        decode_state(content)


@given(_STATES, st.floats(0, 4e9))
def test_a_tree_is_open_from_its_scheduled_reopening_on_and_not_before(state: TreeState, now: float) -> None:
    at = state.at(now)
    if state.state != OPEN and state.until is not None and now >= state.until:
        assert (at.state, at.until, at.since) == (OPEN, None, state.until)
    else:
        assert at == state
    assert at.at(now) == at


@given(_STATES, st.none() | _NAMES, st.none() | st.text(), st.lists(_NAMES, max_size=2).map(tuple))
def test_who_is_neither_listed_nor_approved_passes_an_open_tree_only(
    state: TreeState, user: str | None, description: str | None, users: tuple[str, ...]
) -> None:
    listed = "*" in users or user in users
    passed = passes(state, _settings(users), user=user, description=description)
    assert passed == (state.state == OPEN or listed)


@given(st.sampled_from([CLOSED, APPROVAL]), st.text(), st.text())
def test_words_count_for_their_own_state_only(state: str, before: str, after: str) -> None:
    tree = TreeState(state, None, None, None, NOW)
    settings = _settings(closed="XX-CLOSED-XX", approval="XX-APPROVED-XX")
    own, other = ("XX-CLOSED-XX", "XX-APPROVED-XX") if state == CLOSED else ("XX-APPROVED-XX", "XX-CLOSED-XX")
    assert passes(tree, settings, user=None, description=before + own + after)
    assert not passes(tree, settings, user=None, description=other)
    assert not passes(tree, settings, user=None, description=None)


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (b"open", OPEN, None),
        (b"closed", CLOSED, None),
        (b"closed: build bustage\nmore\n", CLOSED, "build bustage"),
        (b"approval required for beta", APPROVAL, "for beta"),
        (b'{"status": "closed", "reason": "", "tree": "try"}', CLOSED, None),
        (b'{"result": {"status": "approval required", "reason": "release"}}', APPROVAL, "release"),
        (b'{"state": "open"}', OPEN, None),
    ],
)
def test_what_services_say_is_understood(answer: bytes, state: str, reason: str | None) -> None:
    assert parse_answer(answer, NOW) == TreeState(state, reason, None, None, NOW)


@pytest.mark.parametrize(
    "answer", [b"", b"opened", b"closedish", b"{", b'{"status": "shut"}', b'{"status": null}', b'{"result": 1}', b"[]"]
)
def test_what_is_not_a_state_is_an_error(answer: bytes) -> None:
    with pytest.raises(TreeStateError, match="tree_command"):
        parse_answer(answer, NOW)
