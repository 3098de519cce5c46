# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Turn messages of the bus into facts: copied at once, in the order in which the events are to be published."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from twisted.logger import Logger

from sourcepulse_buildbot.directory import Directory, Known, Remembered
from sourcepulse_buildbot.live import build as live_build
from sourcepulse_buildbot.live.builders import BuilderFacts
from sourcepulse_buildbot.live.bus import Handler
from sourcepulse_buildbot.live.choices import Choices
from sourcepulse_buildbot.live.intake import Intake
from sourcepulse_buildbot.live.log_tail import LogTails
from sourcepulse_buildbot.live.presence import Presence
from sourcepulse_buildbot.live.used_secrets import UsedSecrets
from sourcepulse_buildbot.mapping.build_facts import BuildRef, StepRef, revision_of
from sourcepulse_buildbot.mapping.builds import build_finished, build_started
from sourcepulse_buildbot.mapping.changes import change_added
from sourcepulse_buildbot.mapping.requests import buildset_completed, request_completed, request_submitted
from sourcepulse_buildbot.mapping.rows import Row
from sourcepulse_buildbot.mapping.steps import log_finished, step_finished, step_started
from sourcepulse_buildbot.mapping.tests import RunOf, Wanted, has_totals, run_finished, statistics_finished
from sourcepulse_buildbot.recovery.stored_tests import is_companion, read_tests
from sourcepulse_buildbot.selection import Selection
from sourcepulse_buildbot.writer import Fact

log = Logger("sourcepulse")

_GOT_REVISION = frozenset({"got_revision"})

#: Makes the fact of a step or log once its build is known.
_OfBuild = Callable[[BuildRef], Fact]


class Observer:
    """Has a handler for each message that becomes an event.

    A handler runs in the reactor, which does nothing else meanwhile: it copies its message, because other code changes
    it later, and looks at the live build. What it does not know then is looked up while the fact keeps its place in the
    queue. A handler never raises and returns nothing: Buildbot would wait for the result when it stops.
    """

    def __init__(
        self,
        *,
        data: Any,
        directory: Directory,
        live: live_build.LiveBuilds,
        intake: Intake,
        selection: Selection,
        choices: Choices,
        secrets: UsedSecrets,
        presence: Presence,
        tails: LogTails,
        missed: Callable[[str], None],
        alone: bool,
        clock: Callable[[], float],
    ) -> None:
        self._data = data
        self._directory = directory
        self._live = live
        self._intake = intake
        self._selection = selection
        self._choices = choices
        self._secrets = secrets
        self.presence = presence
        self._tails = tails
        #: Called with the reason when something must be recovered from the database.
        self._missed = missed
        #: Whether this is the only master that publishes events of its database.
        self._alone = alone
        self._clock = clock
        #: Requests that were published; a builder that is just looking for work claims one before it is announced.
        self._submitted: Remembered[bool] = Remembered()
        #: Steps whose results are stored.
        self._stored_tests: Remembered[bool] = Remembered()
        #: Steps begin before their build is announced, because its first step prepares the worker.
        self._early: defaultdict[int, list[_OfBuild]] = defaultdict(list)
        self.failures = 0

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """Return the handlers of the wanted messages, by first and last word of their key."""
        wanted: dict[tuple[str, str], Callable[[Any], None]] = {}
        selection = self._selection
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
            wanted["steps", "started"] = self._step
            wanted["steps", "finished"] = self._step_finished
        if selection.wants_logs:
            wanted["logs", "finished"] = self._log
        if selection.wants("tests"):
            wanted["test_result_sets", "completed"] = self._test_set
        wanted["builders", "started"] = self._builder
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
                self.failures += 1
                log.failure("a message could not be processed")
                self._missed("a message of the bus could not be processed")

        return handler

    # -- changes, requests, buildsets

    def _change(self, change: Row) -> None:
        row = dict(change)
        # Patches can be large, and no event contains them.
        row.pop("sourcestamp", None)
        self._intake.add(partial(change_added, change=row))

    def _request(self, request: Row) -> None:
        self._submitted[request["buildrequestid"]] = True
        self._intake.add_later(self._request_submitted(dict(request)))

    async def _request_submitted(self, request: Row) -> Sequence[Fact]:
        buildset = await self._directory.buildset(request["buildsetid"])
        if not await self._choices.request(request, buildset):
            return ()
        builder = await self._directory.builder(request["builderid"])
        return (partial(request_submitted, request=request, builder=builder, buildset=buildset),)

    def _request_before(self, buildrequestid: int) -> None:
        """Publish a request first if Buildbot began to work on it before announcing it."""
        if self._alone and self._selection.wants("requests") and buildrequestid not in self._submitted:
            self._submitted[buildrequestid] = True
            self._intake.add_later(self._stored_request(buildrequestid))

    async def _stored_request(self, buildrequestid: int) -> Sequence[Fact]:
        request = await self._data.get(("buildrequests", buildrequestid))
        return () if request is None else await self._request_submitted(request)

    def _request_complete(self, request: Row) -> None:
        self._request_before(request["buildrequestid"])
        self._intake.add_later(self._request_completed(dict(request)))

    async def _request_completed(self, request: Row) -> Sequence[Fact]:
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
            ),
        )

    def _buildset_complete(self, buildset: Row) -> None:
        row = dict(buildset, sourcestamps=[dict(stamp) for stamp in buildset["sourcestamps"]])
        self._intake.add_later(self._buildset_completed(row))

    async def _buildset_completed(self, buildset: Row) -> Sequence[Fact]:
        if self._selection.schedulers is not None:
            facts = await self._directory.buildset(buildset["bsid"])
            if not self._selection.takes_scheduler(facts.scheduler):
                return ()
        return (partial(buildset_completed, buildset=buildset),)

    # -- builds

    def _build(self, build: Row) -> None:
        self._request_before(build["buildrequestid"])
        live = self._live.find(build["buildid"])
        self._secrets.learn(live_build.secrets_of(live))
        self._intake.add_later(
            self._started(
                dict(build),
                bsid=live_build.buildset_of(live),
                properties=self._properties_of(live),
                builder=live_build.builder_of(live, self._live.botmaster),
            )
        )

    def _properties_of(self, live: Any | None) -> dict[str, Any] | None:
        properties = live_build.properties_of(live, self._directory.properties)
        owners = live_build.owners_of(live) if properties is not None and "owners" not in properties else []
        return {**properties, "owners": owners} if properties is not None and owners else properties

    async def _started(
        self, build: Row, *, bsid: int | None, properties: dict[str, Any] | None, builder: BuilderFacts | None
    ) -> list[Fact]:
        name = await self._directory.builder_name(build["builderid"])
        context = await self._directory.context(build, bsid=bsid, properties=properties, builder=builder)
        ref = BuildRef.of(build, name)
        wanted = await self._choices.build(build, ref, context)
        facts: list[Fact] = []
        self.know(Known(ref, context, wanted), build["buildrequestid"])
        if wanted and self._selection.wants("requests") and self._choices.owes_request(build["buildrequestid"]):
            facts += await self._stored_request(build["buildrequestid"])
        if wanted and self._selection.wants("builds"):
            facts.append(partial(build_started, ref=ref, build=build, context=context))
        return facts + self.early_facts(ref.buildid)

    def know(self, known: Known, buildrequestid: int) -> None:
        """Remember a build that has begun."""
        self._directory.builds[known.ref.buildid] = known
        self._directory.last_builds[buildrequestid] = known.ref.buildid

    def early_facts(self, buildid: int) -> list[Fact]:
        """Return the facts of a build's steps that were received before the build was known."""
        known = self._directory.builds[buildid]
        early = self._early.pop(buildid, [])
        return [make(known.ref) for make in early] if known.wanted else []

    def _build_finished(self, build: Row) -> None:
        self._request_before(build["buildrequestid"])
        live = self._live.find(build["buildid"])
        self._secrets.learn(live_build.secrets_of(live))
        self._intake.add_later(
            self._finished(
                dict(build),
                bsid=live_build.buildset_of(live),
                properties=self._properties_of(live),
                builder=live_build.builder_of(live, self._live.botmaster),
            )
        )

    async def _finished(
        self, build: Row, *, bsid: int | None, properties: dict[str, Any] | None, builder: BuilderFacts | None
    ) -> Sequence[Fact]:
        facts: list[Fact] = []
        if build["buildid"] not in self._directory.builds:
            # Skipped, or begun on another master: a master that died leaves its builds to another.
            facts += await self._started(build, bsid=bsid, properties=properties, builder=builder)
        known = self._directory.builds[build["buildid"]]
        if not known.wanted or not self._selection.wants("builds"):
            return facts
        before = known.context
        context = await self._directory.context(
            build, bsid=before.buildset.bsid, properties=properties, builder=before.builder, changes=before.changes
        )
        facts.append(partial(build_finished, ref=known.ref, build=build, context=context))
        return facts

    # -- steps, logs, tests

    def _step(self, step: Row) -> None:
        row = dict(step)
        self._directory.steps[row["stepid"]] = StepRef.of(row)
        if self._selection.wants_steps:
            self._of_build(row["buildid"], lambda ref: partial(step_started, ref=ref, step=row))

    def _step_finished(self, step: Row) -> None:
        row = dict(step, urls=[dict(link) for link in step["urls"]])
        self._directory.steps[row["stepid"]] = StepRef.of(row)
        live = self._live.find(row["buildid"])
        self._secrets.learn(live_build.secrets_of(live))
        self._statistics(row, live_build.statistics_of(live, row))
        held = self._tails.release(row)
        if held:
            self._of_build_later(row["buildid"], partial(self._tails.facts, row, held))
        if self._selection.wants_steps:
            self._of_build(row["buildid"], lambda ref: partial(step_finished, ref=ref, step=row))

    def _statistics(self, step: Row, statistics: dict[str, int]) -> None:
        """Publish the totals of tests that a step only counted; stored results are published by their result sets."""
        if not (self._selection.wants("tests") and has_totals(statistics)) or step["stepid"] in self._stored_tests:
            return
        now, revision = self._clock(), self._revision(step["buildid"])

        def make(ref: BuildRef) -> Fact:
            run = RunOf(ref, step["stepid"], step["name"], revision)
            return partial(statistics_finished, run=run, statistics=statistics, time=now)

        self._of_build(step["buildid"], make)

    def _revision(self, buildid: int) -> str | None:
        """Return the revision of a build as its steps know it by now."""
        live = live_build.properties_of(self._live.find(buildid), _GOT_REVISION)
        known = self._directory.builds.get(buildid)
        return revision_of(live or {}, known.context.buildset.sourcestamps if known else ())

    def _log(self, log_row: Row) -> None:
        row, now = dict(log_row), self._clock()
        if self._tails.wanted:
            # Whether the step fails is known when it has finished; some logs come even later.
            over = self._tails.hold(row, now)
            if over is not None:
                self._of_build_later(over["buildid"], partial(self._tails.facts, over, [(row, now)]))
            return
        step = self._directory.steps.get(row["stepid"])
        if step is None:
            self._intake.add_later(self._log_of_unknown(row, now))
            return
        self._of_build(
            step.buildid, lambda ref: partial(log_finished, ref=ref, step=step, log=row, time=now, tail=None)
        )

    async def _log_of_unknown(self, row: Row, now: float) -> Sequence[Fact]:
        step = await self._directory.step(row["stepid"])

        def make(ref: BuildRef) -> Fact:
            return partial(log_finished, ref=ref, step=step, log=row, time=now, tail=None)

        known = self._directory.builds.get(step.buildid)
        if known is None:
            # The build of a master that died; its end will be announced in a moment.
            self._early[step.buildid].append(make)
            return ()
        return (make(known.ref),) if known.wanted else ()

    def _test_set(self, test_set: Row) -> None:
        row, now = dict(test_set), self._clock()
        self._stored_tests[row["stepid"]] = True
        if is_companion(row):
            return
        self._of_build_later(row["buildid"], partial(self._tests, row, now, self._revision(row["buildid"])))

    async def _tests(self, test_set: Row, now: float, revision: str | None, ref: BuildRef) -> Sequence[Fact]:
        tests = await read_tests(self._data, test_set)
        step = await self._directory.step(test_set["stepid"])
        run = RunOf(ref, step.stepid, step.name, revision)
        wanted = Wanted(self._selection.cases, self._selection.most_cases)
        return (partial(run_finished, run=run, tests=tests, wanted=wanted, time=now),)

    def _of_build(self, buildid: int, make: _OfBuild) -> None:
        known = self._directory.builds.get(buildid)
        if known is None:
            self._early[buildid].append(make)
        elif known.wanted:
            self._intake.add(make(known.ref))

    def _of_build_later(self, buildid: int, ask: Callable[[BuildRef], Coroutine[Any, Any, Sequence[Fact]]]) -> None:
        known = self._directory.builds.get(buildid)
        if known is not None and known.wanted:
            self._intake.add_later(ask(known.ref))
        elif known is None:
            # A step that ended before its build was announced has neither tests nor tails; recovery publishes them.
            self._missed("a step ended whose build was never announced")

    # -- names, workers, masters

    def _builder(self, builder: Row) -> None:
        self._directory.builders[builder["builderid"]] = builder["name"]

    def _worker(self, state: str, worker: Row) -> None:
        self._directory.workers[worker["workerid"]] = worker["name"]
        row = {**worker, "max_builds": live_build.slots_of(self._live.botmaster, worker["name"])}
        for fact in self.presence.worker(state, row, self._clock()):
            self._intake.add(fact)

    def _master(self, state: str, master: Row) -> None:
        for fact in self.presence.master(state, dict(master), self._clock()):
            self._intake.add(fact)
