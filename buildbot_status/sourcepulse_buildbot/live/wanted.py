# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decide once for each request and build whether it is wanted, and keep that decision across reconfigurations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from sourcepulse.events.event import event_id
from sourcepulse_buildbot.directory import Directory, Known, Remembered
from sourcepulse_buildbot.live.build import NOT_LIVE, LiveBuild
from sourcepulse_buildbot.mapping.build_facts import BuildContext, BuildRef, BuildsetFacts
from sourcepulse_buildbot.mapping.builds import STARTED
from sourcepulse_buildbot.mapping.requests import SUBMITTED, request_key
from sourcepulse_buildbot.mapping.rows import Row
from sourcepulse_buildbot.selection import Selection


class Choices:
    """Decides for a builder by its own name and by the virtual name that its builds may have.

    A request or build whose first event is in the outbox is wanted to its end, because the configuration may have
    changed, even while no master ran. `known` returns which of these ids the outbox has.
    """

    def __init__(
        self,
        selection: Selection,
        directory: Directory,
        *,
        scope: str,
        known: Callable[[Sequence[str]], Awaitable[set[str]]],
    ) -> None:
        self._selection = selection
        self._directory = directory
        self._scope = scope
        self._known = known
        self._requests: Remembered[bool] = Remembered()

    async def request(self, request: Row, buildset: BuildsetFacts) -> bool:
        number = request["buildrequestid"]
        if number not in self._requests:
            builder = await self._directory.builder(request["builderid"])
            virtual = buildset.properties.get("virtual_builder_name") or builder.virtual_name
            tags = buildset.properties.get("virtual_builder_tags") or builder.virtual_tags
            wanted = self._selects([builder.name, virtual], [builder.tags, tags], buildset.scheduler)
            self._requests[number] = wanted or await self._is_published(SUBMITTED, request_key(request))
        return self._requests[number]

    async def known(self, build: Row, live: LiveBuild = NOT_LIVE) -> Known:
        """Return what the events of a build need, and whether they are wanted."""
        ref = BuildRef.of(build, await self._directory.builder_name(build["builderid"]))
        context = await self._directory.context(build, live)
        return Known(ref, context, await self._build(build, ref, context))

    async def _build(self, build: Row, ref: BuildRef, context: BuildContext) -> bool:
        """Return whether a build is wanted; a build of a wanted request always is."""
        if self._requests.get(build["buildrequestid"]):
            return True
        builder, scheduler = context.builder, context.buildset.scheduler
        wanted = self._selects([ref.buildername, builder.name], [context.tags, builder.tags], scheduler)
        return wanted or await self._is_published(STARTED, ref.key(ref.buildid))

    def owes_request(self, buildrequestid: int) -> bool:
        """Return, once, whether this request of a wanted build was unwanted, so that it must be published first."""
        if self._requests.get(buildrequestid, True):
            return False
        self._requests[buildrequestid] = True
        return True

    def _selects(self, names: Iterable[object], tags: Iterable[object], scheduler: str | None) -> bool:
        return self._selection.selects_builder(
            {name for name in names if isinstance(name, str)},
            {tag for each in tags if isinstance(each, list | tuple) for tag in each if isinstance(tag, str)},
        ) and self._selection.selects_scheduler(scheduler)

    async def _is_published(self, type_: str, key: Sequence[str]) -> bool:
        return bool(await self._known([event_id(self._scope, type_, *key)]))
