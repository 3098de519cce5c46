# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is known of a build, a step and a buildset beside the message that tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse_buildbot.live.builders import BuilderFacts, plain_tags
from sourcepulse_buildbot.mapping.rows import Row, seconds_of

#: Lists in lists are told so deep; anybody who may request a build may make them deeper than Python can follow.
PROPERTY_DEPTH = 8
#: What events tell of a sourcestamp; the first three are never null.
_SOURCESTAMP_TEXTS = ("codebase", "repository", "project")


class BuildRef(NamedTuple):
    """How events name a build.

    A database may give its id out again, so `started_at`, in seconds since 1970, belongs to it.
    """

    buildid: int
    number: int
    builderid: int
    buildername: str
    started_at: int

    @classmethod
    def of(cls, build: Row, buildername: str) -> BuildRef:
        """Return the name of the build of this row."""
        started_at = seconds_of(build["started_at"])
        return cls(build["buildid"], build["number"], build["builderid"], buildername, started_at or 0)

    def key(self, number: int) -> list[str]:
        """Return the natural key of a row of this build."""
        return [str(number), str(self.started_at)]

    def members(self) -> dict[str, Any]:
        """Return what every event of a build tells of it."""
        return {
            "buildid": self.buildid,
            "buildnumber": self.number,
            "builderid": self.builderid,
            "buildername": self.buildername,
        }

    @property
    def subject(self) -> str:
        """The subject of its events."""
        return f"builder/{self.buildername}/builds/{self.number}"

    @property
    def page(self) -> str:
        """Its page in Buildbot's web interface."""
        return f"builders/{self.builderid}/builds/{self.number}"


class StepRef(NamedTuple):
    """How events name a step."""

    stepid: int
    buildid: int
    number: int
    name: str

    @classmethod
    def of(cls, step: Row) -> StepRef:
        """Return the name of the step of this row."""
        return cls(step["stepid"], step["buildid"], step["number"], step["name"])


class BuildsetFacts(NamedTuple):
    """What a buildset tells of its requests and builds; `properties` holds those that events may need."""

    bsid: int
    reason: str
    parent_buildid: int | None
    rebuilt_buildid: int | None
    sourcestamps: Sequence[Mapping[str, Any]]
    properties: Mapping[str, Any]
    #: Those that its sourcestamps were made of.
    changes: Sequence[Mapping[str, Any]] = ()

    @property
    def scheduler(self) -> str | None:
        """The scheduler that made it."""
        return text_or_none(self.properties.get("scheduler"))


class BuildContext(NamedTuple):
    """What events of a build say beside its row.

    `builder` is the configured one, also where the build has a virtual one. `changes` are those since the
    last successful build of the builder, as far as Buildbot knows them.
    """

    workername: str | None
    buildset: BuildsetFacts
    properties: Mapping[str, Any]
    builder: BuilderFacts
    changes: Sequence[Mapping[str, Any]] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the builder that the build is shown under."""
        virtual = plain_tags(self.properties.get("virtual_builder_tags"))
        return virtual if virtual and self._is_virtual else self.builder.tags

    @property
    def description(self) -> str | None:
        """What that builder is for."""
        virtual = text_or_none(self.properties.get("virtual_builder_description"))
        return virtual if virtual and self._is_virtual else self.builder.description

    @property
    def _is_virtual(self) -> bool:
        return text_or_none(self.properties.get("virtual_builder_name")) is not None


def sourcestamps_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return what events tell of sourcestamps: no patch, which can be large and private.

    They come by codebase; Buildbot itself has no order of them. One that was removed from its database is left out.
    """
    return [
        {name: row.get(name) or "" for name in _SOURCESTAMP_TEXTS}
        | {"branch": row.get("branch"), "revision": row.get("revision")}
        for row in sorted(filter(None, rows), key=lambda row: str(row.get("codebase") or ""))
    ]


def changes_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return what events say of the changes in a build, the oldest first."""
    found = {row["changeid"]: row for row in rows}
    return [{"changeid": number, "revision": found[number].get("revision")} for number in sorted(found)]


def property_values(properties: Mapping[str, Sequence[Any]], wanted: frozenset[str]) -> dict[str, Any]:
    """Return copies of the wanted properties from the data API's form, name to (value, source)."""
    return {name: copy_of(properties[name][0]) for name in wanted if name in properties}


def copy_of(value: Any, depth: int = PROPERTY_DEPTH) -> Any:
    """Copy the value of a property, for it may be changed later; what is deeper than `depth` becomes None."""
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {name: copy_of(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [copy_of(item, depth - 1) for item in value]
    return value


def revision_of(properties: Mapping[str, Any], sourcestamps: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the revision that was built, or else asked for; of several codebases that of the first.

    Buildbot's `got_revision` is a text, or a dictionary by codebase in a build that has codebases.
    """
    got = properties.get("got_revision")
    if isinstance(got, Mapping):
        known = {str(codebase): value for codebase, value in got.items() if isinstance(value, str) and value}
        wanted = [stamp["codebase"] for stamp in sourcestamps if stamp["codebase"] in known] or sorted(known)
        got = known[wanted[0]] if wanted else None
    if isinstance(got, str) and got:
        return got
    return next((stamp["revision"] for stamp in sourcestamps if stamp["revision"]), None)


def text_or_none(value: Any) -> str | None:
    """Return a property that is a text; None for one that is missing or something else."""
    return value if isinstance(value, str) else None
