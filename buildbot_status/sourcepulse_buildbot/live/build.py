# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read from a running build of this master what its rows do not hold, without a call to the database.

None of the attributes that are read here is part of Buildbot's documented interface. What cannot be read is None or
empty, and the caller then asks the data API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from sourcepulse_buildbot.mapping.build_facts import BuilderFacts, copy_of, plain_tags, text_or_none
from sourcepulse_buildbot.mapping.rows import Row

_Value = TypeVar("_Value")


class LiveBuild(NamedTuple):
    """What is known of a running build: the id of its buildset, copies of its properties, its configured builder."""

    bsid: int | None = None
    properties: dict[str, Any] | None = None
    builder: BuilderFacts | None = None


#: A build that does not run on this master now.
NOT_LIVE = LiveBuild()


class LiveBuilds:
    """The running builds of a master; `properties` are the names of those that events may need.

    A build that was found once is found as long as it runs: it may outlive its builder, which a reconfig can remove,
    and it continues to use secrets.
    """

    def __init__(self, botmaster: Any, properties: frozenset[str]) -> None:
        self._botmaster = botmaster
        self._properties = properties
        self._seen: WeakValueDictionary[int, Any] = WeakValueDictionary()

    def remember(self, others: LiveBuilds) -> None:
        """Also find the builds that `others` found."""
        self._seen.update(others._seen)

    def running(self) -> bool:
        """Return whether a build is running on this master now."""
        return _read(lambda: any(builder.building for builder in self._botmaster.builders.values()), False)

    def look(self, buildid: int) -> LiveBuild:
        """Return what is known of a build; its own configured builder, even if it has a virtual one."""
        build = self._find(buildid)
        return LiveBuild(
            _read(lambda: int(build.requests[0].bsid), None),
            self._properties_of(build),
            _read(lambda: configured_builder(self._botmaster, build.builder.name), None),
        )

    def got_revision(self, buildid: int) -> dict[str, Any]:
        """Return the property that has the revision of a build as its steps know it by now; empty if there is none."""
        return _copies_of(self._find(buildid), frozenset({"got_revision"})) or {}

    def secrets(self, buildid: int) -> Mapping[str, str]:
        """Return the secrets that a build has used so far: their names, in angle brackets, by value."""
        return secrets_of(self._find(buildid))

    def statistics(self, step: Row) -> dict[str, int]:
        """Return the statistics that a step has counted."""
        build = self._find(step["buildid"])

        def statistics() -> dict[str, int]:
            (executed,) = [each for each in build.executedSteps if each.stepid == step["stepid"]]
            return dict(executed.getStatistics())

        return _read(statistics, {})

    def slots(self, workername: str) -> int | None:
        """Return how many builds a worker may run at a time; None if that is unlimited or unknown."""
        slots = _read(lambda: self._botmaster.master.workers.workers[workername].max_builds, None)
        return slots if isinstance(slots, int) else None

    def _find(self, buildid: int) -> Any:
        try:
            for builder in self._botmaster.builders.values():
                for build in builder.building:
                    if build.buildid == buildid:
                        self._seen[buildid] = build
                        return build
        except (AttributeError, TypeError):
            pass
        return self._seen.get(buildid)

    def _properties_of(self, build: Any) -> dict[str, Any] | None:
        properties = _copies_of(build, self._properties)
        # Buildbot sets the property only after it announced the build.
        if properties is not None and "owners" not in properties and (owners := _owners_of(build)):
            properties["owners"] = owners
        return properties


def configured_builder(botmaster: Any, name: str) -> BuilderFacts | None:
    """Return the configuration of a builder; None if this master does not have it."""

    def read() -> BuilderFacts:
        config = botmaster.builders[name].config
        properties = config.properties or {}
        return BuilderFacts(
            name,
            plain_tags(config.tags),
            config.description or None,
            text_or_none(properties.get("virtual_builder_name")),
            plain_tags(properties.get("virtual_builder_tags")),
        )

    return _read(read, None)


def secrets_of(build: Any) -> Mapping[str, str]:
    """Return the secrets that a running build has used so far: their names, in angle brackets, by value."""
    used: dict[object, str] = _read(lambda: dict(build.properties._used_secrets), {})
    return {text_of_secret(secret): name for secret, name in used.items()}


def text_of_secret(secret: object) -> str:
    """Return a secret as it appears in a build's output; a provider may return bytes, which Buildbot leaves as is."""
    return secret.decode("utf-8", "backslashreplace") if isinstance(secret, bytes) else str(secret)


def _copies_of(build: Any, wanted: frozenset[str]) -> dict[str, Any] | None:
    properties = _read(lambda: build.properties.properties, None)
    return _read(lambda: {name: copy_of(properties[name][0]) for name in wanted if name in properties}, None)


def _owners_of(build: Any) -> list[str]:
    """Return the users to blame for a running build."""

    def owners() -> list[str]:
        asked = [request.properties for request in build.requests]
        found = {*build.blamelist(), *(properties["owner"] for properties in asked if "owner" in properties)}
        return sorted(owner for owner in found if isinstance(owner, str))

    return _read(owners, [])


def _read(read: Callable[[], _Value], otherwise: _Value) -> _Value:
    try:
        return read()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return otherwise
