# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an answer means, when an event is tried again, set aside, and when its hook is parked."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_web.webhooks.send.outcome import Outcome, outcome_of
from sourcepulse_web.webhooks.send.schedule import (
    ASKED,
    JITTER_SHARE,
    is_failing,
    is_parked,
    is_set_aside,
    pause_left,
    refusal_pause,
    retry_pause,
    span_of,
)
from sourcepulse_web.webhooks.settings import Schedule
from sourcepulse_web.webhooks.store.records import Trouble

USUAL = Schedule()


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((200, 201, 202, 204, 299), Outcome.DELIVERED),
        ((301, 302, 303, 304, 307, 308), Outcome.RETRY),
        ((408, 425, 429, 500, 501, 502, 503, 504, 507, 599), Outcome.RETRY),
        ((None, 0, 101, 199, 600, 999), Outcome.RETRY),
        ((410,), Outcome.GONE),
        ((400, 401, 403, 404, 405, 409, 411, 413, 415, 422, 424, 426, 428, 451, 499), Outcome.REFUSED),
    ],
)
def test_a_status_means_what_the_standards_say(statuses: tuple[int | None, ...], outcome: Outcome) -> None:
    assert {status: outcome_of(status) for status in statuses} == dict.fromkeys(statuses, outcome)


def test_a_hook_waits_5_seconds_5_minutes_and_then_half_an_hour_each_time() -> None:
    pauses = [retry_pause(failures, USUAL, retry_after_s=None, jitter=0.0) for failures in (1, 2, 3, 4, 100)]
    assert pauses == [5.0, 300.0, 1800.0, 1800.0, 1800.0]


def test_jitter_only_makes_a_pause_longer() -> None:
    assert retry_pause(3, USUAL, retry_after_s=None, jitter=1.0) == pytest.approx(1800 * (1 + JITTER_SHARE))


def test_a_retry_after_is_obeyed_up_to_a_day() -> None:
    assert retry_pause(1, USUAL, retry_after_s=40.0, jitter=0.0) == 40.0
    assert retry_pause(2, USUAL, retry_after_s=40.0, jitter=0.0) == 300.0
    assert retry_pause(1, USUAL, retry_after_s=1e9, jitter=0.0) == 86_400.0
    assert retry_pause(1, USUAL, retry_after_s=-7.0, jitter=0.0) == 5.0


@given(
    retry_s=st.lists(st.floats(0, 4000), min_size=1, max_size=6),
    failures=st.integers(1, 10_000),
    retry_after_s=st.none() | st.floats(allow_nan=False),
    jitter=st.floats(0, 1),
)
def test_a_pause_is_never_shorter_than_the_schedule_nor_longer_than_its_limits(
    retry_s: list[float], failures: int, retry_after_s: float | None, jitter: float
) -> None:
    schedule = Schedule(retry_s=tuple(retry_s))
    pause = retry_pause(failures, schedule, retry_after_s=retry_after_s, jitter=jitter)
    least = retry_s[min(failures, len(retry_s) - 1)]
    assert least <= pause <= max(least * (1 + JITTER_SHARE), schedule.retry_after_max_s)


def refused_until_set_aside(schedule: Schedule, *, alike: int, jitter: float = 0.0) -> list[float]:
    """Return when an event that is always refused is tried, in seconds after the first time."""
    now, times = 0.0, [0.0]
    while not is_set_aside(len(times), now, schedule, alike=alike):
        now += refusal_pause(len(times), now, schedule, alike=alike, jitter=jitter)
        times.append(now)
    return times


def test_a_refused_event_is_tried_five_times_within_ten_minutes() -> None:
    times = refused_until_set_aside(USUAL, alike=0)
    assert [round(at) for at in times] == [0, 5, 203, 402, 600]


def test_the_next_one_that_is_refused_alike_is_tried_five_times_within_a_minute() -> None:
    times = refused_until_set_aside(USUAL, alike=1)
    assert [round(at) for at in times] == [0, 5, 23, 42, 60]


def test_each_further_one_that_is_refused_alike_takes_half_the_time_of_the_one_before_down_to_five_seconds() -> None:
    spans = [round(refused_until_set_aside(USUAL, alike=alike)[-1], 1) for alike in (1, 2, 3, 4, 5, 6, 10_000)]
    assert spans == [60, 30, 15, 7.5, 5, 5, 5]


def test_the_shorter_times_can_be_switched_off() -> None:
    off = replace(USUAL, poison_again_s=USUAL.poison_s)
    assert {span_of(off, alike) for alike in range(10)} == {600.0}


@given(
    tries=st.integers(1, 20),
    span=st.floats(0.01, 5000),
    first=st.floats(0, 600),
    alike=st.integers(0, 2_000),
    jitter=st.floats(0, 1),
)
def test_an_event_is_set_aside_after_exactly_the_tries_and_never_before_the_time(
    tries: int, span: float, first: float, alike: int, jitter: float
) -> None:
    schedule = Schedule(retry_s=(0.0, first), poison_tries=tries, poison_s=span, poison_again_s=span / 3)
    times = refused_until_set_aside(schedule, alike=alike, jitter=jitter)
    assert times[-1] >= span_of(schedule, alike)
    # Where one refusal is enough the time must pass all the same; a sum of floats may miss its end by the last bit.
    assert len(times) - max(2, tries) in (0, 1)
    assert times == sorted(times)


def test_tries_that_the_owner_asked_for_shorten_no_time() -> None:
    assert not is_set_aside(7, 599.0, USUAL, alike=0)
    assert refusal_pause(7, 599.0, USUAL, alike=0) == 5.0
    assert is_set_aside(8, 604.0, USUAL, alike=0)
    assert not is_set_aside(4, 6000.0, USUAL, alike=0)


def until(next_at: float, kind: str = "retry") -> Trouble:
    return Trouble(1, 0.0, next_at, 503, kind)


def test_a_refusal_with_a_long_retry_after_stops_its_source_no_longer_than_others() -> None:
    assert refusal_pause(1, 0.0, USUAL, alike=0, retry_after_s=1e9) == 600.0


def test_a_clock_that_was_set_back_keeps_no_event_for_ever() -> None:
    assert is_set_aside(5, -3600.0, USUAL, alike=0)
    assert refusal_pause(2, -3600.0, USUAL, alike=0) <= 600.0
    assert pause_left(until(10_000_000.0), 0.0, USUAL) == 1.2 * 1800
    assert pause_left(until(10_000_000.0, ASKED), 0.0, USUAL) == USUAL.retry_after_max_s
    assert pause_left(until(30.0), 20.0, USUAL) == 10.0
    assert pause_left(until(30.0), 40.0, USUAL) == 0.0


def test_a_hook_is_failing_after_the_try_at_five_minutes_and_parked_after_72_hours() -> None:
    assert [is_failing(failures) for failures in (1, 2, 3, 4)] == [False, False, True, True]
    assert not is_parked(140, 72 * 3600 - 1, USUAL)
    assert is_parked(140, 72 * 3600, USUAL)
    assert not is_parked(1, 1e9, USUAL), "a clock that jumps parks no hook that failed once"
