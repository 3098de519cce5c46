# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every type of event of Buildbot comes out of its rows as it was recorded, with its id and every byte."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sourcepulse.catalogue import known_types
from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.build_facts import (
    BuildContext,
    BuilderFacts,
    BuildRef,
    BuildsetFacts,
    StepRef,
    sourcestamps_of,
)
from sourcepulse_buildbot.mapping.builds import build_finished, build_started
from sourcepulse_buildbot.mapping.changes import change_added
from sourcepulse_buildbot.mapping.emitter import Emitter
from sourcepulse_buildbot.mapping.redaction import Redactor
from sourcepulse_buildbot.mapping.requests import buildset_completed, request_completed, request_submitted
from sourcepulse_buildbot.mapping.steps import log_finished, step_finished, step_started
from sourcepulse_buildbot.mapping.tests import RunOf, Wanted, run_finished, statistics_finished
from sourcepulse_buildbot.mapping.workers import master_event, worker_event
from sourcepulse_buildbot.recovery.stored_tests import StoredTests
from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED
from sourcepulse_buildbot.test_reports.cases import TestCase as Case
from sourcepulse_buildbot.test_reports.result_sets import result_sets
from support.events.recorded import assert_as_recorded, recorded_types

RECORD = "buildbot"
BEGIN = datetime(2026, 11, 22, 10, 59, 30, tzinfo=UTC)
END = datetime(2026, 11, 22, 11, 7, 5, tzinfo=UTC)
REVISION = "1f0c5a2be9d04b7f83c6a7702be4d9135fa86c3e"
SECRET = "hunter2hunter2"
SOURCESTAMP = {
    "codebase": "",
    "repository": f"https://user:{SECRET}@hg.example.org/integration/inbound",
    "project": "core",
    "branch": "default",
    "revision": REVISION,
    "patch": "never published",
}
PROPERTIES: dict[str, Any] = {
    "got_revision": REVISION,
    "owners": ["alice"],
    "scheduler": "inbound",
    "platform": "linux64",
    "not_allowed": SECRET,
}


def _emitter() -> Emitter:
    redactor = Redactor()
    redactor.learn([SECRET])
    return Emitter(
        "buildbot://ci",
        "buildbot://ci",
        "https://ci.example.org/",
        redactor,
        properties=frozenset({"got_revision", "platform"}),
        normalized={"platform": ["platform"], "revision": ["got_revision"]},
    )


def _events(emitter: Emitter) -> Iterator[Event]:
    change = {
        "changeid": 8110,
        "author": "Jörg <joerg@example.org>",
        "committer": None,
        "comments": "Bug 1234 - handle empty input",
        "branch": "default",
        "revision": REVISION,
        "revlink": None,
        "when_timestamp": BEGIN,
        "category": None,
        "repository": "https://hg.example.org/integration/inbound",
        "codebase": "",
        "project": "core",
        "files": ["src/parse.c"],
        "properties": {"platform": ("linux64", "Change"), "not_allowed": (SECRET, "Change")},
    }
    yield change_added(emitter, change=change)
    builder = BuilderFacts("linux64", ("nightly",), "Debian 12, 64 bit")
    changes = [{"changeid": 8110, "revision": REVISION}]
    buildset = BuildsetFacts(
        4410, f"scheduler inbound {SECRET}", None, None, sourcestamps_of([SOURCESTAMP]), PROPERTIES, changes
    )
    request = {
        "buildrequestid": 6120,
        "buildsetid": 4410,
        "builderid": 3,
        "priority": 0,
        "submitted_at": BEGIN,
        "claimed_at": BEGIN,
        "complete_at": END,
        "waited_for": False,
        "results": 2,
    }
    yield request_submitted(emitter, request=request, builder=builder, buildset=buildset)
    build = {
        "buildid": 5731,
        "number": 57,
        "builderid": 3,
        "buildrequestid": 6120,
        "workerid": 12,
        "started_at": BEGIN,
        "complete_at": END,
        "state_string": "failed tests (failure)",
        "results": 2,
        "locks_duration_s": 4,
    }
    ref = BuildRef.of(build, "linux64")
    context = BuildContext("w12", buildset, PROPERTIES, builder, changes)
    step = {
        "stepid": 90,
        "buildid": 5731,
        "number": 2,
        "name": "tests",
        "started_at": BEGIN,
        "complete_at": END,
        "state_string": "failed",
        "results": 2,
        "urls": [{"name": "report", "url": f"https://example.org/?token={SECRET}"}],
        "hidden": False,
    }
    log = {"logid": 700, "slug": "stdio", "type": "s", "num_lines": 12}
    yield build_started(emitter, ref=ref, build=build, context=context)
    yield step_started(emitter, ref=ref, step=step)
    yield log_finished(emitter, ref=ref, step=StepRef.of(step), log=log, time=END.timestamp(), tail="1 failed\n")
    yield from _tests(emitter, RunOf(ref, 90, "tests", REVISION))
    yield step_finished(emitter, ref=ref, step=step)
    yield build_finished(emitter, ref=ref, build=build, context=context, recovered=True)
    yield request_completed(
        emitter, request=request, buildername="linux64", buildset=buildset, buildid=5731, collapsed_into=None
    )
    done = {
        "bsid": 4410,
        "reason": "scheduler inbound",
        "external_idstring": None,
        "submitted_at": BEGIN,
        "complete_at": END,
        "results": 2,
        "sourcestamps": [SOURCESTAMP],
    }
    yield buildset_completed(emitter, buildset=done)
    worker = {"workerid": 12, "name": "w12", "pause_reason": "disk", "max_builds": 2, "paused": True, "graceful": False}
    for state in ("connected", "disconnected", "missing", "paused", "unpaused"):
        yield worker_event(emitter, state, worker=worker, masterid=1, time=END.timestamp())
    for state in ("started", "stopped"):
        yield master_event(emitter, state, masterid=1, name="ci.example.org", time=END.timestamp())


def _tests(emitter: Emitter, run: RunOf) -> Iterator[Event]:
    cases = [
        Case("passes", PASSED, code_path="t/a.py", line=3, duration_ns=4_000_000),
        Case("fails", FAILED, message="1 != 2"),
        Case("breaks", ERROR, message=f"no {SECRET}"),
        Case("waits", SKIPPED, message="not today"),
        Case("flickers", PASSED, message="it failed first", attempts=2),
    ]
    rows: dict[str, list[dict[str, Any]]] = {}
    number = 0
    for each in result_sets(cases, problems=["the report broke off"], notes=["one byte was replaced"]):
        for result in each.results:
            number += 1
            row = {"test_resultid": number, "test_result_setid": 30, "line": None, "duration_ns": None} | dict(result)
            rows.setdefault(each.category, []).append({"test_code_path": None} | row)
    test_set = {
        "test_result_setid": 30,
        "description": "unit",
        "category": "pass_fail",
        "value_unit": "boolean",
        "tests_passed": 2,
        "tests_failed": 2,
    }
    results = rows.pop("pass_fail")
    wanted = Wanted(frozenset({"passed", "failed", "skipped"}))
    yield from run_finished(
        emitter, run=run, tests=StoredTests(test_set, results, rows), wanted=wanted, time=END.timestamp()
    )
    totals = {"tests-total": 4, "tests-passed": 3, "tests-failed": 1, "tests-skipped": 0}
    yield statistics_finished(emitter, run=run, statistics=totals, time=END.timestamp())


def test_events_of_buildbot_are_as_recorded_byte_for_byte() -> None:
    events = list(_events(_emitter()))
    assert_as_recorded(RECORD, events)
    assert recorded_types(RECORD) == {
        type_ for type_ in known_types() if type_.startswith(("change.", "build.", "test."))
    }
