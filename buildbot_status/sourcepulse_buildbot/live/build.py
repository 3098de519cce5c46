# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read from a running build of this master what its rows do not hold, without a call to the database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from sourcepulse_buildbot.live.builders import BuilderFacts, configured
from sourcepulse_buildbot.mapping.build_facts import copy_of
from sourcepulse_buildbot.mapping.rows import Row


class LiveBuilds:
    """The running builds of a master; none of the attributes used here is part of Buildbot's documented interface.

    Each lookup may therefore find nothing; the caller then asks the data API. A build that was found once is found as
    long as it runs: it may outlive its builder, which a reconfig can remove, and it continues to use secrets.
    """

    def __init__(self, botmaster: Any) -> None:
        self._botmaster = botmaster
        self._seen: WeakValueDictionary[int, Any] = WeakValueDictionary()

    @property
    def botmaster(self) -> Any:
        """The bot master, which holds the configured builders."""
        return self._botmaster

    def find(self, buildid: int) -> Any | None:
        """Return the running build of this id."""
        try:
            for builder in self._botmaster.builders.values():
                for build in builder.building:
                    if build.buildid == buildid:
                        self._seen[buildid] = build
                        return build
        except (AttributeError, TypeError):
            pass
        return self._seen.get(buildid)

    def remember(self, others: LiveBuilds) -> None:
        """Also find the builds that `others` found."""
        self._seen.update(others._seen)

    def running(self) -> bool:
        """Return whether a build is running on this master now."""
        try:
            return any(builder.building for builder in self._botmaster.builders.values())
        except (AttributeError, TypeError):
            return False


def buildset_of(build: Any | None) -> int | None:
    """Return the buildset that requested a running build."""
    try:
        return None if build is None else int(build.requests[0].bsid)
    except (AttributeError, IndexError, TypeError):
        return None


def properties_of(build: Any | None, wanted: frozenset[str]) -> dict[str, Any] | None:
    """Return copies of the wanted properties of a running build."""
    try:
        if build is None:
            return None
        properties = build.properties.properties
        return {name: copy_of(properties[name][0]) for name in wanted if name in properties}
    except (AttributeError, IndexError, TypeError):
        return None


def builder_of(build: Any | None, botmaster: Any) -> BuilderFacts | None:
    """Return the configured builder of a running build, which may also have a virtual one."""
    try:
        return None if build is None else configured(botmaster, build.builder.name)
    except AttributeError:
        return None


def owners_of(build: Any | None) -> list[str]:
    """Return the users to blame for a running build; Buildbot sets the property only after it announced the build."""
    try:
        if build is None:
            return []
        owners = set(build.blamelist())
        owners.update(request.properties["owner"] for request in build.requests if "owner" in request.properties)
        return sorted(owner for owner in owners if isinstance(owner, str))
    except (AttributeError, KeyError, TypeError):
        return []


def slots_of(botmaster: Any, workername: str) -> int | None:
    """Return how many builds a worker may run at a time; None if that is unlimited or unknown."""
    try:
        slots = botmaster.master.workers.workers[workername].max_builds
    except (AttributeError, KeyError, TypeError):
        return None
    return slots if isinstance(slots, int) else None


def secrets_of(build: Any | None) -> Mapping[str, str]:
    """Return the secrets that a running build has used so far: their names, in angle brackets, by value."""
    try:
        used = {} if build is None else build.properties._used_secrets
        return {text_of_secret(secret): name for secret, name in used.items()}
    except AttributeError:
        return {}


def text_of_secret(secret: object) -> str:
    """Return a secret as it appears in a build's output; a provider may return bytes, which Buildbot leaves as is."""
    return secret.decode("utf-8", "backslashreplace") if isinstance(secret, bytes) else str(secret)


def statistics_of(build: Any | None, step: Row) -> dict[str, int]:
    """Return the statistics that a step of a running build has counted."""
    try:
        if build is not None:
            for executed in build.executedSteps:
                if executed.stepid == step["stepid"]:
                    return dict(executed.getStatistics())
    except (AttributeError, TypeError):
        pass
    return {}
