# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The queue from the bus to the writer: no fact overtakes another, whatever must be asked for first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import defer, task

from sourcepulse_buildbot.live.intake import ANSWER_LIMIT_SECONDS, Intake


class _Writer:
    """Collects facts, which are numbers here."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.taken: list[Any] = []
        self.room = room

    def put(self, fact: Any) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(fact)
        return True


def _intake(writer: _Writer, clock: task.Clock) -> tuple[Any, list[str]]:
    missed: list[str] = []
    return Intake(writer, clock, missed=missed.append), missed  # type: ignore[arg-type]


async def _answer(deferred: defer.Deferred[Sequence[int]]) -> Sequence[int]:
    return await deferred


@given(st.lists(st.sampled_from(["now", "later", "known"]), max_size=12), st.randoms(use_true_random=False))
def test_facts_are_written_in_the_order_in_which_they_were_heard(kinds: list[str], chance: Any) -> None:
    writer, clock = _Writer(), task.Clock()
    intake, missed = _intake(writer, clock)
    asked: list[tuple[int, defer.Deferred[Sequence[int]]]] = []
    for number, kind in enumerate(kinds):
        if kind == "now":
            intake.add(number)
            continue
        deferred: defer.Deferred[Sequence[int]] = defer.Deferred()
        if kind == "known":
            deferred.callback((number,))
        else:
            asked.append((number, deferred))
        intake.add_later(_answer(deferred))
    chance.shuffle(asked)
    for number, deferred in asked:
        deferred.callback((number,))
    assert writer.taken == list(range(len(kinds)))
    assert missed == []


def test_an_answer_that_does_not_come_is_given_up_and_said() -> None:
    writer, clock = _Writer(), task.Clock()
    intake, missed = _intake(writer, clock)
    intake.add_later(_answer(defer.Deferred()))
    intake.add(1)
    assert writer.taken == []
    clock.advance(ANSWER_LIMIT_SECONDS + 1)
    assert writer.taken == [1]
    assert missed == ["the database did not return what an event needs"]


def test_an_answer_that_fails_delays_no_other_fact() -> None:
    writer, clock = _Writer(), task.Clock()
    intake, missed = _intake(writer, clock)
    failing: defer.Deferred[Sequence[int]] = defer.Deferred()
    intake.add_later(_answer(failing))
    intake.add(1)
    failing.errback(LookupError("gone"))
    intake.add_later(_answer(defer.fail(LookupError("gone"))))
    intake.add(2)
    assert writer.taken == [1, 2]
    assert len(missed) == 2


def test_what_the_writer_does_not_take_is_said() -> None:
    writer, clock = _Writer(room=1), task.Clock()
    intake, missed = _intake(writer, clock)
    intake.add(1)
    intake.add(2)
    assert missed == ["events arrived faster than the outbox could store them"]


def test_drained_fires_when_nothing_is_pending_or_the_time_is_over() -> None:
    writer, clock = _Writer(), task.Clock()
    intake, _ = _intake(writer, clock)
    assert intake.drained().called
    deferred: defer.Deferred[Sequence[int]] = defer.Deferred()
    intake.add_later(_answer(deferred))
    first, second = intake.drained(1.0), intake.drained(50.0)
    clock.advance(2)
    assert (first.called, second.called) == (True, False)
    deferred.callback((1,))
    assert second.called
