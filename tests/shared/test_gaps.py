# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Order and gaps: whatever the broker's order, each event once, in order, and exactly the lost ones reported."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.consumer.order.ordering import Ordering
from sourcepulse.gaps import Gap, Lane, Reset, WentBack

HOLD_SECONDS = 2.0
HOLD_EVENTS = 8

LANE = Lane("hg://host/repo", "one", None)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Past:
    """A memory that the tests fill."""

    lanes: dict[Lane, int] = field(default_factory=dict)

    def last(self, lane: Lane) -> int | None:
        return self.lanes.get(lane)

    def epochs(self, source: str) -> frozenset[str]:
        return frozenset(lane.epoch for lane in self.lanes if lane.source == source)


def ordering(past: Past | None = None, clock: Clock | None = None) -> Ordering[int]:
    return Ordering(past or Past(), clock or Clock(), hold_seconds=HOLD_SECONDS, hold_events=HOLD_EVENTS)


def take_all(at: Ordering[int]) -> list[int | Gap | Reset | WentBack]:
    steps: list[int | Gap | Reset | WentBack] = []
    while (step := at.take()) is not None:
        steps.append(step)
    return steps


def gap(first: int, last: int, lane: Lane = LANE) -> Gap:
    return Gap(source=lane.source, epoch=lane.epoch, type=lane.type, first_missing=first, last_missing=last)


def test_the_first_event_is_the_baseline_and_misses_nothing() -> None:
    at = ordering()
    at.offer(7, LANE, 7)
    at.offer(8, LANE, 8)
    assert take_all(at) == [7, 8]


def test_an_event_that_comes_early_waits_for_the_one_before_it() -> None:
    at = ordering()
    for number in (1, 3, 4, 2):
        at.offer(number, LANE, number)
    assert take_all(at) == [1, 2, 3, 4]
    assert at.held == 0
    assert at.due_in() is None


def test_a_gap_is_reported_once_the_wait_is_over_and_not_before() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.offer(1, LANE, 1)
    at.offer(4, LANE, 4)
    clock.now += HOLD_SECONDS - 0.5
    at.offer(6, LANE, 6)
    assert at.due_in() == 0.5
    at.give_up()
    assert take_all(at) == [1]
    clock.now += 0.5
    at.give_up()
    assert take_all(at) == [gap(2, 3), 4]
    clock.now += HOLD_SECONDS
    at.give_up()
    assert take_all(at) == [gap(5, 5), 6]


def test_what_comes_after_it_was_reported_missing_is_still_delivered() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    at.offer(1, LANE, 1)
    at.offer(3, LANE, 3)
    clock.now += HOLD_SECONDS
    at.give_up()
    at.offer(2, LANE, 2)
    at.offer(4, LANE, 4)
    assert take_all(at) == [1, gap(2, 2), 3, 2, 4]
    assert at.late == 1


def test_too_many_waiting_events_end_the_wait_of_the_lane_that_has_most() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    other = Lane("hg://host/other", "one", None)
    for lane in (LANE, other):
        at.offer(1, lane, 1)
        at.offer(3, lane, 3)
        clock.now += 0.1
    for number in range(4, 4 + HOLD_EVENTS - 1):
        at.offer(number, other, number)
    assert take_all(at) == [1, 1, gap(2, 2, other), *range(3, 4 + HOLD_EVENTS - 1)]
    assert at.held == 1
    at.offer(2, LANE, 2)
    assert take_all(at) == [2, 3]


def test_the_holes_of_strangers_do_not_push_out_a_source_that_is_known() -> None:
    at = ordering()
    for number in (1, 2, 3, 5):
        at.offer(number, LANE, number)
    for stranger in range(60):
        lane = Lane(f"hg://stranger/{stranger}", "one", None)
        at.offer(1, lane, 1)
        at.offer(3, lane, 3)
    assert at.held == HOLD_EVENTS
    at.offer(4, LANE, 4)
    assert [step for step in take_all(at) if isinstance(step, Gap) and step.source == LANE.source] == []


FORGED = 10**15


def test_a_forged_number_is_reported_and_the_numbers_before_it_are_checked_as_before() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    for number in (41, 42, FORGED):
        at.offer(number, LANE, number)
    clock.now += HOLD_SECONDS
    at.give_up()
    assert take_all(at) == [41, 42, gap(43, FORGED - 1), FORGED]
    for number in (43, 44, 47):
        at.offer(number, LANE, number)
    clock.now += HOLD_SECONDS
    at.give_up()
    back = WentBack(source=LANE.source, epoch=LANE.epoch, type=None, number=43, claimed=FORGED)
    assert take_all(at) == [back, 43, 44, gap(45, 46), 47]
    assert at.late == 0


def test_a_forged_number_that_was_remembered_or_came_first_hides_nothing() -> None:
    for past in (Past({LANE: FORGED}), Past()):
        clock = Clock()
        at = ordering(past, clock)
        if not past.lanes:
            at.offer(FORGED, LANE, FORGED)
        for number in (43, 44, 46):
            at.offer(number, LANE, number)
        clock.now += HOLD_SECONDS
        at.give_up()
        steps = [step for step in take_all(at) if not isinstance(step, WentBack) and step != FORGED]
        assert steps == [43, 44, gap(45, 45), 46]


def test_a_long_outage_is_one_gap_and_its_late_events_are_not_lost() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    for number in (1, 5_000, 5_001):
        at.offer(number, LANE, number)
    clock.now += HOLD_SECONDS
    at.give_up()
    assert take_all(at) == [1, gap(2, 4_999), 5_000, 5_001]
    for number in range(2, 5_003):
        if number not in (5_000, 5_001):
            at.offer(number, LANE, number)
    assert [step for step in take_all(at) if not isinstance(step, WentBack)] == [*range(2, 5_000), 5_002]
    at.offer(5_003, LANE, 5_003)
    assert (take_all(at), at.held, at.due_in()) == ([5_003], 0, None)


def test_many_forged_numbers_neither_blind_a_lane_nor_pile_up() -> None:
    clock = Clock()
    at = ordering(clock=clock)
    for number in range(1, 21):
        at.offer(number, LANE, number)
    for forged in range(1, 30):
        at.offer(-forged, LANE, forged * 10**9)
        clock.now += HOLD_SECONDS
        at.give_up()
    take_all(at)
    at.offer(21, LANE, 21)
    at.offer(23, LANE, 23)
    clock.now += HOLD_SECONDS
    at.give_up()
    assert [step for step in take_all(at) if not isinstance(step, WentBack)] == [21, gap(22, 22), 23]


def test_lanes_are_bounded_and_the_ones_used_last_stay() -> None:
    at: Ordering[int] = Ordering(Past(), Clock(), lanes_max=10)
    for stranger in range(1_000):
        at.offer(stranger, Lane(f"hg://stranger/{stranger}", "one", None), 1)
        at.offer(1 + stranger, LANE, 1 + stranger)
        assert Gap not in map(type, take_all(at))
    assert at.lanes == 10


def test_a_new_epoch_is_reported_once_as_a_reset_and_not_as_a_gap() -> None:
    at = ordering()
    at.offer(5, LANE, 5)
    new = Lane(LANE.source, "two", None)
    at.offer(100, new, 100)
    at.offer(101, new, 101)
    at.offer(6, LANE, 6)
    assert take_all(at) == [5, Reset(source=LANE.source, epoch="two"), 100, 101, 6]


def test_the_types_of_a_source_share_its_epochs() -> None:
    at = ordering()
    at.offer(1, Lane("hg://h/r", "one", "hg.push.v1"), 1)
    at.offer(9, Lane("hg://h/r", "two", "hg.push.v1"), 9)
    at.offer(3, Lane("hg://h/r", "two", "hg.tag.moved.v1"), 3)
    assert take_all(at) == [1, Reset(source="hg://h/r", epoch="two"), 9, 3]


def test_what_is_remembered_from_before_is_the_baseline() -> None:
    clock = Clock()
    at = ordering(Past({LANE: 4}), clock)
    at.offer(7, LANE, 7)
    clock.now += HOLD_SECONDS
    at.give_up()
    assert take_all(at) == [gap(5, 6), 7]


def test_an_epoch_unknown_to_the_memory_is_a_reset_after_a_restart() -> None:
    at = ordering(Past({LANE: 4}))
    at.offer(1, Lane(LANE.source, "two", None), 1)
    assert take_all(at) == [Reset(source=LANE.source, epoch="two"), 1]


def test_what_another_process_handled_meanwhile_is_not_a_gap() -> None:
    past = Past()
    at = ordering(past)
    at.offer(1, LANE, 1)
    past.lanes[LANE] = 7
    at.offer(8, LANE, 8)
    assert take_all(at) == [1, 8]


def test_an_item_held_back_when_another_process_passed_it_is_not_stuck() -> None:
    past = Past()
    at = ordering(past)
    at.offer(1, LANE, 1)
    at.offer(3, LANE, 3)
    past.lanes[LANE] = 7
    at.offer(9, LANE, 9)
    at.offer(8, LANE, 8)
    assert take_all(at) == [1, 3, 8, 9]


def test_without_a_lane_an_item_passes_at_once() -> None:
    at = ordering()
    at.offer(1, LANE, 1)
    at.offer(3, LANE, 3)
    at.offer(-1, None, 0)
    assert take_all(at) == [1, -1]


def test_what_was_not_taken_can_come_again_in_any_order() -> None:
    at = ordering()
    at.offer(1, LANE, 1)
    assert at.take() == 1
    at.offer(2, LANE, 2)
    at.offer(4, LANE, 4)
    at.offer(9, Lane(LANE.source, "two", None), 9)
    at.forget_untaken()
    assert at.take() is None
    for number in (4, 3, 2):
        at.offer(number, LANE, number)
    at.offer(9, Lane(LANE.source, "two", None), 9)
    assert take_all(at) == [2, 3, 4, Reset(source=LANE.source, epoch="two"), 9]


def test_two_events_under_one_number_are_both_delivered() -> None:
    at = ordering()
    at.offer(1, LANE, 1)
    at.offer(30, LANE, 3)
    at.offer(31, LANE, 3)
    at.offer(2, LANE, 2)
    assert sorted(step for step in take_all(at) if isinstance(step, int)) == [1, 2, 30, 31]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[tuple[Lane, int]], dict[Lane, set[int]]]:
    """What two sources sent, some lost, in another order.

    The first and the last of each source come, as nothing else can show a loss at the ends.
    """
    sent: list[tuple[Lane, int]] = []
    lost: dict[Lane, set[int]] = {}
    for name in ("a", "b"):
        lane = Lane(f"hg://host/{name}", "one", None)
        count = draw(st.integers(3, 30))
        gone = draw(st.sets(st.integers(2, count - 1), max_size=5))
        lost[lane] = gone
        sent += [(lane, number) for number in range(1, count + 1) if number not in gone]
    # The first event of each source is its baseline; the others may come in any order.
    first = [item for item in sent if item[1] == 1]
    return first + draw(st.permutations([item for item in sent if item[1] > 1])), lost


@given(arrivals(), st.data())
def test_any_order_within_the_bounds_gives_each_once_in_order_and_exactly_the_losses_as_gaps(
    case: tuple[list[tuple[Lane, int]], dict[Lane, set[int]]], data: st.DataObject
) -> None:
    order, lost = case
    clock = Clock()
    at: Ordering[tuple[Lane, int]] = Ordering(Past(), clock, hold_seconds=HOLD_SECONDS, hold_events=1_000)
    steps: list[tuple[Lane, int] | Gap | Reset | WentBack] = []
    for lane, number in order:
        at.offer((lane, number), lane, number)
        # Taking early or late makes no difference.
        if data.draw(st.booleans()) and (step := at.take()) is not None:
            steps.append(step)
    clock.now += HOLD_SECONDS
    at.give_up()
    while (step := at.take()) is not None:
        steps.append(step)
    for lane, gone in lost.items():
        mine = [step[1] for step in steps if isinstance(step, tuple) and step[0] == lane]
        assert mine == sorted(number for where, number in order if where == lane)
        reported = [
            number
            for step in steps
            if isinstance(step, Gap) and step.source == lane.source
            for number in range(step.first_missing, step.last_missing + 1)
        ]
        assert reported == sorted(gone)
    assert at.held == 0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60, unique=True), st.integers(0, 60))
def test_whatever_comes_nothing_is_lost_and_nothing_comes_twice(numbers: list[int], break_at: int) -> None:
    clock = Clock()
    at = ordering(clock=clock)
    taken: list[int] = []
    pending = list(numbers)
    for place, number in enumerate(numbers):
        at.offer(number, LANE, number)
        if place % 3 == 0 and isinstance(step := at.take(), int):
            taken.append(step)
        if place == break_at:
            # The connection broke: the broker delivers what was not acknowledged again.
            at.forget_untaken()
            for again in [each for each in pending[: place + 1] if each not in taken]:
                at.offer(again, LANE, again)
    clock.now += HOLD_SECONDS
    at.give_up()
    taken += [step for step in take_all(at) if isinstance(step, int)]
    assert sorted(taken) == sorted(numbers)
