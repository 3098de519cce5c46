# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Recover what the bus lost: compare Buildbot's database with the outbox, and publish what is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from buildbot.data.resultspec import Filter

from sourcepulse.events.event import event_id
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_buildbot.directory import Directory, Known
from sourcepulse_buildbot.live.requests import Requests
from sourcepulse_buildbot.live.wanted import Choices
from sourcepulse_buildbot.mapping.build_facts import BuildRef
from sourcepulse_buildbot.mapping.builds import FINISHED, STARTED
from sourcepulse_buildbot.mapping.changes import ADDED, change_added, change_key
from sourcepulse_buildbot.mapping.requests import BUILDSET_COMPLETED, COMPLETED, SUBMITTED, buildset_key, request_key
from sourcepulse_buildbot.mapping.rows import Row, seconds_of
from sourcepulse_buildbot.recovery.build import RecoveredBuilds
from sourcepulse_buildbot.recovery.mark import Mark
from sourcepulse_buildbot.selection import Selection
from sourcepulse_buildbot.writer import Fact

#: How far before its mark a search begins, because Buildbot's times are whole seconds and masters' clocks differ.
OVERLAP_SECONDS = 300
#: Changes have no time of arrival, and a database may commit two of them in another order than it numbers them.
OVERLAP_CHANGES = 100
#: Late messages of a build may follow its end, so every build that ended this shortly before a crash is examined.
LATE_SECONDS = 10
PAGE_ROWS = 200
#: Buildbot applies the limit to one row per codebase, then merges them, so a page of requests has fewer.
_REPEATED = ("buildrequests",)


class Store(NamedTuple):
    """The outbox as recovery uses it: `put` queues a fact, `ask` waits until all of them are stored."""

    put: Callable[[Fact], object]
    ask: Callable[[Callable[[Outbox], Any]], Awaitable[Any]]


class Search(NamedTuple):
    """The range to search: rows from `since` to `until` (seconds since 1970), changes from one id to another.

    Builds that ended after `suspect_after` are examined even if their end is published. Changes, submitted requests and
    buildsets do not record which master they belong to; `unowned` is whether to search them, too.
    """

    since: int
    until: int
    changes_after: int
    changes_until: int
    suspect_after: float
    unowned: bool = True


@dataclass(kw_only=True, eq=False, repr=False)
class Recovery:
    """Publishes missed events, marked `recovered`. Ids are derived from rows, so the outbox ignores repeats.

    `others` returns the masters that publish their own rows, which are left to them.
    """

    data: Any
    directory: Directory
    selection: Selection
    choices: Choices
    requests: Requests
    builds: RecoveredBuilds
    scope: str
    store: Store
    others: Callable[[], Awaitable[frozenset[int]]]
    #: Called for every running build; returns the facts that were received before the build was known.
    begun: Callable[[Known, int], Sequence[Fact]]
    #: Called for every row that cannot be read.
    passed_over: Callable[[str], None]

    async def last_change(self) -> int:
        """Return the id of the youngest change, 0 if there is none."""
        rows = await self.data.get(("changes",), order=["-changeid"], limit=1)
        return int(rows[0]["changeid"]) if rows else 0

    async def run(self, search: Search) -> None:
        """Publish everything that is missing, page by page; each page is stored before the next is read."""
        others = await self.others()
        if search.unowned and self.selection.wants("changes"):
            await self._changes(search)
        if search.unowned and self.selection.wants("requests"):
            await self._submitted(search)
        if self.selection.wants_any_of_builds:
            await self._finished_builds(search, others)
            await self._running_builds(search, others)
        if self.selection.wants("requests"):
            await self._completed(search, others)
        if search.unowned and self.selection.wants("buildsets"):
            await self._buildsets(search)

    async def _changes(self, search: Search) -> None:
        first = max(0, search.changes_after - OVERLAP_CHANGES)
        upto = Filter("changeid", "le", [search.changes_until])
        async for page in self._pages("changes", "changeid", upto, first=first):
            for row in await self._missing(page, ADDED, change_key):
                self.store.put(partial(change_added, change=row, recovered=True))

    async def _submitted(self, search: Search) -> None:
        async for page in self._pages("buildrequests", "buildrequestid", *_between("submitted_at", search)):
            for row in await self._missing(page, SUBMITTED, request_key):
                await self._put(f"request {row['buildrequestid']}", self.requests.submitted(row, recovered=True))

    async def _completed(self, search: Search, others: frozenset[int]) -> None:
        async for page in self._pages("buildrequests", "buildrequestid", *_between("complete_at", search)):
            for row in await self._missing(page, COMPLETED, request_key):
                if row["claimed_by_masterid"] not in others:
                    await self._put(f"request {row['buildrequestid']}", self.requests.completed(row, recovered=True))

    async def _buildsets(self, search: Search) -> None:
        async for page in self._pages("buildsets", "bsid", *_between("complete_at", search)):
            for row in await self._missing(page, BUILDSET_COMPLETED, buildset_key):
                await self._put(f"buildset {row['bsid']}", self.requests.buildset_completed(row, recovered=True))

    async def _finished_builds(self, search: Search, others: frozenset[int]) -> None:
        async for page in self._pages("builds", "buildid", *_between("complete_at", search)):
            ours = [row for row in page if row["masterid"] not in others]
            missing = {row["buildid"] for row in await self._missing(ours, FINISHED, _build_key)}
            missing |= {row["buildid"] for row in await self._missing(ours, STARTED, _build_key)}
            for row in ours:
                if row["buildid"] in missing or (seconds_of(row["complete_at"]) or 0) >= search.suspect_after:
                    await self._put(f"build {row['buildid']}", self._build(row))

    async def _running_builds(self, search: Search, others: frozenset[int]) -> None:
        async for page in self._pages("builds", "buildid", Filter("complete", "eq", [False])):
            for row in page:
                if row["masterid"] in others or (seconds_of(row["started_at"]) or 0) > search.until:
                    continue
                if self.directory.build(row["buildid"]) is None or search.suspect_after < search.until:
                    await self._put(f"build {row['buildid']}", self._build(row))

    async def _build(self, build: Row) -> Sequence[Fact]:
        has_begun_unseen = not build["complete"] and self.directory.build(build["buildid"]) is None
        known = await self.choices.known(build)
        if known.wanted:
            # At once, because it is owed only once.
            for fact in await self.requests.owed(build, recovered=True):
                self.store.put(fact)
        facts = await self.builds.facts(build, known)
        return [*facts, *self.begun(known, build["buildrequestid"])] if has_begun_unseen else facts

    async def _put(self, what: str, facts: Awaitable[Sequence[Fact]]) -> None:
        """Skip a row that the database cannot return whole; otherwise it would block every search."""
        try:
            for fact in await facts:
                self.store.put(fact)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            self.passed_over(
                f"{what} cannot be published, because Buildbot's database does not have all of it: {error}"
            )

    async def _missing(self, rows: Sequence[Row], type_: str, key: Callable[[Row], list[str]]) -> list[Row]:
        ids = [event_id(self.scope, type_, *key(row)) for row in rows]
        known = await self.store.ask(lambda outbox: outbox.known(ids))
        return [row for row, id_ in zip(rows, ids, strict=True) if id_ not in known]

    async def _pages(self, table: str, key: str, *filters: Filter, first: int = 0) -> AsyncIterator[list[Row]]:
        last = first
        while True:
            found = await self.data.get(
                (table,), filters=[*filters, Filter(key, "gt", [last])], order=[key], limit=PAGE_ROWS
            )
            rows = list(found)
            if rows:
                yield rows
                last = rows[-1][key]
            if len(rows) < (1 if table in _REPEATED else PAGE_ROWS):
                return


def search_since(mark: Mark, *, until: int, changes_until: int, suspect_after: float) -> Search:
    """Return the range to search after a mark."""
    return Search(
        # If a clock was set back since, rows that ended after that must still be found.
        since=min(mark.at, until) - OVERLAP_SECONDS,
        until=until,
        changes_after=mark.changeid,
        changes_until=changes_until,
        suspect_after=suspect_after - LATE_SECONDS,
    )


def _between(time: str, search: Search) -> tuple[Filter, Filter]:
    # Whole numbers: with a datetime the query finds nothing on SQLite.
    return Filter(time, "ge", [search.since]), Filter(time, "le", [search.until])


def _build_key(build: Row) -> list[str]:
    return BuildRef.of(build, "").key(build["buildid"])
