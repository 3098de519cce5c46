# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the events of a build from its row: started, finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse_buildbot.mapping.build_facts import BuildContext, BuildRef, revision_of
from sourcepulse_buildbot.mapping.emitter import NORMALIZED_NAMES, Emitter, make_event
from sourcepulse_buildbot.mapping.rows import UNKNOWN, Row, outcome_of, results_of, seconds_of, time_of

STARTED = "build.started.v1"
FINISHED = "build.finished.v1"

#: The properties that events are made of, whether or not they may be published.
NEEDED_PROPERTIES = frozenset(
    {
        "got_revision",
        "owner",
        "owners",
        "scheduler",
        "virtual_builder_description",
        "virtual_builder_name",
        "virtual_builder_tags",
    }
)


def build_started(
    emitter: Emitter, *, ref: BuildRef, build: Row, context: BuildContext, recovered: bool = False
) -> Event:
    return make_event(
        emitter,
        STARTED,
        _members(emitter, ref, build, context),
        key=ref.key(ref.buildid),
        subject=ref.subject,
        time=ref.started_at,
        words=[ref.buildername],
        recovered=recovered,
    )


def build_finished(
    emitter: Emitter, *, ref: BuildRef, build: Row, context: BuildContext, recovered: bool = False
) -> Event:
    """Return the event that a build finished, with all members of its start."""
    results = results_of(build["results"])
    return make_event(
        emitter,
        FINISHED,
        _members(emitter, ref, build, context)
        | {
            "complete_at": time_of(build["complete_at"]),
            "state_string": build["state_string"] or "",
            "results": results,
            "outcome": outcome_of(results),
            "locks_duration_s": build.get("locks_duration_s") or 0,
        },
        key=ref.key(ref.buildid),
        subject=ref.subject,
        time=seconds_of(build["complete_at"]) or ref.started_at,
        words=[outcome_of(results), ref.buildername],
        recovered=recovered,
    )


def _members(emitter: Emitter, ref: BuildRef, build: Row, context: BuildContext) -> dict[str, Any]:
    buildset, properties = context.buildset, context.properties
    return {
        **ref.members(),
        "real_buildername": context.builder.name,
        "tags": list(context.tags),
        "description": context.description,
        "buildrequestid": build["buildrequestid"],
        "buildsetid": buildset.bsid,
        "workerid": build["workerid"],
        "workername": context.workername,
        "started_at": time_of(ref.started_at),
        "reason": buildset.reason,
        "scheduler": buildset.scheduler,
        "owners": _owners(properties),
        "parent_buildid": buildset.parent_buildid,
        "rebuilt_buildid": buildset.rebuilt_buildid,
        "sourcestamps": buildset.sourcestamps,
        "changes": list(context.changes),
        "revision": revision_of(properties, buildset.sourcestamps),
        "properties": published(emitter, properties),
        "normalized": normalized(emitter, properties, buildset.sourcestamps),
        "url": emitter.page(ref.page),
    }


def published(emitter: Emitter, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that may be published."""
    return {
        name: emitter.redactor.property(name, value)
        for name, value in sorted(properties.items())
        if name in emitter.properties
    }


def _owners(properties: Mapping[str, Any]) -> list[str]:
    owners = properties.get("owners")
    if not isinstance(owners, list | tuple):
        owners = [properties.get("owner")]
    return [owner for owner in owners if isinstance(owner, str) and owner]


def normalized(
    emitter: Emitter, properties: Mapping[str, Any], sourcestamps: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """Return the configured properties under the names that are the same for all masters."""
    return {name: _first_of(emitter.normalized.get(name, ()), properties, sourcestamps) for name in NORMALIZED_NAMES}


def _first_of(names: Sequence[str], properties: Mapping[str, Any], sourcestamps: Sequence[Mapping[str, Any]]) -> str:
    for name in names:
        value = properties.get(name)
        if isinstance(value, Mapping) and name == "got_revision":
            # A build with codebases has a value for each.
            value = revision_of(properties, sourcestamps)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != "":
            return str(value)
    return UNKNOWN
