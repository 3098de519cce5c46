# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A form token is good for one user, one purpose, one day and one use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_web.pages.hooks.form_token import USER_USED_MAX, VALID_SECONDS, FormTokens

NOW = 1_795_000_000.0


class Clock:
    """A clock that stands where it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def test_a_token_is_good_once() -> None:
    tokens = FormTokens(Clock())
    token = tokens.make("alice", "rotate chat-room")
    assert tokens.use(token, "alice", "rotate chat-room")
    assert not tokens.use(token, "alice", "rotate chat-room")


def test_a_token_is_not_good_for_another_user_purpose_process_or_day() -> None:
    clock = Clock()
    tokens = FormTokens(clock)
    token = tokens.make("alice", "rotate chat-room")
    for user, purpose in (("bob", "rotate chat-room"), ("alice", "remove chat-room"), ("alice", "rotate chat-rooms")):
        assert not tokens.use(token, user, purpose)
    assert not FormTokens(clock).use(token, "alice", "rotate chat-room")
    clock.now += VALID_SECONDS + 1
    assert not tokens.use(token, "alice", "rotate chat-room")


def test_the_end_of_a_token_cannot_be_moved() -> None:
    tokens = FormTokens(Clock())
    expires, nonce, mac = tokens.make("alice", "add").split(".")
    later = f"{int(expires, 16) + 9:x}.{nonce}.{mac}"
    assert not tokens.use(later, "alice", "add")


@given(st.text(max_size=80) | st.from_regex(r"[0-9a-f]{8}\.[A-Za-z0-9_-]{12}\.[0-9a-f]{64}", fullmatch=True))
def test_no_other_text_is_a_token(text: str) -> None:
    assert not FormTokens(Clock()).use(text, "alice", "add")


def test_a_user_who_sends_very_many_forms_takes_nothing_from_himself_or_another() -> None:
    tokens = FormTokens(Clock())
    of_bob = tokens.make("bob", "test")
    assert tokens.use(of_bob, "bob", "test")
    for _ in range(100_001):
        token = tokens.make("alice", "test")
        assert tokens.use(token, "alice", "test")
    assert not tokens.use(token, "alice", "test")
    assert tokens.use(tokens.make("bob", "test"), "bob", "test")
    assert not tokens.use(of_bob, "bob", "test")


def test_the_newest_that_a_user_used_are_not_good_again() -> None:
    tokens = FormTokens(Clock())
    used = [tokens.make("alice", "test") for _ in range(USER_USED_MAX)]
    assert all(tokens.use(token, "alice", "test") for token in used)
    assert not any(tokens.use(token, "alice", "test") for token in used)


def test_users_are_forgotten_a_day_after_they_used_one() -> None:
    clock = Clock()
    tokens = FormTokens(clock)
    for day in range(3):
        for number in range(200):
            user = f"user-{day}-{number}"
            assert tokens.use(tokens.make(user, "test"), user, "test")
        clock.now += VALID_SECONDS + 1
    assert tokens.use(tokens.make("alice", "test"), "alice", "test")
    assert len(vars(tokens)["_used"]) == 1
