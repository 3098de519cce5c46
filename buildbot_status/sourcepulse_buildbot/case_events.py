# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of tests: one for each case that is wanted, then one for the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sourcepulse.event import Event
from sourcepulse_buildbot.build_facts import BuildRef
from sourcepulse_buildbot.emitter import Emitter, make_event
from sourcepulse_buildbot.rows import UNKNOWN, Row

RUN_FINISHED = "test.run.finished.v1"

SUCCESS, FAILURE, SKIPPED = "success", "failure", "skipped"
#: What may be asked for: the word in the type of the event, with the outcome that it stands for.
CASES = {"failed": FAILURE, "passed": SUCCESS, "skipped": SKIPPED}
_STATES = {outcome: state for state, outcome in CASES.items()}

#: The categories of Buildbot's test result sets in which every result has the same outcome.
_OUTCOME_BY_CATEGORY = {"pass_only": SUCCESS, "fail_only": FAILURE, "code_issue": FAILURE, "skipped": SKIPPED}
_BOTH = "pass_fail"
_MESSAGE = "message"


def run_finished(
    emitter: Emitter,
    *,
    ref: BuildRef,
    test_set: Row,
    results: Sequence[Row],
    wanted: frozenset[str],
    time: float,
    recovered: bool = False,
) -> Iterator[Event]:
    """Tell the wanted cases of a complete test result set, then its totals."""
    outcomes = [case_outcome(test_set, result) for result in results]
    told = 0
    for result, outcome in zip(results, outcomes, strict=True):
        state = _STATES.get(outcome)
        if state in wanted:
            told += 1
            yield _case(emitter, state, outcome, ref, test_set, result, time, recovered=recovered)
    failed, passed = (
        _count(test_set["tests_failed"], outcomes, FAILURE),
        _count(test_set["tests_passed"], outcomes, SUCCESS),
    )
    known = {outcome for outcome in outcomes if outcome != UNKNOWN}
    yield _run(
        emitter,
        ref,
        test_set["stepid"],
        key=ref.key(test_set["test_result_setid"]),
        setid=test_set["test_result_setid"],
        description=test_set["description"] or "",
        category=test_set["category"],
        totals={
            "tests_total": len(results),
            "tests_passed": passed,
            "tests_failed": failed,
            "tests_skipped": outcomes.count(SKIPPED) if known or not results else None,
        },
        cases=told,
        time=time,
        recovered=recovered,
    )


def statistics_finished(
    emitter: Emitter, *, ref: BuildRef, step: Row, statistics: Mapping[str, int], time: float
) -> Event:
    """Tell the totals that a step counted without storing the results; they are gone when its master is."""
    return _run(
        emitter,
        ref,
        step["stepid"],
        key=["step", str(step["stepid"]), str(ref.started_at)],
        setid=None,
        description=step["name"],
        category=None,
        totals={f"tests_{name}": _number(statistics.get(f"tests-{name}")) for name in _TOTALS},
        cases=0,
        time=time,
        recovered=False,
    )


_TOTALS = ("total", "passed", "failed", "skipped")


def has_totals(statistics: Mapping[str, int]) -> bool:
    """Tell whether the statistics of a step are those of tests."""
    return any(f"tests-{name}" in statistics for name in _TOTALS)


def case_outcome(test_set: Row, result: Row) -> str:
    """Give the outcome of one result; `unknown` in sets whose values say something else, such as times."""
    if test_set["category"] == _BOTH:
        return SUCCESS if result["value"] == "1" else FAILURE
    return _OUTCOME_BY_CATEGORY.get(test_set["category"], UNKNOWN)


def _case(
    emitter: Emitter,
    state: str,
    outcome: str,
    ref: BuildRef,
    test_set: Row,
    result: Row,
    time: float,
    *,
    recovered: bool,
) -> Event:
    return make_event(
        emitter,
        f"test.case.{state}.v1",
        {
            **ref.members(),
            "stepid": test_set["stepid"],
            "test_result_setid": test_set["test_result_setid"],
            "test_resultid": result["test_resultid"],
            "test_name": result["test_name"],
            "test_code_path": result["test_code_path"],
            "line": result["line"],
            "duration_ns": result["duration_ns"],
            "value": result["value"],
            "message": result["value"] if test_set["value_unit"] == _MESSAGE else None,
            "outcome": outcome,
        },
        key=ref.key(result["test_resultid"]),
        subject=ref.subject,
        time=time,
        words=[ref.buildername],
        recovered=recovered,
    )


def _run(
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


def _count(stored: int | None, outcomes: Sequence[str], outcome: str) -> int | None:
    """Give Buildbot's own count, or ours where it keeps none; None if the outcomes are not known."""
    if stored is not None:
        return stored
    return None if UNKNOWN in outcomes else outcomes.count(outcome)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
