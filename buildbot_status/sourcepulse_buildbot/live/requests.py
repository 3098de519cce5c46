# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the facts of requests and buildsets: when the bus announces them, or when recovery finds them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sourcepulse_buildbot.directory import Directory
from sourcepulse_buildbot.live.wanted import Choices
from sourcepulse_buildbot.mapping.requests import buildset_completed, request_completed, request_submitted
from sourcepulse_buildbot.mapping.rows import Row
from sourcepulse_buildbot.selection import Selection
from sourcepulse_buildbot.writer import Fact


class Requests:
    """Looks up what an event needs beside the row; the facts are empty if the event is not wanted."""

    def __init__(self, data: Any, directory: Directory, selection: Selection, choices: Choices) -> None:
        self._data = data
        self._directory = directory
        self._selection = selection
        self._choices = choices

    async def submitted(self, request: Row, *, recovered: bool = False) -> Sequence[Fact]:
        buildset = await self._directory.buildset(request["buildsetid"])
        if not await self._choices.request(request, buildset):
            return ()
        builder = await self._directory.builder(request["builderid"])
        return (partial(request_submitted, request=request, builder=builder, buildset=buildset, recovered=recovered),)

    async def stored(self, buildrequestid: int, *, recovered: bool = False) -> Sequence[Fact]:
        """Return the fact that the request of this id was submitted, as the database has it."""
        request = await self._data.get(("buildrequests", buildrequestid))
        return () if request is None else await self.submitted(request, recovered=recovered)

    async def owed(self, build: Row, *, recovered: bool = False) -> Sequence[Fact]:
        """Return, once, the request of a wanted build that was not wanted itself: it must be published first."""
        number = build["buildrequestid"]
        if not (self._selection.wants("requests") and self._choices.owes_request(number)):
            return ()
        return await self.stored(number, recovered=recovered)

    async def completed(self, request: Row, *, recovered: bool = False) -> Sequence[Fact]:
        buildset = await self._directory.buildset(request["buildsetid"])
        if not await self._choices.request(request, buildset):
            return ()
        last = await self._directory.last_build(request["buildrequestid"])
        return (
            partial(
                request_completed,
                request=request,
                buildername=await self._directory.builder_name(request["builderid"]),
                buildset=buildset,
                buildid=last,
                collapsed_into=None if last is not None else await self._directory.collapsed_into(request),
                recovered=recovered,
            ),
        )

    async def buildset_completed(self, buildset: Row, *, recovered: bool = False) -> Sequence[Fact]:
        if self._selection.schedulers is not None:
            facts = await self._directory.buildset(buildset["bsid"])
            if not self._selection.selects_scheduler(facts.scheduler):
                return ()
        return (partial(buildset_completed, buildset=buildset, recovered=recovered),)
