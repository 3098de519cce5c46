# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Look up what ids stand for (names, builds, steps, buildsets): remembered from messages, or read from the data API."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from buildbot.data.resultspec import Filter

from sourcepulse_buildbot.live.build import LiveBuild, configured_builder
from sourcepulse_buildbot.mapping.build_facts import (
    BuildContext,
    BuilderFacts,
    BuildRef,
    BuildsetFacts,
    StepRef,
    changes_of,
    property_values,
    sourcestamps_of,
)
from sourcepulse_buildbot.mapping.rows import Row, seconds_of

#: How many finished builds, steps, buildsets and requests are remembered; Buildbot reports some of their logs late.
REMEMBERED = 5_000
#: Buildbot's result of a request that was collapsed.
_SKIPPED = 3

_Value = TypeVar("_Value")


class Known(NamedTuple):
    """A build that may have events, and whether they are wanted."""

    ref: BuildRef
    context: BuildContext
    wanted: bool


class Remembered(OrderedDict[int, _Value], Generic[_Value]):
    """A dictionary that forgets its oldest entries."""

    def __setitem__(self, key: int, value: _Value) -> None:
        """Remember an entry, and forget the oldest if there are too many."""
        super().__setitem__(key, value)
        if len(self) > REMEMBERED:
            self.popitem(last=False)


class Directory:
    """Looks up names and rows; an entry that is not remembered costs one or a few calls of the data API.

    `data` is the master's data connector; `properties` are those that events may need. LookupError if a row is gone.
    """

    def __init__(self, data: Any, properties: frozenset[str], botmaster: Any) -> None:
        self._data = data
        self._botmaster = botmaster
        self._properties = properties
        self._builders: dict[int, str] = {}
        self._workers: dict[int, str] = {}
        self._builds: Remembered[Known] = Remembered()
        self._steps: Remembered[StepRef] = Remembered()
        #: The last build of a request.
        self._last_builds: Remembered[int] = Remembered()
        self._buildsets: Remembered[BuildsetFacts] = Remembered()

    # -- what messages say

    def name_builder(self, builderid: int, name: str) -> None:
        self._builders[builderid] = name

    def name_worker(self, workerid: int, name: str) -> None:
        self._workers[workerid] = name

    def begin(self, known: Known, buildrequestid: int) -> None:
        """Remember a build that has begun; it is the last of its request."""
        self._builds[known.ref.buildid] = known
        self._last_builds[buildrequestid] = known.ref.buildid

    def build(self, buildid: int) -> Known | None:
        """Return a build that has begun; None if it is not remembered."""
        return self._builds.get(buildid)

    def know_step(self, step: Row) -> None:
        self._steps[step["stepid"]] = StepRef.of(step)

    def known_step(self, stepid: int) -> StepRef | None:
        """Return a step; None if it is not remembered."""
        return self._steps.get(stepid)

    # -- what the data API must be asked for if no message said it

    async def load_names(self) -> None:
        """Read all names at once, so that messages need no calls."""
        self._builders.update({row["builderid"]: row["name"] for row in await self._data.get(("builders",))})
        self._workers.update({row["workerid"]: row["name"] for row in await self._data.get(("workers",))})

    async def builder_name(self, builderid: int) -> str:
        if builderid not in self._builders:
            self._builders[builderid] = (await self._row("builders", builderid))["name"]
        return self._builders[builderid]

    async def builder(self, builderid: int) -> BuilderFacts:
        """Return the facts of a builder; they are looked up every time, because its configuration may change."""
        name = await self.builder_name(builderid)
        return configured_builder(self._botmaster, name) or BuilderFacts.of(await self._row("builders", builderid))

    async def worker_name(self, workerid: int | None) -> str | None:
        """Return the name of a worker; None for a build without one."""
        if workerid is None:
            return None
        if workerid not in self._workers:
            row = await self._data.get(("workers", workerid))
            if row is None:
                return None
            self._workers[workerid] = row["name"]
        return self._workers[workerid]

    async def buildset(self, bsid: int) -> BuildsetFacts:
        """Return the facts that a buildset's requests and builds share."""
        if bsid not in self._buildsets:
            row = await self._row("buildsets", bsid)
            properties = await self._data.get(("buildsets", bsid, "properties"))
            stamps = [stamp for stamp in row["sourcestamps"] if stamp]
            changes = [
                change
                for stamp in stamps
                for change in await self._data.get(("sourcestamps", stamp["ssid"], "changes"))
            ]
            self._buildsets[bsid] = BuildsetFacts(
                bsid=bsid,
                reason=row["reason"] or "",
                parent_buildid=row["parent_buildid"],
                rebuilt_buildid=row.get("rebuilt_buildid"),
                sourcestamps=sourcestamps_of(row["sourcestamps"]),
                properties=property_values(properties or {}, self._properties),
                changes=changes_of(changes),
            )
        return self._buildsets[bsid]

    async def context(
        self,
        build: Row,
        live: LiveBuild,
        *,
        changes: Sequence[Mapping[str, Any]] | None = None,
    ) -> BuildContext:
        """Return what events of a build need beside its row; what the live build does not show is looked up."""
        bsid, properties, builder = live
        if bsid is None or builder is None:
            request = await self._row("buildrequests", build["buildrequestid"])
            bsid, builder = request["buildsetid"], await self.builder(request["builderid"])
        if changes is None:
            changes = changes_of(await self._data.get(("builds", build["buildid"], "changes")))
        if properties is None:
            stored = await self._data.get(("builds", build["buildid"], "properties"))
            properties = property_values(stored or {}, self._properties)
        return BuildContext(
            workername=await self.worker_name(build["workerid"]),
            buildset=await self.buildset(bsid),
            properties=properties,
            builder=builder,
            changes=changes,
        )

    async def step(self, stepid: int) -> StepRef:
        if stepid not in self._steps:
            self.know_step(await self._row("steps", stepid))
        return self._steps[stepid]

    async def collapsed_into(self, request: Row) -> int | None:
        """Return the request that this one was collapsed into: the builder's newest when it ended without a build."""
        if request["results"] != _SKIPPED:
            return None
        rows = await self._data.get(
            ("buildrequests",),
            filters=[
                Filter("builderid", "eq", [request["builderid"]]),
                Filter("buildrequestid", "gt", [request["buildrequestid"]]),
                Filter("submitted_at", "le", [seconds_of(request["complete_at"]) or 0]),
            ],
        )
        return max((row["buildrequestid"] for row in rows), default=None)

    async def last_build(self, buildrequestid: int) -> int | None:
        """Return the last build of a request; None if there was none."""
        if buildrequestid not in self._last_builds:
            builds = await self._data.get(("buildrequests", buildrequestid, "builds"))
            return max((build["buildid"] for build in builds), default=None)
        return self._last_builds[buildrequestid]

    async def _row(self, table: str, number: int) -> Row:
        row: Row | None = await self._data.get((table, number))
        if row is None:
            raise LookupError(f"Buildbot no longer has {table}/{number}")
        return row
