# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A stream is degraded and recovers with hysteresis: what lasts is reported, and nothing more than once a minute."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.relay.health.condition import DEGRADED, RECOVERED, Change, Condition, Figures, Rules, reasons

RULES = Rules()
WELL = Figures(oldest_age_s=None, failures=0, buried=0)
BURIED = WELL._replace(buried=1)
#: The longest time between two looks, and how long a state must last to be reported for certain.
LOOK_MAX_SECONDS = 10
LASTING_SECONDS = RULES.interval_s + LOOK_MAX_SECONDS
WELL_SECONDS = LASTING_SECONDS + RULES.settled_s

FIGURES = st.builds(
    Figures,
    oldest_age_s=st.sampled_from([None, 0.0, RULES.on_its_way_s + 1, RULES.oldest_s, RULES.oldest_s + 1]),
    failures=st.sampled_from([0, 1, RULES.failures - 1, RULES.failures, 100]),
    buried=st.sampled_from([0, 0, 1]),
    last_reason=st.sampled_from([None, "unreachable", "visibility-unknown"]),
)
#: Stretches of looks with the same figures: how many, and the seconds before each.
STRETCHES = st.lists(
    st.tuples(st.integers(1, 30), st.floats(0.1, LOOK_MAX_SECONDS), st.sampled_from([WELL, BURIED]) | FIGURES),
    min_size=1,
    max_size=12,
)


def seen(stretches: list[tuple[int, float, Figures]]) -> list[tuple[float, Figures, Change | None, bool]]:
    """Return the time of each look, the figures, what was reported and the state afterwards."""
    now = 0.0
    condition = Condition(now)
    looks = []
    for count, step_s, figures in stretches:
        for _ in range(count):
            now += step_s
            change = condition.look(figures, now)
            looks.append((now, figures, change, condition.is_degraded))
    return looks


@settings(max_examples=300, deadline=None)
@given(STRETCHES)
def test_nothing_is_reported_twice_within_a_minute_and_each_report_is_true(
    stretches: list[tuple[int, float, Figures]],
) -> None:
    reported_at, state = 0.0, RECOVERED
    for now, figures, change, is_degraded in seen(stretches):
        if change is None:
            continue
        assert now - reported_at >= RULES.interval_s
        assert is_degraded == (change.state == DEGRADED)
        if change.state == DEGRADED:
            assert change.reason == "; ".join(reasons(figures).values()) != ""
        else:
            assert state == DEGRADED
            assert reasons(figures) == {}
            assert (figures.oldest_age_s or 0) <= RULES.on_its_way_s
        reported_at, state = now, change.state


@settings(max_examples=300, deadline=None)
@given(STRETCHES)
def test_every_bad_state_that_lasts_is_reported_and_so_is_every_recovery(
    stretches: list[tuple[int, float, Figures]],
) -> None:
    bad_since: float | None = None
    well_since: float | None = None
    for now, figures, _, is_degraded in seen(stretches):
        bad_since = (bad_since if bad_since is not None else now) if reasons(figures) else None
        is_well = not reasons(figures) and (figures.oldest_age_s or 0) <= RULES.on_its_way_s
        well_since = (well_since if well_since is not None else now) if is_well else None
        if bad_since is not None and now - bad_since >= LASTING_SECONDS:
            assert is_degraded
        if well_since is not None and now - well_since >= WELL_SECONDS:
            assert not is_degraded


@settings(max_examples=100, deadline=None)
@given(STRETCHES)
def test_a_reason_that_comes_to_another_one_is_reported_as_well(stretches: list[tuple[int, float, Figures]]) -> None:
    now = 0.0
    condition = Condition(now)
    reported = []
    for count, step_s, figures in stretches:
        for _ in range(count):
            now += step_s
            reported.append(condition.look(figures._replace(buried=1), now))
    worst = Figures(oldest_age_s=RULES.oldest_s + 1, failures=RULES.failures, buried=1, last_reason="refused")
    for _ in range(int(LASTING_SECONDS // LOOK_MAX_SECONDS) + 2):
        now += LOOK_MAX_SECONDS
        reported.append(condition.look(worst, now))
    said = " / ".join(change.reason for change in reported if change is not None)
    assert "is buried" in said
    assert "has waited for 61 s" in said
    assert "attempts in a row failed" in said


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(STRETCHES, st.floats(0.0, 1_000.0)), min_size=1, max_size=4))
def test_restarts_lose_no_recovery_and_report_none_that_was_not_due(
    runs: list[tuple[list[tuple[int, float, Figures]], float]],
) -> None:
    now = 0.0
    state, reported = RECOVERED, None
    for stretches, pause_s in [*runs, ([(20, LOOK_MAX_SECONDS, WELL)], 0.0)]:
        now += pause_s
        condition = Condition(now, reported=reported)
        for count, step_s, figures in stretches:
            for _ in range(count):
                now += step_s
                change = condition.look(figures, now)
                if change is not None:
                    assert (change.state, state) != (RECOVERED, RECOVERED)
                    state = change.state
                assert condition.is_degraded == (state == DEGRADED)
        reported = condition.reported
    assert (state, reported) == (RECOVERED, None)


def test_a_restart_does_not_report_the_same_reason_again() -> None:
    condition = Condition(0.0)
    assert condition.look(BURIED, 60.0) is not None
    again = Condition(0.0, reported=condition.reported)
    assert [again.look(BURIED, float(second)) for second in range(1, 300)] == [None] * 299
    worse = BURIED._replace(failures=RULES.failures)
    assert again.look(worse, 300.0) is not None


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        (WELL, {}),
        (WELL._replace(oldest_age_s=60.0), {}),
        (WELL._replace(oldest_age_s=60.4), {"waiting": "the oldest pending event has waited for 60 s"}),
        (WELL._replace(failures=4, last_reason="refused"), {}),
        (
            WELL._replace(failures=5, last_reason="refused"),
            {"failing": "5 attempts in a row failed, the last time: refused"},
        ),
        (WELL._replace(failures=5, last_reason="visibility-unknown"), {}),
        (BURIED, {"buried": "1 event is buried"}),
        (WELL._replace(buried=2), {"buried": "2 events are buried"}),
    ],
)
def test_the_reasons_are_in_words_and_figures(figures: Figures, expected: dict[str, str]) -> None:
    assert reasons(figures) == expected


def test_a_busy_stream_recovers_though_an_event_is_always_on_its_way() -> None:
    condition = Condition(0.0)
    assert condition.look(BURIED, 60.0) is not None
    busy = WELL._replace(oldest_age_s=1.0)
    changes = [condition.look(busy, 60.0 + second) for second in range(1, 100)]
    assert [change.state for change in changes if change is not None] == [RECOVERED]
