# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What one answer changes, case by case, and whatever the answers are."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse_web.webhooks.errors import Problem
from sourcepulse_web.webhooks.hook import Standing, State
from sourcepulse_web.webhooks.post.post import Answer
from sourcepulse_web.webhooks.send.judge import (
    HOOK,
    REFUSED_ROW,
    ROW,
    SET_ASIDE_MAX,
    Change,
    News,
    Situation,
    judge,
    last_set_aside,
)
from sourcepulse_web.webhooks.send.outcome import Outcome, outcome_of
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.store.records import Trouble

NOW = 1_795_345_200.0
POSITION = 17
POST_SECONDS = 0.05
REFUSED_BEFORE = {POSITION: Trouble(4, NOW - 600, NOW, 422, "refused")}
IN_A_ROW = Trouble(140, NOW - 72 * 3600, NOW, 503, "row")


def situation(
    *, standing: Standing | None = None, troubles: Mapping[int, Trouble] | None = None, set_aside: int = 0
) -> Situation:
    return Situation(
        position=POSITION, standing=standing or Standing(), troubles=troubles or {}, set_aside=set_aside,
        schedule=Schedule(), now=NOW, jitter=0.0,
    )  # fmt: skip


def answer(status: int | None, **more: object) -> Answer:
    return replace(Answer(status=status, reason=f"the receiver answered {status}"), **more)  # type: ignore[arg-type]


def news(change: Change) -> list[tuple[News, str]]:
    return [(each.news, each.reason) for each in change.reports]


def test_a_fifth_refusal_after_ten_minutes_sets_the_event_aside_and_the_hook_stays_on() -> None:
    change = judge(answer(422), situation(troubles=REFUSED_BEFORE))
    assert change.set_aside == "refused 5 times, at last: the receiver answered 422"
    assert (change.standing.state, change.settles, change.next_at) == (State.ON, False, None)
    assert change.troubles[POSITION] is None
    assert change.troubles[last_set_aside(422)] == Trouble(1, NOW, NOW, 422, "set-aside")
    assert news(change) == [(News.REFUSED, "refused")]


def test_the_next_one_takes_a_minute_if_the_receiver_has_accepted_another_since_and_refuses_alike() -> None:
    troubles = {
        POSITION: Trouble(4, NOW - 61, NOW, 422, "refused"),
        last_set_aside(422): Trouble(1, NOW - 300, NOW - 300, 422, "set-aside"),
    }
    works, silent = Standing(last_success_at=NOW - 200), Standing(last_success_at=NOW - 400)
    assert judge(answer(422), situation(standing=works, troubles=troubles)).set_aside
    for status, standing in ((422, silent), (403, works)):
        change = judge(answer(status), situation(standing=standing, troubles=troubles))
        assert (change.set_aside, change.outcome) == ("", Outcome.REFUSED)
        assert change.next_at == NOW - 61 + 600


def test_an_hour_after_the_last_one_that_was_set_aside_a_refused_event_takes_ten_minutes_again() -> None:
    for ago_s in (3_500, 3_700, -60):
        was = Trouble(8, NOW - ago_s, NOW - ago_s, 422, "set-aside")
        troubles = {POSITION: Trouble(4, NOW - 100, NOW, 422, "refused"), last_set_aside(422): was}
        change = judge(answer(422), situation(standing=Standing(last_success_at=NOW - 60), troubles=troubles))
        assert bool(change.set_aside) is (ago_s == 3_500), "also after a clock that was ahead"


class Played:
    """A hook whose answers follow a clock that is passed in; a POST takes a moment, and one is made at a time.

    `refuses` is the status for an event, or None for one that is accepted.
    """

    def __init__(self, refuses: Callable[[int], int | None]) -> None:
        self.standing, self.troubles, self.now = Standing(), dict[int, Trouble](), NOW
        self.refuses = refuses
        #: What was set aside, with how long its source waited.
        self.set_aside: list[tuple[int, float]] = []

    def send(self, queues: list[list[tuple[float, int]]]) -> None:
        """POST all events of sources, each a list of times and positions, in the order of each source."""
        due = [(events[0][0], source) for source, events in enumerate(queues) if events]
        places = [0] * len(queues)
        began: dict[int, float] = {}
        heapq.heapify(due)
        while due:
            at, source = heapq.heappop(due)
            self.now = max(self.now, at) + POST_SECONDS
            position = queues[source][places[source]][1]
            began.setdefault(position, self.now)
            again_at = self._post(position, self.now - began[position])
            if again_at is None:
                places[source] += 1
                if places[source] == len(queues[source]):
                    continue
                again_at = queues[source][places[source]][0]
            heapq.heappush(due, (max(again_at, self.now), source))

    def _post(self, position: int, waited_s: float) -> float | None:
        was = situation(standing=self.standing, troubles=self.troubles)
        change = judge(answer(self.refuses(position) or 204), replace(was, position=position, now=self.now))
        self.standing = change.standing
        self.troubles = {at: it for at, it in (self.troubles | change.troubles).items() if it is not None}
        if change.set_aside:
            self.set_aside.append((position, waited_s))
        return change.next_at


@pytest.mark.parametrize(("sources", "gap_s"), [(1, 2), (5, 1), (40, 0.2)])
def test_a_receiver_that_refuses_one_event_in_ten_keeps_up_with_its_sources(sources: int, gap_s: float) -> None:
    chance, count = random.Random(sources), 10_000
    refused = {number: chance.choice([400, 404, 422]) for number in range(1, count + 1) if chance.random() < 0.1}
    queues: list[list[tuple[float, int]]] = [[] for _ in range(sources)]
    for number in range(1, count + 1):
        chance.choice(queues).append((NOW + gap_s * number, number))
    hook = Played(refused.get)
    hook.send(queues)
    assert sorted(position for position, _ in hook.set_aside) == sorted(refused)
    assert hook.standing.delivered == count - len(refused)
    assert hook.now - (NOW + gap_s * count) < 600
    # It began with ten minutes for each source and status.
    assert max(waited_s for _, waited_s in hook.set_aside[len(refused) // 2 :]) < 60


def test_of_a_receiver_that_begins_to_refuse_everything_a_few_events_are_set_aside_quickly_and_then_none() -> None:
    hook = Played(lambda number: 422 if number > 200 or number % 10 == 5 else None)
    hook.send([[(NOW + 10 * number, number) for number in range(1, 210)]])
    took = [round(waited_s) for position, waited_s in hook.set_aside if position > 200]
    assert took == [5, 5, 5, 8, 15, 30, 60, 600, 600]


def test_the_thousandth_event_that_is_set_aside_parks_the_hook_and_one_more_stays_in_the_queue() -> None:
    change = judge(answer(422), situation(troubles=REFUSED_BEFORE, set_aside=SET_ASIDE_MAX - 1))
    assert change.set_aside
    assert change.standing.state is State.PARKED
    assert "1,000 events are set aside" in change.standing.reason
    assert news(change) == [(News.REFUSED, "refused"), (News.PARKED, "refused")]
    change = judge(answer(422), situation(troubles=REFUSED_BEFORE, set_aside=SET_ASIDE_MAX))
    assert (change.set_aside, change.settles) == ("", False)
    assert change.standing.state is State.PARKED


def test_a_hook_is_parked_after_72_hours_without_success_with_the_last_reason() -> None:
    failing = Standing(failing_since=NOW - 72 * 3600)
    troubles = {HOOK: Trouble(140, NOW - 72 * 3600, NOW, 503, "retry"), ROW: IN_A_ROW}
    change = judge(answer(None, problem=Problem.NAME, reason="a.example.org has no address"), situation(
        standing=failing, troubles=troubles
    ))  # fmt: skip
    assert change.standing.state is State.PARKED
    assert "nothing was accepted for 72 hours, at last: a.example.org has no address" in change.standing.reason
    assert news(change) == [(News.PARKED, "network")]


def test_what_the_owner_did_meanwhile_is_not_overridden() -> None:
    paused = Standing(state=State.PAUSED, reason="its owner paused it", failing_since=NOW - 72 * 3600)
    troubles = {HOOK: Trouble(140, NOW - 72 * 3600, NOW, 503, "retry"), ROW: IN_A_ROW} | REFUSED_BEFORE
    for status in (None, 204, 410, 422, 503):
        change = judge(answer(status), situation(standing=paused, troubles=troubles, set_aside=SET_ASIDE_MAX - 1))
        assert (change.standing.state, change.standing.reason) == (State.PAUSED, "its owner paused it"), status
        assert status != 410 or not change.reports, "nothing was switched off"


def test_time_in_which_nothing_was_tried_parks_no_hook() -> None:
    """One event was set aside, the next one failed after three quiet days: that is the first failure of a row."""
    aside = judge(answer(422), situation(troubles=REFUSED_BEFORE))
    assert aside.standing.failing_since is None, "nothing is tried again"
    kept = {place: trouble for place, trouble in aside.troubles.items() if trouble is not None}
    for status in (503, 422):
        change, troubles, later = aside, kept, NOW + 73 * 3600
        for number in range(6):
            was = replace(situation(standing=change.standing, troubles=troubles), now=later, was_refused=number > 0)
            change = judge(answer(status), was)
            assert change.standing.state is State.ON
            assert change.standing.failing_since == NOW + 73 * 3600 or change.set_aside
            troubles = {at: each for at, each in (troubles | change.troubles).items() if each is not None}
            later = change.next_at or later


def test_the_next_attempt_of_a_hook_is_that_of_the_event_that_is_tried_first() -> None:
    earlier = Trouble(2, NOW - 5, NOW + 200, 422, "refused")
    later = earlier._replace(next_at=NOW + 900)
    refused = judge(answer(422), situation(troubles={3: earlier, POSITION: Trouble(2, NOW - 5, NOW, 422, "refused")}))
    assert refused.next_at is not None
    assert refused.next_at > NOW + 200
    assert refused.standing.next_at == NOW + 200
    assert judge(answer(422), situation(troubles={3: later})).standing.next_at == NOW + 5
    set_aside = judge(answer(422), situation(troubles={3: earlier, 4: later, **REFUSED_BEFORE}))
    assert set_aside.set_aside
    assert set_aside.standing.next_at == NOW + 200
    # Its last try was long, and the row of tries goes on until then; the whole hook is tried again before.
    row = Trouble(2, NOW - 60, NOW + 500, 422, "row")
    assert judge(answer(503), situation(troubles={ROW: row})).standing.next_at == NOW + 5


def refusals(*positions: int, every_s: float = 60.0) -> list[tuple[list[tuple[News, str]], Change]]:
    """Return what the bus hears of refusals of events at these positions, one after the other, and each change."""
    standing, troubles, seen = Standing(last_success_at=NOW - 9_000), dict[int, Trouble](), set[int]()
    found = []
    for number, position in enumerate(positions):
        was = replace(situation(standing=standing, troubles=troubles), position=position, now=NOW + number * every_s)
        change = judge(answer(401), replace(was, was_refused=position in seen))
        seen.add(position)
        standing = change.standing
        troubles = {at: each for at, each in (troubles | change.troubles).items() if each is not None}
        found.append((news(change), replace(change, troubles=dict(troubles))))
    return found


def test_a_receiver_that_refuses_three_different_events_in_a_row_is_failing_until_one_success() -> None:
    (first, _), (second, _), (third, change), (fourth, last) = refusals(17, 18, 19, 17)
    assert (first, second, third, fourth) == ([], [], [(News.FAILING, "refused")], [(News.FAILING, "refused")])
    assert [(each.status, each.since) for each in (*change.reports, *last.reports)] == [(401, NOW)] * 2
    for status in (401, 503, 204):
        was = situation(standing=last.standing, troubles={at: each for at, each in last.troubles.items() if each})
        went = judge(answer(status), replace(was, now=NOW + 9 * 86_400))
        assert went.standing.failing_since == (None if status == 204 else NOW), "since the first of them"
    assert news(went) == [(News.RESUMED, "delivered")]
    assert [each.since for each in went.reports] == [NOW]
    assert went.troubles[REFUSED_ROW] is None


def test_a_hook_with_one_event_a_day_is_failing_at_the_third_that_is_refused_also_once_all_are_set_aside() -> None:
    days = [position for position in (17, 18, 19) for _ in range(5)]
    found = refusals(*days, every_s=86_400.0 / 5)
    assert [change.set_aside != "" for _, change in found] == [False, False, False, False, True] * 3
    assert [change.standing.failing_since is None for _, change in found[4::5]] == [True, True, False]
    assert [(News.FAILING, "refused") in each for each, _ in found] == [False] * 10 + [True] * 5
    assert found[-1][0] == [(News.REFUSED, "refused"), (News.FAILING, "refused")]


def test_one_event_that_is_refused_however_often_it_is_asked_for_makes_no_hook_fail() -> None:
    for positions in ([17] * 40, [17, 18] * 20):
        assert not any((News.FAILING, "refused") in each for each, _ in refusals(*positions, every_s=150.0))


def test_a_hook_whose_events_are_all_refused_for_72_hours_is_parked() -> None:
    standing, troubles, now = Standing(), dict[int, Trouble](), NOW
    while standing.state is State.ON and now < NOW + 80 * 3600:
        change = judge(answer(401), replace(situation(standing=standing, troubles=troubles), now=now))
        standing = change.standing
        troubles = {at: each for at, each in (troubles | change.troubles).items() if each is not None}
        now = change.next_at or now + 1800
    assert standing.state is State.PARKED
    assert 72 * 3600 <= standing.since - NOW < 73 * 3600


@pytest.mark.parametrize("status", [503, 401])
def test_a_clock_that_was_a_year_ahead_at_the_first_failure_keeps_no_hook_from_being_parked(status: int) -> None:
    year_s = 365 * 86_400.0
    first = judge(answer(status), replace(situation(), now=NOW + year_s))
    troubles = {at: each for at, each in first.troubles.items() if each is not None}
    standing, now, tries = first.standing, NOW, 0
    while standing.state is State.ON and now < NOW + 80 * 3600:
        change = judge(answer(status), replace(situation(standing=standing, troubles=troubles), now=now))
        standing, tries = change.standing, tries + 1
        assert standing.failing_since is None or standing.failing_since <= now
        assert standing.next_at is None or standing.next_at <= now + 2_160, "it is shown"
        troubles = {at: each for at, each in (troubles | change.troubles).items() if each is not None}
        now = change.next_at or now + 1800
    assert standing.state is State.PARKED
    assert 72 * 3600 <= standing.since - NOW < 73 * 3600


def test_a_clock_that_was_ahead_in_the_middle_of_a_row_does_not_make_it_last_when_nothing_is_tried() -> None:
    row = Trouble(140, NOW - 3_600, NOW + 365 * 86_400, 503, "row")
    change = judge(answer(503), situation(troubles={ROW: row}))
    kept = change.troubles[ROW]
    assert kept is not None
    assert (kept.first_at, kept.tries) == (NOW - 3_600, 141)
    assert kept.next_at <= NOW + 2_160
    later = judge(answer(503), replace(situation(troubles={ROW: kept}), now=NOW + 80 * 3600))
    assert later.standing.failing_since == NOW + 80 * 3600


def test_after_a_pause_the_first_failure_is_tried_again_soon() -> None:
    troubles = {
        HOOK: Trouble(140, NOW - 144 * 3600, NOW - 80 * 3600, 503, "retry"),
        ROW: IN_A_ROW._replace(next_at=NOW - 80 * 3600),
    }
    change = judge(answer(503), situation(troubles=troubles))
    assert (change.standing.state, change.hook_pause_s) == (State.ON, 5.0)


def test_a_refused_address_is_reported_as_such() -> None:
    troubles = {HOOK: Trouble(2, NOW - 300, NOW, None, "retry")}
    change = judge(answer(None, problem=Problem.ADDRESS), situation(troubles=troubles))
    assert news(change) == [(News.FAILING, "address")]


@given(
    status=st.none() | st.integers(100, 999),
    state=st.sampled_from(State),
    failing_for=st.none() | st.floats(0, 1e6),
    success_ago=st.none() | st.floats(0, 1e6),
    tries=st.tuples(st.integers(0, 200), st.integers(0, 200)),
    first_ago=st.floats(-1e5, 1e6),
    set_aside=st.integers(0, SET_ASIDE_MAX),
    retry_after=st.none() | st.floats(0, 1e9),
    jitter=st.floats(0, 1),
)
@settings(max_examples=500, deadline=None)
def test_an_event_leaves_only_when_it_was_accepted_or_set_aside_and_else_it_waits_or_the_hook_stops(
    status: int | None,
    state: State,
    failing_for: float | None,
    success_ago: float | None,
    tries: tuple[int, int],
    first_ago: float,
    set_aside: int,
    retry_after: float | None,
    jitter: float,
) -> None:
    troubles = {
        place: Trouble(count, NOW - first_ago, NOW, 422, "refused")
        for place, count in zip((HOOK, POSITION), tries, strict=True)
        if count
    }
    standing = Standing(
        state=state,
        failing_since=None if failing_for is None else NOW - failing_for,
        last_success_at=None if success_ago is None else NOW - success_ago,
    )
    was = replace(situation(standing=standing, troubles=troubles, set_aside=set_aside), jitter=jitter)
    change = judge(answer(status, retry_after_s=retry_after), was)
    assert change.outcome is outcome_of(status)
    assert change.settles is (change.outcome is Outcome.DELIVERED)
    assert not (change.settles and change.set_aside)
    assert not change.set_aside or (change.outcome is Outcome.REFUSED and set_aside < SET_ASIDE_MAX)
    waits = change.hook_pause_s is not None or change.source_pause_s is not None
    stops = change.standing.state is not State.ON
    assert change.settles or change.set_aside or waits or stops
    assert change.hook_pause_s is None or change.outcome is Outcome.RETRY
    assert change.source_pause_s is None or change.outcome is Outcome.REFUSED
    assert (change.next_at is not None) == waits
    assert change.set_aside or (change.standing.failing_since is None) == change.settles
    assert state is State.ON or change.standing.state is state
