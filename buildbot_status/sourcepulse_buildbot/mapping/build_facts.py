# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The facts of a build, a step and a buildset that the messages about them do not contain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sourcepulse_buildbot.mapping.rows import Row, seconds_of

#: Nested values are published to this depth; users who may request a build can nest deeper than Python can recurse.
PROPERTY_DEPTH = 8
#: The members of a sourcestamp that events contain; the first three are never null.
_SOURCESTAMP_TEXTS = ("codebase", "repository", "project")
#: Buildbot's tag for virtual builders; by mistake, it also adds it to the tags of their configured builder.
_VIRTUAL_TAG = "_virtual_"


class BuildRef(NamedTuple):
    """How events identify a build.

    A database may reuse its id, so `started_at`, in seconds since 1970, is part of the identity.
    """

    buildid: int
    number: int
    builderid: int
    buildername: str
    started_at: int

    @classmethod
    def of(cls, build: Row, buildername: str) -> BuildRef:
        started_at = seconds_of(build["started_at"])
        return cls(build["buildid"], build["number"], build["builderid"], buildername, started_at or 0)

    def key(self, number: int) -> list[str]:
        """Return the natural key of a row of this build."""
        return [str(number), str(self.started_at)]

    def members(self) -> dict[str, Any]:
        """Return the members that every event of a build has."""
        return {
            "buildid": self.buildid,
            "buildnumber": self.number,
            "builderid": self.builderid,
            "buildername": self.buildername,
        }

    @property
    def subject(self) -> str:
        return f"builder/{self.buildername}/builds/{self.number}"

    @property
    def page(self) -> str:
        """Its page in Buildbot's web interface."""
        return f"builders/{self.builderid}/builds/{self.number}"


class StepRef(NamedTuple):
    """How events identify a step."""

    stepid: int
    buildid: int
    number: int
    name: str

    @classmethod
    def of(cls, step: Row) -> StepRef:
        return cls(step["stepid"], step["buildid"], step["number"], step["name"])

    def members(self) -> dict[str, Any]:
        """Return the members that every event of a step has."""
        return {"stepid": self.stepid, "number": self.number, "name": self.name}


class BuilderFacts(NamedTuple):
    """A builder; `virtual_name` and `virtual_tags` are those under which its configuration shows all of its builds."""

    name: str
    tags: tuple[str, ...] = ()
    description: str | None = None
    virtual_name: str | None = None
    virtual_tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, row: Row) -> BuilderFacts:
        """Return a builder as Buildbot's database has it: a virtual one, or one that is no longer configured."""
        return cls(row["name"], plain_tags(row.get("tags")), row.get("description") or None)


class BuildsetFacts(NamedTuple):
    """The facts that a buildset's requests and builds share; `properties` holds those that events may need."""

    bsid: int
    reason: str
    parent_buildid: int | None
    rebuilt_buildid: int | None
    sourcestamps: Sequence[Mapping[str, Any]]
    properties: Mapping[str, Any]
    #: The changes that its sourcestamps were made of.
    changes: Sequence[Mapping[str, Any]] = ()

    @property
    def scheduler(self) -> str | None:
        return text_or_none(self.properties.get("scheduler"))


class BuildContext(NamedTuple):
    """What events of a build contain beside its row.

    `builder` is the configured one, even if the build has a virtual one. `changes` are those since the
    last successful build of the builder, as far as Buildbot knows them.
    """

    workername: str | None
    buildset: BuildsetFacts
    properties: Mapping[str, Any]
    builder: BuilderFacts
    changes: Sequence[Mapping[str, Any]] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the builder under which the build is shown."""
        virtual = plain_tags(self.properties.get("virtual_builder_tags"))
        return virtual if virtual and self._is_virtual else self.builder.tags

    @property
    def description(self) -> str | None:
        """The description of that builder."""
        virtual = text_or_none(self.properties.get("virtual_builder_description"))
        return virtual if virtual and self._is_virtual else self.builder.description

    @property
    def _is_virtual(self) -> bool:
        return text_or_none(self.properties.get("virtual_builder_name")) is not None


def sourcestamps_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return sourcestamps as events have them: without the patch, which can be large and private.

    They are sorted by codebase, because Buildbot has no order of them. One that is gone from its database is left out.
    """
    return [
        {name: row.get(name) or "" for name in _SOURCESTAMP_TEXTS}
        | {"branch": row.get("branch"), "revision": row.get("revision")}
        for row in sorted(filter(None, rows), key=lambda row: str(row.get("codebase") or ""))
    ]


def changes_of(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the changes of a build as events have them, the oldest first."""
    found = {row["changeid"]: row for row in rows}
    return [{"changeid": number, "revision": found[number].get("revision")} for number in sorted(found)]


def property_values(properties: Mapping[str, Sequence[Any]], wanted: frozenset[str]) -> dict[str, Any]:
    """Return copies of the wanted properties from the data API's form, name to (value, source)."""
    return {name: copy_of(properties[name][0]) for name in wanted if name in properties}


def copy_of(value: Any, depth: int = PROPERTY_DEPTH) -> Any:
    """Copy the value of a property, because it may be changed later; what is deeper than `depth` becomes None."""
    if depth == 0:
        return None
    if isinstance(value, dict):
        return {name: copy_of(item, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [copy_of(item, depth - 1) for item in value]
    return value


def revision_of(properties: Mapping[str, Any], sourcestamps: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the revision that was built, else the one that was requested; of several codebases that of the first.

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


def plain_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags that are texts, without the one that Buildbot adds."""
    if not isinstance(tags, list | tuple):
        return ()
    return tuple(tag for tag in tags if isinstance(tag, str) and tag != _VIRTUAL_TAG)


def text_or_none(value: Any) -> str | None:
    """Return a property if it is a text; None if it is missing or something else."""
    return value if isinstance(value, str) else None
