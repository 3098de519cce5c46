# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the facts of a build again from Buildbot's database, in the order in which they should have been published."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sourcepulse_buildbot.directory import Directory, Known
from sourcepulse_buildbot.live.choices import Choices
from sourcepulse_buildbot.live.log_tail import LogTails
from sourcepulse_buildbot.mapping.build_facts import BuildRef, StepRef, revision_of
from sourcepulse_buildbot.mapping.builds import build_finished, build_started
from sourcepulse_buildbot.mapping.rows import Row, seconds_of
from sourcepulse_buildbot.mapping.steps import step_finished, step_started
from sourcepulse_buildbot.mapping.tests import RunOf, Wanted, run_finished
from sourcepulse_buildbot.recovery.stored_tests import is_companion, read_tests
from sourcepulse_buildbot.selection import Selection
from sourcepulse_buildbot.writer import Fact


class RecoveredBuilds:
    """Reads builds with everything that belongs to them; a build that is already known keeps its stored form."""

    def __init__(
        self, data: Any, directory: Directory, selection: Selection, choices: Choices, tails: LogTails
    ) -> None:
        self._data = data
        self._directory = directory
        self._selection = selection
        self._choices = choices
        self._tails = tails

    async def known(self, build: Row) -> Known:
        """Return what the events of a build need."""
        name = await self._directory.builder_name(build["builderid"])
        context = await self._directory.context(build, bsid=None, properties=None)
        ref = BuildRef.of(build, name)
        return Known(ref, context, await self._choices.build(build, ref, context))

    async def facts(self, build: Row, known: Known) -> list[Fact]:
        """Return the facts of a build up to now."""
        ref, context, wanted = known
        if not wanted:
            return []
        facts: list[Fact] = []
        if self._selection.wants("builds"):
            facts.append(partial(build_started, ref=ref, build=build, context=context, recovered=True))
        if self._selection.wants_steps or self._selection.wants("tests"):
            facts += await self._steps(ref, revision_of(context.properties, context.buildset.sourcestamps))
        if self._selection.wants("builds") and build["complete"]:
            facts.append(partial(build_finished, ref=ref, build=build, context=context, recovered=True))
        return facts

    async def _steps(self, ref: BuildRef, revision: str | None) -> list[Fact]:
        facts: list[Fact] = []
        sets: dict[int, list[Row]] = {}
        if self._selection.wants("tests"):
            for test_set in await self._data.get(("builds", ref.buildid, "test_result_sets")):
                if test_set["complete"] and not is_companion(test_set):
                    sets.setdefault(test_set["stepid"], []).append(test_set)
        for step in sorted(await self._data.get(("builds", ref.buildid, "steps")), key=lambda row: int(row["number"])):
            self._directory.steps[step["stepid"]] = StepRef.of(step)
            if self._selection.wants_steps and step["started_at"] is not None:
                facts.append(partial(step_started, ref=ref, step=step, recovered=True))
            at = seconds_of(step["complete_at"]) or seconds_of(step["started_at"]) or ref.started_at
            for test_set in sets.get(step["stepid"], ()):
                facts.append(await self._tests(RunOf(ref, step["stepid"], step["name"], revision), test_set, at))
            if self._selection.wants_logs:
                logs = await self._data.get(("steps", step["stepid"], "logs"))
                complete: Sequence[tuple[Row, float]] = [(log, at) for log in logs if log["complete"]]
                facts += await self._tails.facts(step, complete, ref, recovered=True)
            if self._selection.wants_steps and step["complete"]:
                facts.append(partial(step_finished, ref=ref, step=step, recovered=True))
        return facts

    async def _tests(self, run: RunOf, test_set: Row, at: float) -> Fact:
        tests = await read_tests(self._data, test_set)
        wanted = Wanted(self._selection.cases, self._selection.most_cases)
        return partial(run_finished, run=run, tests=tests, wanted=wanted, time=at, recovered=True)
