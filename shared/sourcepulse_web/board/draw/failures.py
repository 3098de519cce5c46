# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Lines of what failed: each test once, with all its places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from sourcepulse_web.board.documents import FailureDoc, PushRef, Verdict, WordState
from sourcepulse_web.board.draw.bugs import Bugs
from sourcepulse_web.board.draw.places import TIER, Place, Places
from sourcepulse_web.board.draw.push_facts import PushFacts
from sourcepulse_web.board.draw.verdicts import History, Judged
from sourcepulse_web.board.store import Row

#: More failed tests of one build are counted, not compared: something else is wrong then.
TESTS_MAX = 200
_ORDER: dict[str, int] = {"new": 0, "alone": 1, "known": 2, "broke": 3}


@dataclass(slots=True)
class _Failed:
    """One test, or the builds of one builder that failed without one; `index` is the newest push of them."""

    index: int
    test: Row | None
    builds: list[tuple[Place, Row]] = field(default_factory=list)
    runs: set[tuple[str, str]] = field(default_factory=set)


class Failures:
    """Everything that failed in some builds, with its verdicts."""

    def __init__(self, history: History, places: Places, bugs: Bugs) -> None:
        self._history = history
        self._places = places
        self._bugs = bugs

    def of_push(self, index: int) -> tuple[list[FailureDoc], int]:
        push = self._history.pushes[index]
        return self.of_builds((index, rows[0]) for rows in push.builds.values())

    def of_builds(self, builds: Iterable[tuple[int, Row]]) -> tuple[list[FailureDoc], int]:
        """Return the failures of builds, each with the index of its push, new ones first; and how many more."""
        found: dict[str, _Failed] = {}
        others: set[str] = set()
        for index, build in builds:
            place = self._places.by_name.get(build["place"])
            if place is None:
                continue
            tests = self._history.pushes[index].tests.get(build["key"], [])
            looked_at = self._looked_at(index, tests)
            others.update(test["testid"] for test in tests if looked_at is not tests)
            for test in looked_at:
                failed = found.setdefault(test["testid"], _Failed(index, test))
                failed.index = min(index, failed.index)
                failed.builds.append((place, build))
                failed.runs.add((place.name, test["run"]))
            if not tests and build["outcome"] in ("failure", "exception"):
                found[f"\n{build['key']}"] = _Failed(index, None, [(place, build)])
        drawn = [self._document(failed) for failed in found.values()]
        drawn.sort(key=lambda each: (each["tier"] > TIER, _ORDER[each["verdict"]], each["test"], each["line"] or 0))
        return drawn, len(others - found.keys())

    def state_of(self, index: int, build: Row) -> WordState:
        """Return the word of a build whose outcome is failure."""
        tests = self._history.pushes[index].tests.get(build["key"], [])
        if not tests:
            return _word(self._history.build(index, [build["place"]]).verdict)
        verdicts = {
            self._history.test(index, test["testid"], [(build["place"], test["run"])]).verdict
            for test in self._looked_at(index, tests)
        }
        return _word(min(verdicts, key=lambda verdict: _ORDER[verdict]))

    def _looked_at(self, index: int, tests: list[Row]) -> list[Row]:
        """Return the tests of a build that are compared: of too many those first that did not fail before."""
        if len(tests) <= TESTS_MAX:
            return tests
        before = self._history.failed_before(index)
        return sorted(tests, key=lambda test: test["testid"] in before)[:TESTS_MAX]

    def _document(self, failed: _Failed) -> FailureDoc:
        push = self._history.pushes[failed.index]
        _, build = failed.builds[0]
        judged = self._judge(failed)
        test = failed.test
        return FailureDoc(
            verdict=judged.verdict,
            said=judged.said,
            test=test["test"] if test else f"{build['place']} #{build['number']}",
            is_test=test is not None,
            tier=min(place.tier for place, _ in failed.builds),
            line=test["line"] if test else None,
            where=_where_of(failed),
            places=[place.name for place, _ in failed.builds],
            message=test["message"] if test else build["state_string"],
            bug=self._bugs.guess(test["file"]) if test else None,
            note=asked_again(push, build) or judged.note,
            link=build["url"],
            since=reference(self._history.pushes[judged.since]),
        )

    def _judge(self, failed: _Failed) -> Judged:
        if failed.test is not None:
            return self._history.test(failed.index, failed.test["testid"], failed.runs)
        place, build = failed.builds[0]
        judged = self._history.build(failed.index, [place.name])
        return judged._replace(verdict="broke", since=failed.index) if build["outcome"] == "exception" else judged


def asked_again(push: PushFacts, build: Row) -> str:
    """Return when a build that broke was asked for again."""
    if build["outcome"] != "exception":
        return ""
    for request in push.requests.get(build["place"], ()):
        if request["key"] != build["request"] and request["submitted_at"] > build["started_at"]:
            return f"asked for again at {request['submitted_at'][11:16]}"
    return ""


def _where_of(failed: _Failed) -> str:
    places = [place for place, _ in failed.builds]
    tier = min(place.tier for place in places)
    return (where(places) if failed.test else "no test result") + (f", tier {tier}" if tier > TIER else "")


def where(places: Iterable[Place]) -> str:
    """Return `on linux64 opt, win64 opt: unit`, grouped by what the builders are called."""
    lines: dict[str, list[str]] = {}
    for place in places:
        line = f"{place.platform} {place.buildtype}".strip()
        found = lines.setdefault(place.label, [])
        if line and line not in found:
            found.append(line)
    return "; ".join(f"on {', '.join(on)}: {label}" if on else f"in {label}" for label, on in lines.items())


def reference(push: PushFacts) -> PushRef:
    row = push.push
    return PushRef(id=row["position"], repo=row["repo"], node=row["node"], user=row["user"], time=row["time"])


def _word(verdict: Verdict) -> WordState:
    return "exception" if verdict == "broke" else verdict
