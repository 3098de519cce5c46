# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The data of the buildbot events; made by `sourcepulse.typed.generate`, change the schemas instead."""

from __future__ import annotations

from typing import Any, TypedDict

from sourcepulse.typed.common import (
    BuildchangesItem,
    Link,
    Master,
    Normalized,
    RawItem,
    SourcestampsItem,
    TestCase,
    TruncatedItem,
    Worker,
)


class BuildBuildsetCompleted(TypedDict):
    """A buildset completed."""

    bsid: int
    reason: str
    external_idstring: str | None
    submitted_at: str
    complete_at: str
    results: int | None
    outcome: str
    sourcestamps: list[SourcestampsItem]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildFinished(TypedDict):
    """A build finished."""

    buildid: int
    buildnumber: int
    builderid: int
    buildername: str
    real_buildername: str
    tags: list[str]
    description: str | None
    buildrequestid: int
    buildsetid: int
    workerid: int | None
    workername: str | None
    started_at: str
    reason: str
    scheduler: str | None
    owners: list[str]
    parent_buildid: int | None
    rebuilt_buildid: int | None
    sourcestamps: list[SourcestampsItem]
    changes: list[BuildchangesItem]
    revision: str | None
    properties: dict[str, Any]
    normalized: Normalized
    url: str | None
    complete_at: str
    state_string: str
    results: int | None
    outcome: str
    locks_duration_s: int
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildLogFinished(TypedDict):
    """A log is complete."""

    buildid: int
    buildnumber: int
    builderid: int
    buildername: str
    stepid: int
    number: int
    name: str
    logid: int
    slug: str
    type: str
    num_lines: int
    url: str | None
    raw_url: str | None
    tail: str | None
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildMasterStarted(Master):
    """A master started."""


class BuildMasterStopped(Master):
    """A master stopped."""


class BuildRequestCompleted(TypedDict):
    """A build request completed."""

    buildrequestid: int
    buildsetid: int
    builderid: int
    buildername: str
    submitted_at: str
    claimed_at: str | None
    complete_at: str
    results: int | None
    outcome: str
    buildid: int | None
    collapsed_into: int | None
    sourcestamps: list[SourcestampsItem]
    normalized: Normalized
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildRequestSubmitted(TypedDict):
    """A build was requested."""

    buildrequestid: int
    buildsetid: int
    builderid: int
    buildername: str
    tags: list[str]
    description: str | None
    priority: int
    submitted_at: str
    waited_for: bool
    reason: str
    scheduler: str | None
    parent_buildid: int | None
    sourcestamps: list[SourcestampsItem]
    changes: list[BuildchangesItem]
    properties: dict[str, Any]
    normalized: Normalized
    url: str | None
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildStarted(TypedDict):
    """A build started."""

    buildid: int
    buildnumber: int
    builderid: int
    buildername: str
    real_buildername: str
    tags: list[str]
    description: str | None
    buildrequestid: int
    buildsetid: int
    workerid: int | None
    workername: str | None
    started_at: str
    reason: str
    scheduler: str | None
    owners: list[str]
    parent_buildid: int | None
    rebuilt_buildid: int | None
    sourcestamps: list[SourcestampsItem]
    changes: list[BuildchangesItem]
    revision: str | None
    properties: dict[str, Any]
    normalized: Normalized
    url: str | None
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildStepFinished(TypedDict):
    """A step finished."""

    buildid: int
    buildnumber: int
    builderid: int
    buildername: str
    stepid: int
    number: int
    name: str
    started_at: str | None
    complete_at: str
    state_string: str
    results: int | None
    outcome: str
    urls: list[Link]
    hidden: bool
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildStepStarted(TypedDict):
    """A step started."""

    buildid: int
    buildnumber: int
    builderid: int
    buildername: str
    stepid: int
    number: int
    name: str
    started_at: str
    hidden: bool
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class BuildWorkerConnected(Worker):
    """A worker connected."""


class BuildWorkerDisconnected(Worker):
    """A worker disconnected."""


class BuildWorkerMissing(Worker):
    """A worker is missing."""


class BuildWorkerPaused(Worker):
    """A worker was paused."""


class BuildWorkerUnpaused(Worker):
    """A worker was unpaused."""


class ChangeAdded(TypedDict):
    """Buildbot took in a change."""

    changeid: int
    author: str
    committer: str | None
    comments: str
    branch: str | None
    revision: str | None
    revlink: str | None
    when_timestamp: str
    category: str | None
    repository: str
    codebase: str
    project: str
    files: list[str]
    properties: dict[str, Any]
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]


class TestCaseFailed(TestCase):
    """A test failed."""


class TestCasePassed(TestCase):
    """A test passed."""


class TestCaseSkipped(TestCase):
    """A test was skipped."""


class TestRunFinished(TypedDict):
    """A test run finished."""

    buildid: int
    buildnumber: int
    builderid: int
    buildername: str
    stepid: int
    step_name: str
    revision: str | None
    test_result_setid: int | None
    description: str
    category: str | None
    tests_total: int | None
    tests_passed: int | None
    tests_failed: int | None
    tests_skipped: int | None
    tests_flaky: int | None
    outcome: str
    incomplete: bool
    problems: list[str]
    notes: list[str]
    cases: int
    cases_left_out: int
    recovered: bool
    truncated: list[TruncatedItem]
    raw: list[RawItem]
