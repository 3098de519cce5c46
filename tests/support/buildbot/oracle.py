# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What must have been published of a master, by its own database: every fact once, and in order."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sourcepulse.events.event import Event
from support.buildbot.masters import Master

#: Written again here, as events.md has it, so that a mistake of ours is seen.
_NAMESPACE = uuid.UUID("85de643d-1089-53fe-920c-bc4790a56371")
_OUTCOMES = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
#: Their masters publish them if they can; the database has no record of them.
BEST_EFFORT = ("build.worker.", "build.master.")


class Fact(NamedTuple):
    """What an event of this id must say."""

    type: str
    outcome: str | None = None


def fact_id(scope: str, type_: str, *key: object) -> str:
    """Return the id of a fact."""
    name = json.dumps([scope, type_, *(str(part) for part in key)], separators=(",", ":"))
    return str(uuid.uuid5(_NAMESPACE, name))


def expected(master: Master, scope: str = "buildbot://ci") -> dict[str, Fact]:
    """Return every fact that the database has, by id."""
    return {fact_id(scope, fact.type, *key): fact for fact, key in _facts(master)}


def _facts(master: Master) -> Iterator[tuple[Fact, tuple[Any, ...]]]:
    for changeid, when in master.query("SELECT changeid, when_timestamp FROM changes"):
        yield Fact("change.added.v1"), (changeid, when)
    for number, at, complete, results in master.query("SELECT id, submitted_at, complete, results FROM buildrequests"):
        yield Fact("build.request.submitted.v1"), (number, at)
        if complete:
            yield Fact("build.request.completed.v1", _OUTCOMES[results]), (number, at)
    for number, at, results in master.query("SELECT id, submitted_at, results FROM buildsets WHERE complete = 1"):
        yield Fact("build.buildset.completed.v1", _OUTCOMES[results]), (number, at)
    for number, at, complete_at, results in master.query("SELECT id, started_at, complete_at, results FROM builds"):
        yield Fact("build.started.v1"), (number, at)
        if complete_at is not None:
            yield Fact("build.finished.v1", _OUTCOMES[results]), (number, at)
    for number, at, started_at, complete_at, results in master.query(
        "SELECT s.id, b.started_at, s.started_at, s.complete_at, s.results "
        "FROM steps s JOIN builds b ON b.id = s.buildid"
    ):
        if started_at is not None:
            yield Fact("build.step.started.v1"), (number, at)
        if complete_at is not None:
            yield Fact("build.step.finished.v1", _OUTCOMES[results]), (number, at)
    for number, at in master.query(
        "SELECT l.id, b.started_at FROM logs l JOIN steps s ON s.id = l.stepid JOIN builds b ON b.id = s.buildid "
        "WHERE l.complete = 1"
    ):
        yield Fact("build.log.finished.v1"), (number, at)
    for number, at, passed, failed, missing in master.query(
        "SELECT t.id, b.started_at, t.tests_passed, t.tests_failed, (SELECT r.value FROM test_results r JOIN "
        "test_result_sets o ON o.id = r.test_result_setid WHERE o.stepid = t.stepid AND o.category = 'report' AND "
        "r.value NOT LIKE 'note%') FROM test_result_sets t JOIN builds b ON b.id = t.buildid "
        "WHERE t.complete = 1 AND t.category NOT IN ('failure', 'skipped', 'attempts', 'report')"
    ):
        word = str(missing).partition("\n")[0] if missing else "success" if passed else "skipped"
        yield Fact("test.run.finished.v1", "failure" if failed else word), (number, at)
    for number, at in master.query(
        "SELECT r.id, b.started_at FROM test_results r JOIN test_result_sets t ON t.id = r.test_result_setid "
        "JOIN builds b ON b.id = t.buildid WHERE t.complete = 1 AND r.value = '1' AND t.category = 'pass_fail' AND "
        "EXISTS (SELECT 1 FROM test_results a JOIN test_result_sets o ON o.id = a.test_result_setid WHERE "
        "o.stepid = t.stepid AND o.category = 'attempts' AND a.test_nameid = r.test_nameid)"
    ):
        yield Fact("test.case.passed.v1", "success"), (number, at)
    for number, at in master.query(
        "SELECT r.id, b.started_at FROM test_results r JOIN test_result_sets t ON t.id = r.test_result_setid "
        "JOIN builds b ON b.id = t.buildid WHERE t.complete = 1 AND r.value = '0' AND t.category = 'pass_fail'"
    ):
        yield Fact("test.case.failed.v1", "failure"), (number, at)
    for number, at in master.query(
        "SELECT r.id, b.started_at FROM test_results r JOIN test_result_sets t ON t.id = r.test_result_setid "
        "JOIN builds b ON b.id = t.buildid WHERE t.complete = 1 AND t.category = 'skipped' AND EXISTS (SELECT 1 FROM "
        "test_result_sets o WHERE o.stepid = t.stepid AND o.category = 'pass_fail' AND o.complete = 1)"
    ):
        yield Fact("test.case.skipped.v1", "skipped"), (number, at)


def assert_exact(
    master: Master, events: Sequence[Event] | None = None, *, late: bool = False, without: Sequence[str] = ()
) -> None:
    """Every fact of the database is published once, nothing else is, and in the order of each build.

    If messages were lost while the master went on, some may come `late`, and say so by `recovered`. Of the types in
    `without` some may be missing.
    """
    stored = [event for event in (master.events() if events is None else events) if _is_exact(event)]
    facts = expected(master)
    by_id = {event.id: event for event in stored}
    missing = Counter(fact.type for id_, fact in facts.items() if id_ not in by_id)
    missing -= Counter({type_: missing[type_] for type_ in without})
    assert not missing, f"not published: {dict(missing)}"
    strange = [(event.type, event.subject) for event in stored if event.id not in facts]
    assert not strange, f"published without being in the database: {strange}"
    assert len(by_id) == len(stored), "published twice"
    for id_, fact in facts.items():
        if id_ not in by_id:
            continue
        assert by_id[id_].type == fact.type
        if fact.outcome is not None:
            assert by_id[id_].data["outcome"] == fact.outcome, by_id[id_]
    if not late:
        assert_in_order(stored)


def _is_exact(event: Event) -> bool:
    counted_only = event.type == "test.run.finished.v1" and event.data["test_result_setid"] is None
    return not (counted_only or event.type.startswith(BEST_EFFORT))


def assert_in_order(stored: Sequence[Event]) -> None:
    """The order of each build: it starts before all of its steps, each of which starts before it ends; then it ends."""
    started, ended, steps = set(), set(), set()
    submitted = set()
    for event in stored:
        data = event.data
        if event.type == "build.request.submitted.v1":
            submitted.add(data["buildrequestid"])
        elif event.type == "build.started.v1":
            assert data["buildrequestid"] in submitted, event
            started.add(data["buildid"])
        elif event.type == "build.finished.v1":
            assert data["buildid"] in started, event
            ended.add(data["buildid"])
        elif event.type.startswith(("build.step.", "build.log.", "test.")):
            assert data["buildid"] in started, event
            if event.type.startswith("build.step."):
                assert data["buildid"] not in ended, event
            if event.type == "build.step.started.v1":
                steps.add(data["stepid"])
            else:
                assert data["stepid"] in steps or data["stepid"] is None or event.data["recovered"], event
