# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Builds and the requests for them; which builders there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from sourcepulse_web.board.fact import Data, Fact
from sourcepulse_web.board.reduce.marks import mark, mark_later, pushes_with
from sourcepulse_web.board.reduce.text import SHORT_DIGITS, first_line, known_word
from sourcepulse_web.board.store import Change, Delete, Put, Row, View

#: How old the time may be at which a builder was seen last, before it is written again.
SEEN_STEP_SECONDS = 600
FAILED = ("failure", "exception")

_HEX = re.compile(r"[0-9a-f]{12,40}")


def scope_of(source: str) -> str:
    """Return the Buildbot database of a source, which masters share: `buildbot://NAME` of `buildbot://NAME/MASTER`."""
    scheme, _, rest = source.partition("://")
    name, slash, tail = rest.partition("/")
    return f"{scheme}://{name}{tail[tail.find('?') :] if slash and '?' in tail else ''}"


def started(view: View, fact: Fact) -> Iterator[Change]:
    yield from _built(view, fact, _build_row(fact, ended=False))


def finished(view: View, fact: Fact) -> Iterator[Change]:
    yield from _built(view, fact, _build_row(fact, ended=True))


def _built(view: View, fact: Fact, row: Row) -> Iterator[Change]:
    former = view.get("builds", row["key"])
    pushes = pushes_with(view, row["revision"])
    if former is not None and former["started_at"] != row["started_at"]:
        if former["started_at"] > row["started_at"]:
            return
        # The database was made again and hands out the same numbers.
        for table in ("tests", "runs"):
            for old in view.find(table, "build", row["key"]):
                yield Delete(table, old["key"])
        yield from mark(view, sorted(set(pushes_with(view, former["revision"])) - set(pushes)), fact.position)
        former = None
    if former is not None and former["ended"] >= row["ended"]:
        return
    request = view.get("requests", row["request"])
    if request is not None:
        row["submitted_at"] = request["submitted_at"]
        if not request["ended"] or _is_result(row):
            yield Delete("requests", row["request"])
    elif former is not None:
        row["submitted_at"] = former["submitted_at"]
    yield Put("builds", row["key"], row)
    yield from _place(view, row, row["started_at"])
    tests = [test["testid"] for test in view.find("tests", "build", row["key"])]
    failed = [row["place"]] if row["outcome"] in FAILED or tests else []
    yield from mark(view, pushes, fact.position, places=failed, tests=tests)
    if row["ended"]:
        yield from mark_later(view, pushes, fact.position, place=row["place"], tests=tests)


def _build_row(fact: Fact, *, ended: bool) -> Row:
    data = fact.data
    scope = scope_of(fact.source)
    return {
        "key": f"{scope} {data['buildid']}",
        "position": fact.position,
        **_what(data),
        "build": data["buildid"],
        "request": f"{scope} {data['buildrequestid']}",
        "number": data["buildnumber"],
        "ended": ended,
        "outcome": str(data["outcome"]) if ended else None,
        "submitted_at": None,
        "started_at": str(data["started_at"]),
        "complete_at": str(data["complete_at"]) if ended else None,
        "state_string": data.get("state_string") if ended else None,
        "worker": data.get("workername"),
        "url": data.get("url"),
        "scheduler": data.get("scheduler"),
    }


def _what(data: Data) -> Row:
    """Return what a build or a request is for: its place, platform, repository and revision."""
    normalized = data.get("normalized") or {}
    stamps = [each for each in data.get("sourcestamps") or () if isinstance(each, dict)]
    revision = _revision(data, normalized, stamps)
    return {
        "place": str(data["buildername"]),
        "platform": known_word(normalized.get("platform")),
        "buildtype": known_word(normalized.get("buildtype")),
        "tree": known_word(normalized.get("tree")),
        "repositories": sorted({str(each["repository"]) for each in stamps if each.get("repository")}),
        "revision": revision,
        "short": revision[:SHORT_DIGITS],
    }


def _revision(data: Data, normalized: Data, stamps: list[Data]) -> str:
    got = (data.get("properties") or {}).get("got_revision")
    if isinstance(got, dict):
        # One for each codebase: that of the first source stamp.
        got = next((got[each["codebase"]] for each in stamps if each.get("codebase") in got), None)
    asked = [each.get("revision") for each in stamps]
    for found in (known_word(normalized.get("revision")), got, data.get("revision"), *asked):
        # A local revision number of hg, or a branch, names no changeset.
        if isinstance(found, str) and _HEX.fullmatch(found.strip().lower()):
            return found.strip().lower()
    return ""


def submitted(view: View, fact: Fact) -> Iterator[Change]:
    yield from _requested(view, fact, _request_row(fact, ended=False))


def completed(view: View, fact: Fact) -> Iterator[Change]:
    yield from _requested(view, fact, _request_row(fact, ended=True))


def _requested(view: View, fact: Fact, row: Row) -> Iterator[Change]:
    builds = [build for build in view.find("builds", "request", row["key"]) if _is_of(build, row)]
    # What waited to start again may be cancelled; else the build itself says what became of it.
    if builds and (not row["ended"] or any(map(_is_result, builds))):
        return
    former = view.get("requests", row["key"])
    if former is not None and former["submitted_at"] > row["submitted_at"]:
        return
    if former is not None and former["submitted_at"] == row["submitted_at"] and former["ended"] >= row["ended"]:
        return
    known = former or max(builds, key=lambda build: build["started_at"], default=None)
    if known is not None and not row["revision"]:
        row |= {name: known[name] for name in ("revision", "short", "repositories", "tree")}
    yield Put("requests", row["key"], row)
    if not row["ended"]:
        yield from _place(view, row, row["submitted_at"])
    yield from mark(view, pushes_with(view, row["revision"]), fact.position)


def _is_of(build: Row, request: Row) -> bool:
    """Return whether a build is of this request, and not of one with the same number in a database made again."""
    return bool(build["started_at"] >= request["submitted_at"])


def _is_result(build: Row) -> bool:
    return bool(build["ended"] and build["outcome"] != "retry")


def _request_row(fact: Fact, *, ended: bool) -> Row:
    data = fact.data
    scope = scope_of(fact.source)
    return {
        "key": f"{scope} {data['buildrequestid']}",
        "position": fact.position,
        **_what(data),
        "submitted_at": str(data["submitted_at"]),
        "ended": ended,
        "outcome": str(data["outcome"]) if ended else None,
        "complete_at": data.get("complete_at") if ended else None,
        "build": data.get("buildid") if ended else None,
        "collapsed_into": f"{scope} {data['collapsed_into']}" if ended and data.get("collapsed_into") else None,
        "url": data.get("url"),
    }


def _place(view: View, row: Row, at: str) -> Iterator[Change]:
    """Remember a builder by what it builds: a request often does not have the platform yet, a build has."""
    key = "\n".join((row["place"], row["tree"], *row["repositories"]))
    former = view.get("places", key)
    place: Row = {
        "place": row["place"],
        "tree": row["tree"],
        "repositories": row["repositories"],
        "platform": row["platform"],
        "buildtype": row["buildtype"],
        "seen": at,
    }
    if former is not None:
        if former["seen"] > at:
            return
        for name in ("platform", "buildtype"):
            place[name] = place[name] or former[name]
        if place == {**former, "seen": at} and not _is_over(former["seen"], at):
            return
    yield Put("places", key, place)


def _is_over(former: str, now: str) -> bool:
    try:
        passed = datetime.fromisoformat(now) - datetime.fromisoformat(former)
    except (ValueError, TypeError):
        return True
    return passed.total_seconds() >= SEEN_STEP_SECONDS


def message_of(text: object) -> str | None:
    """Return the first line of a message, or None."""
    return first_line(text, 300) or None if isinstance(text, str) else None
