# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The build step that reads a test report into Buildbot's own test result sets.

Which sets it makes is told in `result_sets`. It also counts: the statistics `tests-total`, `tests-passed`,
`tests-failed` (with those that broke) and `tests-skipped` of the step are set, and its words are
`5 tests, 1 failed, 2 skipped`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from buildbot import config
from buildbot.interfaces import IRenderable
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import FAILURE, SKIPPED, SUCCESS, WARNINGS
from twisted.internet import defer, threads

from sourcepulse_buildbot import test_case
from sourcepulse_buildbot.junit_report import read_junit
from sourcepulse_buildbot.report_files import ReportFile, read_log, read_worker_files
from sourcepulse_buildbot.result_sets import ResultSet, result_sets
from sourcepulse_buildbot.subunit_report import read_subunit
from sourcepulse_buildbot.tap_report import read_tap
from sourcepulse_buildbot.test_case import Report, ReportBuilder, TestCase

MAX_BYTES = 16 * 1024 * 1024
#: As many results as Buildbot writes at once; the reactor gets its turn after each lot.
RESULTS_AT_ONCE = 3_000

_READERS: dict[str, Callable[[bytes, ReportBuilder], Report]] = {
    "junit": read_junit,
    "subunit": read_subunit,
    "tap": read_tap,
}
_RESULTS: dict[str, int] = {"failure": FAILURE, "skipped": SKIPPED, "success": SUCCESS, "warnings": WARNINGS}
_PROBLEMS_LOG = "problems"


class PublishTestReport(BuildStep):
    """Read JUnit XML, subunit or TAP and store every test in Buildbot's test result sets.

    Args:
        format: `junit`, `subunit` or `tap`.
        path: A file of the worker below the work directory, a pattern such as `reports/**/*.xml`, or a list of them.
        log: Instead of a path, the name of an earlier step and of its log: `("test", "stdio")`.
        description: What the test result sets are called; by default as the step.
        fail_on_failures: Whether this step fails if a test did. By default it does not, the step that ran the tests
            has failed already.
        if_missing: The result without any report: `failure`, `warnings`, `skipped` or `success`.
        if_broken: The result if a report is cut, damaged or does not keep its own plan: one of the same. What could be
            read is stored all the same.
        max_bytes: How much is read in all. What is beyond is left out, and the report counts as broken.

    """

    name = "test report"
    renderables = ("path", "log", "set_description")

    def __init__(
        self,
        format: str = "junit",  # noqa: A002 - so it is written in master.cfg
        path: Any = None,
        log: Any = None,
        *,
        description: Any = None,
        fail_on_failures: bool = False,
        if_missing: str = "failure",
        if_broken: str = "failure",
        max_bytes: int = MAX_BYTES,
        **kwargs: Any,
    ) -> None:
        _check(format, path, log, if_missing, if_broken, max_bytes)
        super().__init__(**kwargs)
        self.format = format
        self.path = path
        self.log = log
        self.set_description = description
        self.fail_on_failures = fail_on_failures
        self.if_missing = if_missing
        self.if_broken = if_broken
        self.max_bytes = max_bytes
        self.words = ""

    def run(self) -> defer.Deferred[int]:
        """Fetch, read and store the report."""
        return defer.Deferred.fromCoroutine(self._run())

    def getResultSummary(self) -> dict[str, str]:  # noqa: N802 - Buildbot's name
        """Give the counts, or why there are none."""
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
        report = await threads.deferToThread(_read, self.format, files)
        problems += report.problems
        await self._store(report)
        self._count(report)
        self.words = _words(report) + (", report broken" if problems else "")
        await self._log_problems(problems)
        # Failure is the worst of all that is possible here.
        if self.fail_on_failures and report.failed:
            return _RESULTS["failure"]
        return _RESULTS[self.if_broken if problems else "success"]

    async def _fetch(self) -> tuple[list[ReportFile], list[str]]:
        if self.log is not None:
            step_name, log_name = self.log
            return await read_log(self, step_name, log_name, self.max_bytes)
        paths = [self.path] if isinstance(self.path, str) else list(self.path)
        return await read_worker_files(self, paths, self.max_bytes)

    async def _store(self, report: Report) -> None:
        clean = self.build.properties.cleanupTextFromSecrets
        cases = [_without_secrets(case, clean) for case in report.cases]
        description = self.set_description or self.name
        for each in result_sets(cases, longest_duration_ns=self._longest_duration_ns()):
            setid = await self.addTestResultSet(description, each.category, each.value_unit)
            await self._add_results(setid, each)

    async def _add_results(self, setid: int, each: ResultSet) -> None:
        for begin in range(0, len(each.results), RESULTS_AT_ONCE):
            for result in each.results[begin : begin + RESULTS_AT_ONCE]:
                self.addTestResult(setid, **result)
            await _turn(self.master.reactor)

    def _longest_duration_ns(self) -> int:
        # The column is an INTEGER, in which only SQLite holds more than 2.1 seconds.
        engine = getattr(getattr(self.master.db, "pool", None), "engine", None)
        is_wide = getattr(getattr(engine, "dialect", None), "name", None) == "sqlite"
        return test_case.DURATION_NS_MAX if is_wide else test_case.INT32_MAX

    def _count(self, report: Report) -> None:
        passed, skipped = report.counts.get(test_case.PASSED, 0), report.counts.get(test_case.SKIPPED, 0)
        self.setStatistic("tests-total", report.total)
        self.setStatistic("tests-passed", passed)
        self.setStatistic("tests-failed", report.failed)
        self.setStatistic("tests-skipped", skipped)

    async def _log_problems(self, problems: Sequence[str]) -> None:
        if problems:
            await self.addCompleteLog(_PROBLEMS_LOG, "".join(f"{problem}\n" for problem in problems))


def _check(
    format_: object, path: object, log: object, if_missing: object, if_broken: object, max_bytes: object
) -> None:
    """Name every mistake; Buildbot collects them."""
    if format_ not in _READERS:
        config.error(f"PublishTestReport: format must be one of {', '.join(_READERS)}, not {format_!r}")
    if (path is None) == (log is None):
        config.error("PublishTestReport: give either path or log")
    if path is not None and not _is_path(path):
        config.error(f"PublishTestReport: path must be a text or a list of texts, not {path!r}")
    if log is not None and not _is_log(log):
        config.error(f"PublishTestReport: log must be the name of a step and of its log, not {log!r}")
    for name, value in (("if_missing", if_missing), ("if_broken", if_broken)):
        if value not in _RESULTS:
            config.error(f"PublishTestReport: {name} must be one of {', '.join(_RESULTS)}, not {value!r}")
    if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or max_bytes <= 0:
        config.error(f"PublishTestReport: max_bytes must be a number of bytes above 0, not {max_bytes!r}")


def _is_path(path: object) -> bool:
    return _is_text(path) or (isinstance(path, list | tuple) and len(path) > 0 and all(map(_is_text, path)))


def _is_log(log: object) -> bool:
    return _is_renderable(log) or (isinstance(log, list | tuple) and len(log) == 2 and all(map(_is_text, log)))


def _is_text(value: object) -> bool:
    return (isinstance(value, str) and bool(value)) or _is_renderable(value)


def _is_renderable(value: object) -> bool:
    return bool(IRenderable.providedBy(value))


def _read(format_: str, files: Sequence[ReportFile]) -> Report:
    """Read all files into one report; run in a thread, for this takes a second for some ten megabytes."""
    builder = ReportBuilder()
    for file in files:
        builder.source = file.name if len(files) > 1 else ""
        _READERS[format_](file.data, builder)
    return builder.report()


def _without_secrets(case: TestCase, clean: Callable[[str], str]) -> TestCase:
    message = None if case.message is None else clean(case.message)
    return case._replace(name=clean(case.name), message=message)


def _words(report: Report) -> str:
    words = [f"{report.total} test{'' if report.total == 1 else 's'}"]
    if report.failed:
        words.append(f"{report.failed} failed")
    if skipped := report.counts.get(test_case.SKIPPED):
        words.append(f"{skipped} skipped")
    return ", ".join(words)


def _turn(reactor: Any) -> defer.Deferred[None]:
    turn: defer.Deferred[None] = defer.Deferred()
    reactor.callLater(0, turn.callback, None)
    return turn
