# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Four readers of the stream that need nothing but events: tree board, failure notifier, flaky tests, capacity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sourcepulse import Event


def tree_board(events: Iterable[Event]) -> dict[str, dict[str, str]]:
    """Return for each push (its last changeset) what each builder made of it: the first build that has it counts."""
    board: dict[str, dict[str, str]] = {}
    build_of: dict[tuple[str, str], int] = {}
    push_of: dict[str, str] = {}
    for event in events:
        data = event.data
        if event.type == "hg.push.v1":
            board[data["last"]] = {}
            push_of |= {changeset["node"]: data["last"] for changeset in data["changesets"]}
        elif event.type in ("build.started.v1", "build.finished.v1"):
            for change in data["changes"]:
                push, builder = push_of.get(change["revision"]), data["buildername"]
                if push is None:
                    continue
                if board[push].get(builder) == "retry":
                    build_of[push, builder] = data["buildid"]
                if build_of.setdefault((push, builder), data["buildid"]) == data["buildid"]:
                    board[push][builder] = data.get("outcome", "running")
    return board


class Notice(NamedTuple):
    """A builder changed its mind."""

    buildername: str
    outcome: str
    owners: list[str]
    revision: str | None
    url: str | None


def failure_notices(events: Iterable[Event]) -> list[Notice]:
    """Return one notice for each builder that began to fail or is mended."""
    last: dict[str, bool] = {}
    notices = []
    for event in events:
        data = event.data
        if event.type != "build.finished.v1" or data["outcome"] not in ("success", "warnings", "failure", "exception"):
            continue
        is_bad = data["outcome"] in ("failure", "exception")
        if is_bad != last.get(data["buildername"], False):
            members = ("buildername", "outcome", "owners", "revision", "url")
            notices.append(Notice(*(data[name] for name in members)))
        last[data["buildername"]] = is_bad
    return notices


def flaky_tests(events: Iterable[Event]) -> dict[str, int]:
    """Return how often a test was flaky: within a run, or with two outcomes on one revision."""
    names: dict[str, str] = {}
    count: defaultdict[str, int] = defaultdict(int)
    outcomes: defaultdict[tuple[str, str | None], set[bool]] = defaultdict(set)
    for event in events:
        data = event.data
        if not event.type.startswith("test.case.") or data["outcome"] == "skipped":
            continue
        test = data["testid"]
        names[test] = f"{data['description']}: {data['test_name']}"
        seen = outcomes[test, data["revision"]]
        passed = data["outcome"] == "success"
        count[test] += data["flaky"] or (bool(seen) and passed not in seen)
        seen.add(passed)
    return {names[test]: number for test, number in count.items() if number}


class Load(NamedTuple):
    """How busy workers were, of one, and how long requests waited, in seconds."""

    busy: dict[str, float]
    waits: list[float]


def capacity(events: Iterable[Event]) -> Load:
    """Return which part of its slots each worker used from the first to the last event, and the waits."""
    slots: dict[str, int] = {}
    seconds: defaultdict[str, float] = defaultdict(float)
    submitted: dict[int, str] = {}
    waits, times = [], []
    for event in events:
        data: dict[str, Any] = event.data
        if event.type.startswith("build."):
            times.append(_at(event.time))
        if event.type == "build.worker.connected.v1":
            slots[data["name"]] = data["max_builds"] or 1
        elif event.type == "build.request.submitted.v1":
            submitted[data["buildrequestid"]] = data["submitted_at"]
        elif event.type == "build.started.v1":
            waits.append(_at(data["started_at"]) - _at(submitted[data["buildrequestid"]]))
        elif event.type == "build.finished.v1":
            seconds[data["workername"]] += _at(data["complete_at"]) - _at(data["started_at"])
    whole = max(times) - min(times) if times else 0.0
    return Load({name: seconds[name] / (whole * slots[name]) if whole else 0.0 for name in slots}, waits)


def _at(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
