# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a report says survives Buildbot's result sets, which know neither exceptions nor messages."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sourcepulse_buildbot.test_reports import cases
from sourcepulse_buildbot.test_reports.result_sets import Details, ResultSet, details_of, result_sets

_NAMES = st.sampled_from(["a", "b"])
_CASES = st.builds(
    cases.TestCase,
    name=_NAMES,
    outcome=st.sampled_from([cases.PASSED, cases.FAILED, cases.ERROR, cases.SKIPPED]),
    line=st.none() | st.just(3),
    duration_ns=st.none() | st.integers(0, 2 * cases.INT32_MAX),
    message=st.none() | st.text(min_size=1),
)


def _rows(each: ResultSet | None, first: int) -> list[dict[str, Any]]:
    """Rows as the data API gives them."""
    results = each.results if each else []
    return [{**result, "test_resultid": first + number} for number, result in enumerate(results)]


@given(st.lists(_CASES, max_size=12))
def test_failures_come_back_with_their_outcomes_and_messages(tests: list[cases.TestCase]) -> None:
    sets = {each.category: each for each in result_sets(tests)}
    ran = [case for case in tests if case.outcome != cases.SKIPPED]
    # The API promises no order.
    details = details_of(_rows(sets["pass_fail"], 100)[::-1], _rows(sets.get("failure"), 5))
    words = {cases.FAILED: "failure", cases.ERROR: "exception"}
    assert details == {
        100 + number: Details(words[case.outcome], case.message)
        for number, case in enumerate(ran)
        if case.outcome != cases.PASSED
    }
    skips = [(row["test_name"], row["value"]) for row in sets["skipped"].results] if "skipped" in sets else []
    assert skips == [(case.name, case.message or "") for case in tests if case.outcome == cases.SKIPPED]


@given(st.lists(_CASES, max_size=12))
def test_the_set_that_is_counted_comes_last_and_only_it_may_be_empty(tests: list[cases.TestCase]) -> None:
    *others, last = result_sets(tests)
    assert last.category == "pass_fail"
    assert all(each.results for each in others)


def test_a_duration_that_the_database_cannot_hold_is_left_out() -> None:
    tests = [cases.TestCase("a", cases.PASSED, duration_ns=number) for number in (cases.INT32_MAX, 2**31)]
    (ran,) = result_sets(tests, longest_duration_ns=cases.INT32_MAX)
    assert [row["duration_ns"] for row in ran.results] == [cases.INT32_MAX, None]


def test_sets_that_do_not_belong_together_give_nothing() -> None:
    ran, failed = {"value": "0", "test_code_path": None, "line": None}, {"test_code_path": None, "line": None}
    row = {**ran, "test_name": "a", "test_resultid": 1}
    message = {**failed, "test_name": "a", "value": "failure", "test_resultid": 2}
    assert details_of([row], [message]) == {1: Details("failure", None)}
    assert details_of([row], [{**message, "test_name": "b"}]) == {}
    assert details_of([row, {**row, "test_resultid": 3}], [message]) == {}
    assert details_of([row], [{**message, "value": "some other tool's message"}]) == {}
    assert details_of([row], []) == {}
