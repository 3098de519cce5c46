# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Make the facts of a build again from Buildbot's database, in the order in which they should have been published."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sourcepulse_buildbot.directory import Directory, Known
from sourcepulse_buildbot.live.log_tail import LogTails
from sourcepulse_buildbot.mapping.build_facts import BuildRef, revision_of
from sourcepulse_buildbot.mapping.builds import build_finished, build_started
from sourcepulse_buildbot.mapping.rows import Row, seconds_of
from sourcepulse_buildbot.mapping.steps import step_finished, step_started
from sourcepulse_buildbot.mapping.tests import RunOf, run_finished
from sourcepulse_buildbot.recovery.stored_tests import is_companion, read_tests
from sourcepulse_buildbot.selection import Selection
from sourcepulse_buildbot.writer import Fact


class RecoveredBuilds:
    """Reads builds with everything that belongs to them; a build that is already known keeps its stored form."""

    def __init__(self, data: Any, directory: Directory, selection: Selection, tails: LogTails) -> None:
        self._data = data
        self._directory = directory
        self._selection = selection
        self._tails = tails

    async def facts(self, build: Row, known: Known) -> list[Fact]:
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
            self._directory.know_step(step)
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
        return partial(run_finished, run=run, tests=tests, wanted=self._selection.cases, time=at, recovered=True)
