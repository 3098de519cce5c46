# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of tests: one for each wanted case, up to a limit, then one for the run."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.build_facts import BuildRef
from sourcepulse_buildbot.mapping.emitter import Emitter, make_event
from sourcepulse_buildbot.mapping.rows import UNKNOWN, Row
from sourcepulse_buildbot.recovery.stored_tests import StoredTests
from sourcepulse_buildbot.test_reports.result_sets import (
    ATTEMPTS,
    FAILURES,
    MESSAGE,
    PASS_FAIL,
    REPORT,
    SKIPS,
    TRUE,
    Attempts,
    ReportState,
    attempts_of,
    details_of,
    report_of,
)

RUN_FINISHED = "test.run.finished.v1"

SUCCESS, FAILURE, SKIPPED, EXCEPTION = "success", "failure", "skipped", "exception"
#: The cases that settings may ask for: the last word of the event type, and those that passed after they failed.
FAILED, PASSED, FLAKY = "failed", "passed", "flaky"
CASES = (FAILED, FLAKY, PASSED, SKIPPED)
#: The events of one step must not fill half of a queue.
CASE_EVENTS_MAX = 1_000
_STATES = {FAILURE: FAILED, EXCEPTION: FAILED, SUCCESS: PASSED, SKIPPED: SKIPPED}

#: The categories of Buildbot's sets in which every result has the same outcome.
_OUTCOME_BY_CATEGORY = {"pass_only": SUCCESS, "fail_only": FAILURE, "code_issue": FAILURE}
#: In sets of these categories, no results means success.
_ONLY_FAILURES = frozenset({"fail_only", "code_issue"})
_TOTALS = ("total", "passed", "failed", "skipped")
_COMPLETE = ReportState()
#: The UUID namespace of test identities; it is the same in every installation.
_TESTS = uuid.UUID("2d7f2f52-3f0c-5a0e-8a0d-6c5f4c1f0b7e")


class Wanted(NamedTuple):
    """Which test cases are published one by one, and at most how many of a run."""

    cases: frozenset[str]
    most: int = CASE_EVENTS_MAX


class RunOf(NamedTuple):
    """The step and build that a run of tests belongs to, and the revision that was built."""

    build: BuildRef
    stepid: int
    step_name: str
    revision: str | None

    def members(self) -> dict[str, Any]:
        """Return the members that every event of a run has."""
        return {
            **self.build.members(),
            "stepid": self.stepid,
            "step_name": self.step_name,
            "revision": self.revision,
        }


class _Case(NamedTuple):
    row: Row
    outcome: str
    message: str | None
    attempts: int = 1

    @property
    def is_flaky(self) -> bool:
        return self.outcome == SUCCESS and self.attempts > 1


def run_finished(
    emitter: Emitter, *, run: RunOf, tests: StoredTests, wanted: Wanted, time: float, recovered: bool = False
) -> Iterator[Event]:
    """Yield the wanted cases of a complete test result set, then its totals."""
    test_set = tests.test_set
    chosen = _Chosen(wanted)
    outcomes: Counter[str] = Counter()
    flaky = 0
    for case in _cases(tests):
        outcomes[case.outcome] += 1
        flaky += case.is_flaky
        chosen.add(case)
    skips = tests.of(SKIPS)
    for row in skips:
        chosen.add(_Case(row, SKIPPED, row["value"] or None))
    cases = chosen.cases()
    for case in cases:
        yield _case_event(emitter, case, run, test_set["description"] or "", time, recovered=recovered)
    known = not outcomes[UNKNOWN]
    totals = {
        "tests_total": outcomes.total() + len(skips),
        "tests_passed": outcomes[SUCCESS] if known else test_set["tests_passed"],
        "tests_failed": outcomes[FAILURE] + outcomes[EXCEPTION] if known else test_set["tests_failed"],
        "tests_skipped": len(skips) if known else None,
    }
    state = report_of(tests.of(REPORT))
    yield _run_event(
        emitter,
        run,
        key=run.build.key(test_set["test_result_setid"]),
        setid=test_set["test_result_setid"],
        description=test_set["description"] or "",
        category=test_set["category"],
        totals=totals,
        flaky=flaky if known else None,
        state=state,
        cases=len(cases),
        left_out=chosen.asked - len(cases),
        time=time,
        recovered=recovered,
    )


def statistics_finished(emitter: Emitter, *, run: RunOf, statistics: Mapping[str, int], time: float) -> Event:
    """Return the totals that a step counted without storing the results; they are lost when its master ends."""
    return _run_event(
        emitter,
        run,
        key=["step", *run.build.key(run.stepid)],
        description=run.step_name,
        totals={f"tests_{name}": _number(statistics.get(f"tests-{name}")) for name in _TOTALS},
        time=time,
    )


def has_totals(statistics: Mapping[str, int]) -> bool:
    """Return whether the statistics of a step are those of tests."""
    return any(f"tests-{name}" in statistics for name in _TOTALS)


class _Chosen:
    """The cases that are published one by one, up to the limit: failures first, then flaky ones, then the others.

    It never holds more than the limit.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        #: How many cases were wanted.
        self.asked = 0
        self._by_rank: tuple[list[tuple[int, _Case]], ...] = ([], [], [])

    def add(self, case: _Case) -> None:
        state = _STATES.get(case.outcome)
        if state not in self._wanted.cases and not (case.is_flaky and FLAKY in self._wanted.cases):
            return
        ranked = self._by_rank[0 if state == FAILED else 1 if case.is_flaky else 2]
        if len(ranked) < self._wanted.most:
            ranked.append((self.asked, case))
        self.asked += 1

    def cases(self) -> list[_Case]:
        """Return them in their order."""
        first = [each for ranked in self._by_rank for each in ranked][: self._wanted.most]
        return [case for _, case in sorted(first, key=lambda each: each[0])]


def _cases(tests: StoredTests) -> Iterator[_Case]:
    """Yield the outcome of each result; `unknown` in sets whose values mean something else, such as times."""
    test_set = tests.test_set
    if test_set["category"] != PASS_FAIL:
        outcome, has_messages = (
            _OUTCOME_BY_CATEGORY.get(test_set["category"], UNKNOWN),
            test_set["value_unit"] == MESSAGE,
        )
        for row in tests.results:
            yield _Case(row, outcome, row["value"] if has_messages else None)
        return
    details = details_of(tests.results, tests.of(FAILURES))
    attempts = attempts_of(tests.results, tests.of(ATTEMPTS))
    once = Attempts(1, None)
    for row in tests.results:
        ran = attempts.get(row["test_resultid"], once)
        if row["value"] == TRUE:
            yield _Case(row, SUCCESS, ran.message, ran.number)
            continue
        failure = details.get(row["test_resultid"])
        outcome, message = (FAILURE, None) if failure is None else failure
        yield _Case(row, outcome, message, ran.number)


def _case_event(emitter: Emitter, case: _Case, run: RunOf, description: str, time: float, *, recovered: bool) -> Event:
    row = case.row
    return make_event(
        emitter,
        f"test.case.{_STATES[case.outcome]}.v1",
        {
            **run.members(),
            "test_result_setid": row["test_result_setid"],
            "description": description,
            "test_resultid": row["test_resultid"],
            "testid": test_identity(description, row["test_name"], row["test_code_path"]),
            "test_name": row["test_name"],
            "test_code_path": row["test_code_path"],
            "line": row["line"],
            "duration_ns": row["duration_ns"],
            "value": row["value"],
            "message": case.message,
            "outcome": case.outcome,
            "attempts": case.attempts,
            "flaky": case.is_flaky,
        },
        key=run.build.key(row["test_resultid"]),
        subject=run.build.subject,
        time=time,
        words=[run.build.buildername],
        recovered=recovered,
    )


def test_identity(description: str, name: str | None, code_path: str | None) -> str:
    """Return what a test has in common in all builds, builders and revisions: its suite, and its name or its file."""
    words = [description, name or "", "" if name else code_path or ""]
    return str(uuid.uuid5(_TESTS, json.dumps(words, separators=(",", ":"))))


def _outcome(totals: Mapping[str, int | None], category: str | None, state: ReportState) -> str:
    """Return the outcome of a run: success only if nothing failed, something passed and nothing is missing."""
    failed, passed, total = totals["tests_failed"], totals["tests_passed"], totals["tests_total"]
    if failed:
        return FAILURE
    if state.outcome is not None:
        return state.outcome
    if category in _ONLY_FAILURES:
        return SUCCESS
    if failed is None and passed is None:
        return UNKNOWN
    if passed:
        return SUCCESS
    return SKIPPED if passed == 0 and not (total or 0) - (totals["tests_skipped"] or 0) else UNKNOWN


def _run_event(
    emitter: Emitter,
    run: RunOf,
    *,
    key: Sequence[str],
    description: str,
    totals: Mapping[str, int | None],
    time: float,
    setid: int | None = None,
    category: str | None = None,
    flaky: int | None = None,
    state: ReportState = _COMPLETE,
    cases: int = 0,
    left_out: int = 0,
    recovered: bool = False,
) -> Event:
    outcome = _outcome(totals, category, state)
    return make_event(
        emitter,
        RUN_FINISHED,
        {
            **run.members(),
            "test_result_setid": setid,
            "description": description,
            "category": category,
            **totals,
            "tests_flaky": flaky,
            "outcome": outcome,
            "incomplete": state.outcome is not None,
            "problems": list(state.problems),
            "notes": list(state.notes),
            "cases": cases,
            "cases_left_out": left_out,
        },
        key=key,
        subject=run.build.subject,
        time=time,
        words=[outcome, run.build.buildername],
        recovered=recovered,
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
