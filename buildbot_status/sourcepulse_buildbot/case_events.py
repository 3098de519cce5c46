# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of tests: one for each case that is wanted, then one for the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sourcepulse.event import Event
from sourcepulse_buildbot.build_facts import BuildRef
from sourcepulse_buildbot.emitter import Emitter, make_event
from sourcepulse_buildbot.result_sets import MESSAGE, PASS_FAIL, TRUE
from sourcepulse_buildbot.rows import UNKNOWN, Row
from sourcepulse_buildbot.stored_tests import StoredTests

RUN_FINISHED = "test.run.finished.v1"

SUCCESS, FAILURE, SKIPPED, EXCEPTION = "success", "failure", "skipped", "exception"
#: What may be asked for: the last word in the type of the event.
FAILED, PASSED = "failed", "passed"
CASES = (FAILED, PASSED, SKIPPED)
_STATES = {FAILURE: FAILED, EXCEPTION: FAILED, SUCCESS: PASSED, SKIPPED: SKIPPED}

#: The categories of Buildbot's sets in which every result has the same outcome.
_OUTCOME_BY_CATEGORY = {"pass_only": SUCCESS, "fail_only": FAILURE, "code_issue": FAILURE}
_TOTALS = ("total", "passed", "failed", "skipped")


class _Case(NamedTuple):
    row: Row
    outcome: str
    message: str | None


def run_finished(
    emitter: Emitter, *, ref: BuildRef, tests: StoredTests, wanted: frozenset[str], time: float, recovered: bool = False
) -> Iterator[Event]:
    """Tell the wanted cases of a complete test result set, then its totals."""
    test_set = tests.test_set
    cases = [_case_of(test_set, row, tests) for row in tests.results]
    outcomes = [case.outcome for case in cases]
    told = 0
    for case in [*cases, *(_Case(row, SKIPPED, row["value"] or None) for row in tests.skips)]:
        if _STATES.get(case.outcome) in wanted:
            told += 1
            yield _case_event(emitter, case, ref, test_set["stepid"], time, recovered=recovered)
    known = UNKNOWN not in outcomes
    failed = [FAILURE, EXCEPTION]
    yield _run_event(
        emitter,
        ref,
        test_set["stepid"],
        key=ref.key(test_set["test_result_setid"]),
        setid=test_set["test_result_setid"],
        description=test_set["description"] or "",
        category=test_set["category"],
        totals={
            "tests_total": len(cases) + len(tests.skips),
            "tests_passed": outcomes.count(SUCCESS) if known else test_set["tests_passed"],
            "tests_failed": sum(map(outcomes.count, failed)) if known else test_set["tests_failed"],
            "tests_skipped": len(tests.skips) if known else None,
        },
        cases=told,
        time=time,
        recovered=recovered,
    )


def statistics_finished(
    emitter: Emitter, *, ref: BuildRef, step: Row, statistics: Mapping[str, int], time: float
) -> Event:
    """Tell the totals that a step counted without storing the results; they are gone when its master is."""
    return _run_event(
        emitter,
        ref,
        step["stepid"],
        key=["step", *ref.key(step["stepid"])],
        setid=None,
        description=step["name"],
        category=None,
        totals={f"tests_{name}": _number(statistics.get(f"tests-{name}")) for name in _TOTALS},
        cases=0,
        time=time,
        recovered=False,
    )


def has_totals(statistics: Mapping[str, int]) -> bool:
    """Tell whether the statistics of a step are those of tests."""
    return any(f"tests-{name}" in statistics for name in _TOTALS)


def _case_of(test_set: Row, row: Row, tests: StoredTests) -> _Case:
    """Give the outcome of one result; `unknown` in sets whose values say something else, such as times."""
    if test_set["category"] != PASS_FAIL:
        message = row["value"] if test_set["value_unit"] == MESSAGE else None
        return _Case(row, _OUTCOME_BY_CATEGORY.get(test_set["category"], UNKNOWN), message)
    if row["value"] == TRUE:
        return _Case(row, SUCCESS, None)
    details = tests.details.get(row["test_resultid"])
    return _Case(row, FAILURE, None) if details is None else _Case(row, details.outcome, details.message)


def _case_event(emitter: Emitter, case: _Case, ref: BuildRef, stepid: int, time: float, *, recovered: bool) -> Event:
    row = case.row
    return make_event(
        emitter,
        f"test.case.{_STATES[case.outcome]}.v1",
        {
            **ref.members(),
            "stepid": stepid,
            "test_result_setid": row["test_result_setid"],
            "test_resultid": row["test_resultid"],
            "test_name": row["test_name"],
            "test_code_path": row["test_code_path"],
            "line": row["line"],
            "duration_ns": row["duration_ns"],
            "value": row["value"],
            "message": case.message,
            "outcome": case.outcome,
        },
        key=ref.key(row["test_resultid"]),
        subject=ref.subject,
        time=time,
        words=[ref.buildername],
        recovered=recovered,
    )


def _run_event(
    emitter: Emitter,
    ref: BuildRef,
    stepid: int,
    *,
    key: Sequence[str],
    setid: int | None,
    description: str,
    category: str | None,
    totals: Mapping[str, int | None],
    cases: int,
    time: float,
    recovered: bool,
) -> Event:
    failed, passed = totals["tests_failed"], totals["tests_passed"]
    outcome = FAILURE if failed else UNKNOWN if failed is None and passed is None else SUCCESS
    return make_event(
        emitter,
        RUN_FINISHED,
        {
            **ref.members(),
            "stepid": stepid,
            "test_result_setid": setid,
            "description": description,
            "category": category,
            **totals,
            "outcome": outcome,
            "cases": cases,
        },
        key=key,
        subject=ref.subject,
        time=time,
        words=[outcome, ref.buildername],
        recovered=recovered,
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
