# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The build step that reads a test report into Buildbot's own test result sets.

The sets are described in `result_sets`. The step also sets the statistics `tests-total`, `tests-passed`, `tests-failed`
(including errors) and `tests-skipped`, and its summary is such as `5 tests, 1 failed, 2 skipped`. It is a success only
if no test is missing, and SKIPPED if none ran.

Everything that takes long (parsing, cleaning, sorting) is done in a thread or, for large reports, in a separate
process, so that the reactor serves others meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from buildbot import config
from buildbot.interfaces import IRenderable
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SKIPPED, SUCCESS, WARNINGS
from twisted.internet import defer, threads

from sourcepulse_buildbot.live import build as live_build
from sourcepulse_buildbot.test_reports import cases as test_case
from sourcepulse_buildbot.test_reports.numbers import DURATION_NS_MAX, INT32_MAX
from sourcepulse_buildbot.test_reports.quiet_heap import set_heap_aside
from sourcepulse_buildbot.test_reports.reading.files import ReportFile, read_log, read_worker_files
from sourcepulse_buildbot.test_reports.reading.reading import Reading
from sourcepulse_buildbot.test_reports.reading.work import READERS, ReadReport, Summary, Task
from sourcepulse_buildbot.test_reports.result_tables import ResultTables

MAX_BYTES = 128 * 1024 * 1024
MAX_FILES = 5_000
MAX_CASES = test_case.CASES_MAX
_RESULTS: dict[str, int] = {"failure": FAILURE, "skipped": SKIPPED, "success": SUCCESS, "warnings": WARNINGS}
_STOPPED = "the step was stopped"
_PROBLEMS_LOG, _NOTES_LOG = "problems", "notes"
#: The outcome of a run whose report is incomplete, by `if_broken`; it is never a success.
_INCOMPLETE = {"failure": "failure", "warnings": "warnings", "skipped": "unknown", "success": "unknown"}


class PublishTestReport(BuildStep):
    """Read JUnit XML, subunit or TAP and store every test in Buildbot's test result sets.

    Args:
        format: `junit`, `subunit` or `tap`.
        path: A file of the worker below the work directory, a pattern such as `reports/**/*.xml`, or a list of them.
        log: Instead of a path, the name of an earlier step and of its log: `("test", "stdio")`.
        description: The name of the test result sets; by default that of the step.
        fail_on_failures: Whether this step fails if a test did. By default it does not, because the step that ran the
            tests has failed already.
        if_missing: The result if there is no report: `failure`, `warnings`, `skipped` or `success`.
        if_broken: The result if a report is cut, damaged or contradicts its own plan; the same values. The tests that
            could be read are stored anyway.
        max_bytes: How much is read in all. The rest is left out with a notice, and the report counts as broken.
        max_files: How many files are read; the same applies to the rest.
        max_cases: How many tests are stored; the rest are only counted.

    """

    name = "test report"
    renderables = ("path", "log", "set_description")

    def __init__(
        self,
        format: str = "junit",  # noqa: A002 - the name in master.cfg
        path: Any = None,
        log: Any = None,
        *,
        description: Any = None,
        fail_on_failures: bool = False,
        if_missing: str = "failure",
        if_broken: str = "failure",
        max_bytes: int = MAX_BYTES,
        max_files: int = MAX_FILES,
        max_cases: int = MAX_CASES,
        **kwargs: Any,
    ) -> None:
        limits = {"max_bytes": max_bytes, "max_files": max_files, "max_cases": max_cases}
        _check(format, path, log, if_missing, if_broken, limits)
        super().__init__(**kwargs)
        self.format = format
        self.path = path
        self.log = log
        self.set_description = description
        self.fail_on_failures = fail_on_failures
        self.if_missing = if_missing
        self.if_broken = if_broken
        self.max_bytes = max_bytes
        self.max_files = max_files
        self.max_cases = max_cases
        self.words = ""
        self._reading: Reading | None = None

    def run(self) -> defer.Deferred[int]:
        """Fetch, read and store the report."""
        return defer.Deferred.fromCoroutine(self._run())

    def getResultSummary(self) -> dict[str, str]:  # noqa: N802 - Buildbot's name
        """Return the counts, or why there are none."""
        if not self.words:
            summary: dict[str, str] = super().getResultSummary()
            return summary
        return {"step": self.words}

    async def _run(self) -> int:
        files, problems = await self._fetch()
        if not files:
            self.words = problems[0] if problems else "no test report"
            await self._log_problems(problems)
            return _RESULTS[self.if_missing]
        set_heap_aside(self.master.reactor, sum(len(file.data) for file in files))
        self._reading = Reading(self._task(problems), files)
        if self.stopped:
            # The step was stopped while the files were fetched, before there was a reading to stop.
            self._reading.stop(_STOPPED)
        report = await threads.deferToThread(self._reading.read)
        await self._store(report)
        summary = report.summary
        self._count(summary)
        self.words = _words(summary) + (", report broken" if summary.problems else "")
        await self._log_problems(summary.problems)
        if summary.notes:
            await self.addCompleteLog(_NOTES_LOG, _lines(summary.notes))
        # Failure is the worst result that is possible here.
        if self.fail_on_failures and summary.failed:
            return _RESULTS["failure"]
        if summary.problems:
            return _RESULTS[self.if_broken]
        return _RESULTS["success" if summary.failed or summary.passed else "skipped"]

    def interrupt(self, reason: Any) -> defer.Deferred[None]:
        """Also stop the reading."""
        if self._reading is not None:
            self._reading.stop(_STOPPED)
        stopped: defer.Deferred[None] = super().interrupt(reason)
        return stopped

    def _task(self, problems: Sequence[str]) -> Task:
        return Task(
            format=self.format,
            most_cases=self.max_cases,
            longest_duration_ns=self._longest_duration_ns(),
            if_incomplete=_INCOMPLETE[self.if_broken],
            problems=problems,
            secrets={secret: name for secret, name in live_build.secrets_of(self.build).items() if secret},
        )

    async def _fetch(self) -> tuple[list[ReportFile], list[str]]:
        # Renderables have been rendered by now, possibly to nothing.
        if self.log is not None:
            if not _is_log(self.log):
                return [], [f"log became {_kind(self.log)}, not the name of a step and of its log"]
            step_name, log_name = self.log
            return await read_log(self, step_name, log_name, self.max_bytes)
        if not _is_path(self.path):
            return [], [f"path became {_kind(self.path)}, not a text or a list of texts"]
        paths = [self.path] if isinstance(self.path, str) else list(self.path)
        return await read_worker_files(self, paths, self.max_bytes, self.max_files)

    async def _store(self, report: ReadReport) -> None:
        """Store the sets in small batches, one after another, and complete them when everything is stored.

        Buildbot's own `addTestResult` would hold all results of a set in the master, and complete a set even if its
        results could not be stored.
        """
        updates = self.master.data.updates
        builderid = await self.build.getBuilderId()
        description = self.set_description or self.name
        setids = []
        tables = ResultTables(self.master)
        for each in report.sets:
            setid = await updates.addTestResultSet(
                builderid, self.build.buildid, self.stepid, description, each.category, each.value_unit
            )
            setids.append(setid)
            for lot in each.lots:
                await tables.add(builderid, setid, json.loads(lot))
        for setid, each in zip(setids, report.sets, strict=True):
            await updates.completeTestResultSet(setid, tests_passed=each.passed, tests_failed=each.failed)

    def _longest_duration_ns(self) -> int:
        # The column is an INTEGER; only SQLite can hold more than 2.1 seconds in it.
        engine = getattr(getattr(self.master.db, "pool", None), "engine", None)
        is_wide = getattr(getattr(engine, "dialect", None), "name", None) == "sqlite"
        return DURATION_NS_MAX if is_wide else INT32_MAX

    def _count(self, report: Summary) -> None:
        for name in ("total", "passed", "failed", "skipped"):
            self.setStatistic(f"tests-{name}", getattr(report, name))

    async def _log_problems(self, problems: Sequence[str]) -> None:
        if problems:
            await self.addCompleteLog(_PROBLEMS_LOG, _lines(problems))


def _check(
    format_: object, path: object, log: object, if_missing: object, if_broken: object, limits: Mapping[str, object]
) -> None:
    """Report every mistake; Buildbot collects them."""
    if format_ not in READERS:
        config.error(f"PublishTestReport: format must be one of {', '.join(READERS)}, not {format_!r}")
    if (path is None) == (log is None):
        config.error("PublishTestReport: give either path or log")
    if path is not None and not _is_path(path):
        config.error(f"PublishTestReport: path must be a text or a list of texts, not {path!r}")
    if log is not None and not _is_log(log):
        config.error(f"PublishTestReport: log must be the name of a step and of its log, not {log!r}")
    for name, value in (("if_missing", if_missing), ("if_broken", if_broken)):
        if value not in _RESULTS:
            config.error(f"PublishTestReport: {name} must be one of {', '.join(_RESULTS)}, not {value!r}")
    for name, limit in limits.items():
        if not isinstance(limit, int) or isinstance(limit, bool) or limit <= 0:
            config.error(f"PublishTestReport: {name} must be a number of {name[4:]} above 0, not {limit!r}")


def _is_path(path: object) -> bool:
    return _is_text(path) or (isinstance(path, list | tuple) and len(path) > 0 and all(map(_is_text, path)))


def _is_log(log: object) -> bool:
    return _is_renderable(log) or (isinstance(log, list | tuple) and len(log) == 2 and all(map(_is_text, log)))


def _is_text(value: object) -> bool:
    return (isinstance(value, str) and bool(value)) or _is_renderable(value)


def _is_renderable(value: object) -> bool:
    return bool(IRenderable.providedBy(value))


def _kind(value: object) -> str:
    return "nothing" if value is None or value == "" else f"a value of the type {type(value).__name__}"


def _lines(sentences: Iterable[str]) -> str:
    return "".join(f"{sentence}\n" for sentence in sentences)


def _words(report: Summary) -> str:
    counts = (("failed", report.failed), ("skipped", report.skipped), ("flaky", report.flaky))
    words = [f"{number} {word}" for word, number in counts if number]
    return ", ".join([f"{report.total} test{'' if report.total == 1 else 's'}", *words])
