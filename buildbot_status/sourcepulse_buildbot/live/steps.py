# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Turn the messages about steps, their logs and their tests into facts, and hold those of a build not yet announced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sourcepulse_buildbot.directory import Directory, Remembered
from sourcepulse_buildbot.live.build import LiveBuilds
from sourcepulse_buildbot.live.intake import Intake
from sourcepulse_buildbot.live.log_tail import LogTails
from sourcepulse_buildbot.live.used_secrets import UsedSecrets
from sourcepulse_buildbot.mapping.build_facts import BuildRef, StepRef, revision_of
from sourcepulse_buildbot.mapping.rows import Row
from sourcepulse_buildbot.mapping.steps import log_finished, step_finished, step_started
from sourcepulse_buildbot.mapping.tests import RunOf, has_totals, run_finished, statistics_finished
from sourcepulse_buildbot.recovery.stored_tests import is_companion, read_tests
from sourcepulse_buildbot.selection import Selection
from sourcepulse_buildbot.writer import Fact

#: Makes the fact of a step or log once its build is known.
_OfBuild = Callable[[BuildRef], Fact]


@dataclass(kw_only=True, eq=False, repr=False)
class Steps:
    """The handlers of messages about steps; `missed` is called with the reason when something must be recovered."""

    data: Any
    directory: Directory
    live: LiveBuilds
    intake: Intake
    selection: Selection
    secrets: UsedSecrets
    tails: LogTails
    missed: Callable[[str], None]
    clock: Callable[[], float]
    #: Steps whose results are stored.
    _stored_tests: Remembered[bool] = field(default_factory=Remembered, init=False)
    #: Steps begin before their build is announced, because its first step prepares the worker.
    _early: defaultdict[int, list[_OfBuild]] = field(default_factory=lambda: defaultdict(list), init=False)

    def early_facts(self, buildid: int) -> list[Fact]:
        """Return the facts of a build's steps that were received before the build was known."""
        known = self.directory.build(buildid)
        early = self._early.pop(buildid, [])
        return [make(known.ref) for make in early] if known is not None and known.wanted else []

    def started(self, step: Row) -> None:
        row = dict(step)
        self.directory.know_step(row)
        if self.selection.wants_steps:
            self._of_build(row["buildid"], lambda ref: partial(step_started, ref=ref, step=row))

    def finished(self, step: Row) -> None:
        """Publish that a step ended, after the logs that were held until then."""
        row = dict(step, urls=[dict(link) for link in step["urls"]])
        self.directory.know_step(row)
        self.secrets.learn(self.live.secrets(row["buildid"]))
        self._statistics(row, self.live.statistics(row))
        held = self.tails.release(row)
        if held:
            self._of_build_later(row["buildid"], partial(self.tails.facts, row, held))
        if self.selection.wants_steps:
            self._of_build(row["buildid"], lambda ref: partial(step_finished, ref=ref, step=row))

    def _statistics(self, step: Row, statistics: dict[str, int]) -> None:
        """Publish the totals of tests that a step only counted; stored results are published by their result sets."""
        if not (self.selection.wants("tests") and has_totals(statistics)) or step["stepid"] in self._stored_tests:
            return
        now, revision = self.clock(), self._revision(step["buildid"])

        def make(ref: BuildRef) -> Fact:
            run = RunOf(ref, step["stepid"], step["name"], revision)
            return partial(statistics_finished, run=run, statistics=statistics, time=now)

        self._of_build(step["buildid"], make)

    def _revision(self, buildid: int) -> str | None:
        known = self.directory.build(buildid)
        return revision_of(self.live.got_revision(buildid), known.context.buildset.sourcestamps if known else ())

    def log_finished(self, log_row: Row) -> None:
        """Publish that a log is complete; with tails, whether its step fails must be known first."""
        row, now = dict(log_row), self.clock()
        if self.tails.wanted:
            # Some logs are complete only after their step has ended.
            over = self.tails.hold(row, now)
            if over is not None:
                self._of_build_later(over["buildid"], partial(self.tails.facts, over, [(row, now)]))
            return
        step = self.directory.known_step(row["stepid"])
        if step is None:
            self.intake.add_later(self._log_of_unknown(row, now))
        else:
            self._of_build(step.buildid, partial(_log_fact, step, row, now))

    async def _log_of_unknown(self, row: Row, now: float) -> Sequence[Fact]:
        step = await self.directory.step(row["stepid"])
        make = partial(_log_fact, step, row, now)
        known = self.directory.build(step.buildid)
        if known is None:
            # The build of a master that died; its end will be announced in a moment.
            self._early[step.buildid].append(make)
            return ()
        return (make(known.ref),) if known.wanted else ()

    def tests_stored(self, test_set: Row) -> None:
        """Publish a complete test result set; one that only adds details is read with the set that it belongs to."""
        row, now = dict(test_set), self.clock()
        self._stored_tests[row["stepid"]] = True
        if not is_companion(row):
            self._of_build_later(row["buildid"], partial(self._tests, row, now, self._revision(row["buildid"])))

    async def _tests(self, test_set: Row, now: float, revision: str | None, ref: BuildRef) -> Sequence[Fact]:
        tests = await read_tests(self.data, test_set)
        step = await self.directory.step(test_set["stepid"])
        run = RunOf(ref, step.stepid, step.name, revision)
        return (partial(run_finished, run=run, tests=tests, wanted=self.selection.cases, time=now),)

    def _of_build(self, buildid: int, make: _OfBuild) -> None:
        known = self.directory.build(buildid)
        if known is None:
            self._early[buildid].append(make)
        elif known.wanted:
            self.intake.add(make(known.ref))

    def _of_build_later(self, buildid: int, ask: Callable[[BuildRef], Coroutine[Any, Any, Sequence[Fact]]]) -> None:
        known = self.directory.build(buildid)
        if known is not None and known.wanted:
            self.intake.add_later(ask(known.ref))
        elif known is None:
            # A step that ended before its build was announced has neither tests nor tails; recovery publishes them.
            self.missed("a step ended whose build was never announced")


def _log_fact(step: StepRef, log: Row, now: float, ref: BuildRef) -> Fact:
    return partial(log_finished, ref=ref, step=step, log=log, time=now, tail=None)
