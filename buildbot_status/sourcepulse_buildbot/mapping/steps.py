# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of a step from its row: started, finished, one of its logs complete."""

from __future__ import annotations

from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.build_facts import BuildRef, StepRef
from sourcepulse_buildbot.mapping.emitter import Emitter, make_event
from sourcepulse_buildbot.mapping.rows import Row, outcome_of, results_of, seconds_of, time_of

STEP_STARTED = "build.step.started.v1"
STEP_FINISHED = "build.step.finished.v1"
LOG_FINISHED = "build.log.finished.v1"


def step_started(emitter: Emitter, *, ref: BuildRef, step: Row, recovered: bool = False) -> Event:
    """Return the event that a step of a build started."""
    started_at = seconds_of(step["started_at"]) or ref.started_at
    return make_event(
        emitter,
        STEP_STARTED,
        {
            **ref.members(),
            **StepRef.of(step).members(),
            "started_at": time_of(started_at),
            "hidden": bool(step["hidden"]),
        },
        key=ref.key(step["stepid"]),
        subject=ref.subject,
        time=started_at,
        words=[ref.buildername],
        recovered=recovered,
    )


def step_finished(emitter: Emitter, *, ref: BuildRef, step: Row, recovered: bool = False) -> Event:
    """Return the event that a step of a build finished; a step that was cancelled before it began has no start."""
    results = results_of(step["results"])
    complete_at = seconds_of(step["complete_at"]) or ref.started_at
    return make_event(
        emitter,
        STEP_FINISHED,
        {
            **ref.members(),
            **StepRef.of(step).members(),
            "started_at": time_of(step["started_at"]),
            "complete_at": time_of(complete_at),
            "state_string": step["state_string"] or "",
            "results": results,
            "outcome": outcome_of(results),
            "urls": [{"name": link["name"], "url": link["url"]} for link in step["urls"]],
            "hidden": bool(step["hidden"]),
        },
        key=ref.key(step["stepid"]),
        subject=ref.subject,
        time=complete_at,
        words=[outcome_of(results), ref.buildername],
        recovered=recovered,
    )


def log_finished(
    emitter: Emitter, *, ref: BuildRef, step: StepRef, log: Row, time: float, tail: str | None, recovered: bool = False
) -> Event:
    """Return the event that a log of a step is complete; the caller passes the time, which Buildbot does not store."""
    return make_event(
        emitter,
        LOG_FINISHED,
        {
            **ref.members(),
            **step.members(),
            "logid": log["logid"],
            "slug": log["slug"],
            "type": log["type"],
            "num_lines": log["num_lines"],
            "url": emitter.page(f"{ref.page}/steps/{step.number}/logs/{log['slug']}"),
            "raw_url": emitter.file(f"api/v2/logs/{log['logid']}/raw"),
            "tail": tail,
        },
        key=ref.key(log["logid"]),
        subject=ref.subject,
        time=time,
        words=[ref.buildername],
        recovered=recovered,
    )
