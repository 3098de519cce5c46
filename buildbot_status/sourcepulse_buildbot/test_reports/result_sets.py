# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map the cases of a test report to Buildbot's test result sets, and read them back.

A result of Buildbot has a name, a path, a line, a duration and one value, so a failed case needs two of them:

- Category `pass_fail`, unit `boolean`: every case that ran, in the order of the report, `1` or `0`. Buildbot counts
  `tests_passed` and `tests_failed` of these.
- Category `failure`, unit `outcome message`: one result for each `0`, in the same order. Its value is `failure` or
  `exception`, then, if there is a message, a line break and the message. Name, path and line are those of the case.
- Category `skipped`, unit `message`: every case that was skipped, its value the reason, "" without one.
- Category `attempts`, unit `count message`: one result for each case that ran more than once. Its value is the number,
  then, if the case passed in the end, a line break and why it failed before.
- Category `report`, unit `message`: what is wrong with the report. The value of each result is a word, a line break and
  a sentence. The word is `note` if something was replaced; otherwise tests may be missing, and it is the best outcome
  that the run can have: `failure`, `warnings` or `unknown`.

A step has the sets other than the first only if they have results, and they are completed before the first is. So a
consumer of the message that a `pass_fail` set is complete finds everything about it, and `details_of` combines it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED, TestCase
from sourcepulse_buildbot.test_reports.numbers import DURATION_NS_MAX

PASS_FAIL, BOOLEAN = "pass_fail", "boolean"
FAILURES, OUTCOME_MESSAGE = "failure", "outcome message"
SKIPS, MESSAGE = "skipped", "message"
ATTEMPTS, COUNT_MESSAGE = "attempts", "count message"
REPORT = "report"
NOTE = "note"
#: The name of the results of `report`, because Buildbot requires one.
REPORT_NAME = "(report)"
#: Category and unit of the sets that only add details to another one.
COMPANIONS = frozenset({(FAILURES, OUTCOME_MESSAGE), (SKIPS, MESSAGE), (ATTEMPTS, COUNT_MESSAGE), (REPORT, MESSAGE)})

#: The first words of the value of a result in `failure`.
FAILURE, EXCEPTION = "failure", "exception"
TRUE, FALSE = "1", "0"


class ResultSet(NamedTuple):
    """One test result set: its description, category and unit, and the arguments of `addTestResult` for each result."""

    category: str
    value_unit: str
    results: Sequence[Mapping[str, Any]]


class Details(NamedTuple):
    """The meaning of a `0`: `failure` or `exception`, and why if that is known."""

    outcome: str
    message: str | None


class Attempts(NamedTuple):
    """How often a test ran, and why it failed before it passed."""

    number: int
    message: str | None


class ReportState(NamedTuple):
    """The problems of a report, and the best outcome that its run can have; None if nothing is missing."""

    problems: Sequence[str] = ()
    notes: Sequence[str] = ()
    outcome: str | None = None


def result_sets(
    cases: Iterable[TestCase],
    *,
    longest_duration_ns: int = DURATION_NS_MAX,
    problems: Iterable[str] = (),
    notes: Iterable[str] = (),
    if_incomplete: str = FAILURE,
) -> list[ResultSet]:
    """Return the sets of these cases in the order in which they are to be created.

    A duration longer than `longest_duration_ns`, the maximum of the database, is left out. `if_incomplete` is the word
    of each problem.
    """
    ran: list[Mapping[str, Any]] = []
    attempts: list[Mapping[str, Any]] = []
    failures: list[Mapping[str, Any]] = []
    skips: list[Mapping[str, Any]] = []
    for case in cases:
        where = {"test_name": case.name, "test_code_path": case.code_path, "line": case.line}
        fits = case.duration_ns is not None and case.duration_ns <= longest_duration_ns
        result = {**where, "duration_ns": case.duration_ns if fits else None}
        if case.outcome == SKIPPED:
            skips.append({**result, "value": case.message or ""})
            continue
        if case.attempts > 1:
            why = f"\n{case.message}" if case.is_flaky and case.message else ""
            attempts.append({**where, "value": f"{case.attempts}{why}"})
        ran.append({**result, "value": TRUE if case.outcome == PASSED else FALSE})
        if case.outcome in (FAILED, ERROR):
            word = FAILURE if case.outcome == FAILED else EXCEPTION
            failures.append({**where, "value": f"{word}\n{case.message}" if case.message else word})
    sentences = [(if_incomplete, problem) for problem in problems] + [(NOTE, note) for note in notes]
    of_report = [{"test_name": REPORT_NAME, "value": f"{word}\n{sentence}"} for word, sentence in sentences]
    sets = [
        ResultSet(REPORT, MESSAGE, of_report),
        ResultSet(SKIPS, MESSAGE, skips),
        ResultSet(ATTEMPTS, COUNT_MESSAGE, attempts),
        ResultSet(FAILURES, OUTCOME_MESSAGE, failures),
    ]
    return [*(each for each in sets if each.results), ResultSet(PASS_FAIL, BOOLEAN, ran)]


def details_of(results: Iterable[Mapping[str, Any]], failures: Iterable[Mapping[str, Any]]) -> dict[int, Details]:
    """Return the details of the `0`s of a `pass_fail` set by their `test_resultid`.

    Both arguments are rows of the data API, of that set and of the `failure` set of the same step and description.
    The result is empty if they do not belong together, for instance because other code made the sets.
    """
    failed = [row for row in _in_order(results) if row["value"] == FALSE]
    reasons = _in_order(failures)
    if len(failed) != len(reasons):
        return {}
    details = {}
    for row, failure in zip(failed, reasons, strict=True):
        if _where(row) != _where(failure):
            return {}
        word, _, message = failure["value"].partition("\n")
        if word not in (FAILURE, EXCEPTION):
            return {}
        details[row["test_resultid"]] = Details(word, message or None)
    return details


def attempts_of(results: Iterable[Mapping[str, Any]], attempts: Iterable[Mapping[str, Any]]) -> dict[int, Attempts]:
    """Return how often results of a `pass_fail` set ran, by `test_resultid`, for those that ran more than once.

    Both are in the same order, so each of `attempts` belongs to the next result of its name.
    """
    counts = _in_order(attempts)
    found: dict[int, Attempts] = {}
    position = 0
    for row in _in_order(results):
        if position < len(counts) and _where(row) == _where(counts[position]):
            number, _, message = counts[position]["value"].partition("\n")
            if number.isascii() and number.isdigit():
                found[row["test_resultid"]] = Attempts(int(number), message or None)
            position += 1
    return found


def report_of(rows: Iterable[Mapping[str, Any]]) -> ReportState:
    """Return what the results of a `report` set say about the report."""
    problems: list[str] = []
    notes: list[str] = []
    outcome = None
    for row in _in_order(rows):
        word, _, sentence = row["value"].partition("\n")
        if word == NOTE:
            notes.append(sentence)
        else:
            problems.append(sentence)
            outcome = word
    return ReportState(tuple(problems), tuple(notes), outcome)


def _in_order(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: row["test_resultid"])


def _where(row: Mapping[str, Any]) -> tuple[object, ...]:
    return row["test_name"], row["test_code_path"], row["line"]
