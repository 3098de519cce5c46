# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Turn messages of the bus into facts: copied at once, in the order in which the events are to be published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.logger import Logger

from sourcepulse_buildbot.directory import Directory, Remembered
from sourcepulse_buildbot.live.build import LiveBuild, LiveBuilds
from sourcepulse_buildbot.live.bus import Handler
from sourcepulse_buildbot.live.intake import Intake
from sourcepulse_buildbot.live.presence import Presence
from sourcepulse_buildbot.live.requests import Requests
from sourcepulse_buildbot.live.steps import Steps
from sourcepulse_buildbot.live.used_secrets import UsedSecrets
from sourcepulse_buildbot.live.wanted import Choices
from sourcepulse_buildbot.mapping.builds import build_finished, build_started
from sourcepulse_buildbot.mapping.changes import change_added
from sourcepulse_buildbot.mapping.rows import Row
from sourcepulse_buildbot.selection import Selection
from sourcepulse_buildbot.writer import Fact

log = Logger("sourcepulse")


@dataclass(kw_only=True, eq=False, repr=False)
class Observer:
    """Has a handler for each message that becomes an event.

    A handler runs in the reactor, which does nothing else meanwhile: it copies its message, because other code changes
    it later, and looks at the live build. What it does not know then is looked up while the fact keeps its place in the
    queue. A handler never raises and returns nothing: Buildbot would wait for the result when it stops.
    """

    directory: Directory
    live: LiveBuilds
    intake: Intake
    selection: Selection
    choices: Choices
    requests: Requests
    steps: Steps
    secrets: UsedSecrets
    presence: Presence
    #: Called with the reason when something must be recovered from the database.
    missed: Callable[[str], None]
    #: Whether this is the only master that publishes events of its database.
    alone: bool
    clock: Callable[[], float]
    #: Requests that were published; a builder that is just looking for work claims one before it is announced.
    _submitted: Remembered[bool] = field(default_factory=Remembered, init=False)

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers of the wanted messages, by first and last word of their key."""
        selection = self.selection
        wanted: dict[tuple[str, str], Callable[[Any], None]] = {("builders", "started"): self._builder}
        if selection.wants("changes"):
            wanted["changes", "new"] = self._change
        if selection.wants("requests"):
            wanted["buildrequests", "new"] = self._request
            wanted["buildrequests", "complete"] = self._request_complete
        if selection.wants("buildsets"):
            wanted["buildsets", "complete"] = self._buildset_complete
        if selection.wants_any_of_builds or selection.wants("requests"):
            wanted["builds", "new"] = self._build
            wanted["builds", "finished"] = self._build_finished
        if selection.wants_steps or selection.wants("tests"):
            wanted["steps", "started"] = self.steps.started
            wanted["steps", "finished"] = self.steps.finished
        if selection.wants_logs:
            wanted["logs", "finished"] = self.steps.log_finished
        if selection.wants("tests"):
            wanted["test_result_sets", "completed"] = self.steps.tests_stored
        if selection.wants("workers"):
            for state in ("connected", "disconnected", "missing", "state_updated"):
                wanted["workers", state] = partial(self._worker, state)
        if selection.wants("masters"):
            for state in ("started", "stopped"):
                wanted["masters", state] = partial(self._master, state)
        return {words: self._guarded(handle) for words, handle in wanted.items()}

    def _guarded(self, handle: Callable[[Any], None]) -> Handler:
        def handler(_: tuple[str, ...], message: Any) -> None:
            try:
                handle(message)
            except Exception:  # noqa: BLE001 - an error of ours must not harm the master
                log.failure("a message could not be processed")
                self.missed("a message of the bus could not be processed")

        return handler

    # -- changes, requests, buildsets

    def _change(self, change: Row) -> None:
        row = dict(change)
        # Patches can be large, and no event contains them.
        row.pop("sourcestamp", None)
        self.intake.add(partial(change_added, change=row))

    def _request(self, request: Row) -> None:
        self._submitted[request["buildrequestid"]] = True
        self.intake.add_later(self.requests.submitted(dict(request)))

    def _request_before(self, row: Row) -> None:
        """Publish a request first if Buildbot began to work on it before announcing it."""
        number = row["buildrequestid"]
        if self.alone and self.selection.wants("requests") and number not in self._submitted:
            self._submitted[number] = True
            self.intake.add_later(self.requests.stored(number))

    def _request_complete(self, request: Row) -> None:
        self._request_before(request)
        self.intake.add_later(self.requests.completed(dict(request)))

    def _buildset_complete(self, buildset: Row) -> None:
        row = dict(buildset, sourcestamps=[dict(stamp) for stamp in buildset["sourcestamps"]])
        self.intake.add_later(self.requests.buildset_completed(row))

    # -- builds

    def _build(self, build: Row) -> None:
        self._request_before(build)
        self.intake.add_later(self._started(dict(build), self._look(build["buildid"])))

    def _build_finished(self, build: Row) -> None:
        self._request_before(build)
        self.intake.add_later(self._finished(dict(build), self._look(build["buildid"])))

    def _look(self, buildid: int) -> LiveBuild:
        self.secrets.learn(self.live.secrets(buildid))
        return self.live.look(buildid)

    async def _started(self, build: Row, live: LiveBuild) -> list[Fact]:
        known = await self.choices.known(build, live)
        self.directory.begin(known, build["buildrequestid"])
        facts: list[Fact] = []
        if known.wanted:
            facts += await self.requests.owed(build)
        if known.wanted and self.selection.wants("builds"):
            facts.append(partial(build_started, ref=known.ref, build=build, context=known.context))
        return facts + self.steps.early_facts(known.ref.buildid)

    async def _finished(self, build: Row, live: LiveBuild) -> Sequence[Fact]:
        facts: list[Fact] = []
        if self.directory.build(build["buildid"]) is None:
            # Skipped, or begun on another master: a master that died leaves its builds to another.
            facts += await self._started(build, live)
        known = self.directory.build(build["buildid"])
        if known is None or not known.wanted or not self.selection.wants("builds"):
            return facts
        before = known.context
        live = live._replace(bsid=before.buildset.bsid, builder=before.builder)
        context = await self.directory.context(build, live, changes=before.changes)
        facts.append(partial(build_finished, ref=known.ref, build=build, context=context))
        return facts

    # -- names, workers, masters

    def _builder(self, builder: Row) -> None:
        self.directory.name_builder(builder["builderid"], builder["name"])

    def _worker(self, state: str, worker: Row) -> None:
        self.directory.name_worker(worker["workerid"], worker["name"])
        row = {**worker, "max_builds": self.live.slots(worker["name"])}
        for fact in self.presence.worker(state, row, self.clock()):
            self.intake.add(fact)

    def _master(self, state: str, master: Row) -> None:
        for fact in self.presence.master(state, dict(master), self.clock()):
            self.intake.add(fact)
