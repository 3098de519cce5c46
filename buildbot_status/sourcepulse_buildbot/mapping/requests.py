# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of a build request and of a buildset from their rows."""

from __future__ import annotations

from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.build_facts import BuilderFacts, BuildsetFacts, sourcestamps_of
from sourcepulse_buildbot.mapping.builds import normalized, published
from sourcepulse_buildbot.mapping.emitter import Emitter, make_event
from sourcepulse_buildbot.mapping.rows import Row, outcome_of, results_of, seconds_of, time_of

SUBMITTED = "build.request.submitted.v1"
COMPLETED = "build.request.completed.v1"
BUILDSET_COMPLETED = "build.buildset.completed.v1"


def request_key(request: Row) -> list[str]:
    return [str(request["buildrequestid"]), str(seconds_of(request["submitted_at"]))]


def buildset_key(buildset: Row) -> list[str]:
    return [str(buildset["bsid"]), str(seconds_of(buildset["submitted_at"]))]


def request_submitted(
    emitter: Emitter, *, request: Row, builder: BuilderFacts, buildset: BuildsetFacts, recovered: bool = False
) -> Event:
    return make_event(
        emitter,
        SUBMITTED,
        {
            "buildrequestid": request["buildrequestid"],
            "buildsetid": request["buildsetid"],
            "builderid": request["builderid"],
            "buildername": builder.name,
            "tags": list(builder.tags),
            "description": builder.description,
            "priority": request["priority"] or 0,
            "submitted_at": time_of(request["submitted_at"]),
            "waited_for": bool(request["waited_for"]),
            "reason": buildset.reason,
            "scheduler": buildset.scheduler,
            "parent_buildid": buildset.parent_buildid,
            "sourcestamps": buildset.sourcestamps,
            "changes": list(buildset.changes),
            "properties": published(emitter, buildset.properties),
            "normalized": normalized(emitter, buildset.properties, buildset.sourcestamps),
            "url": emitter.page(f"buildrequests/{request['buildrequestid']}"),
        },
        key=request_key(request),
        subject=f"buildrequest/{request['buildrequestid']}",
        time=seconds_of(request["submitted_at"]) or 0,
        words=[builder.name],
        recovered=recovered,
    )


def request_completed(
    emitter: Emitter,
    *,
    request: Row,
    buildername: str,
    buildset: BuildsetFacts,
    buildid: int | None,
    collapsed_into: int | None,
    recovered: bool = False,
) -> Event:
    """Return the event that a request reached its end; `buildid` is its last build, if there was one."""
    results = results_of(request["results"])
    return make_event(
        emitter,
        COMPLETED,
        {
            "buildrequestid": request["buildrequestid"],
            "buildsetid": request["buildsetid"],
            "builderid": request["builderid"],
            "buildername": buildername,
            "submitted_at": time_of(request["submitted_at"]),
            "claimed_at": time_of(request["claimed_at"]),
            "complete_at": time_of(request["complete_at"]),
            "results": results,
            "outcome": outcome_of(results),
            "buildid": buildid,
            "collapsed_into": collapsed_into,
            "sourcestamps": buildset.sourcestamps,
            "normalized": normalized(emitter, buildset.properties, buildset.sourcestamps),
        },
        key=request_key(request),
        subject=f"buildrequest/{request['buildrequestid']}",
        time=seconds_of(request["complete_at"]) or 0,
        words=[outcome_of(results), buildername],
        recovered=recovered,
    )


def buildset_completed(emitter: Emitter, *, buildset: Row, recovered: bool = False) -> Event:
    """Return the event that all requests of a buildset completed."""
    results = results_of(buildset["results"])
    return make_event(
        emitter,
        BUILDSET_COMPLETED,
        {
            "bsid": buildset["bsid"],
            "reason": buildset["reason"] or "",
            "external_idstring": buildset["external_idstring"],
            "submitted_at": time_of(buildset["submitted_at"]),
            "complete_at": time_of(buildset["complete_at"]),
            "results": results,
            "outcome": outcome_of(results),
            "sourcestamps": sourcestamps_of(buildset["sourcestamps"]),
        },
        key=buildset_key(buildset),
        subject=f"buildset/{buildset['bsid']}",
        time=seconds_of(buildset["complete_at"]) or 0,
        words=[outcome_of(results)],
        recovered=recovered,
    )
