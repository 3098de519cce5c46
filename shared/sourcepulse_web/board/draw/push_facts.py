# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is known of pushes, read together: their builds, requests, test runs and failed tests."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from sourcepulse_web.board.draw.aliases import Aliases
from sourcepulse_web.board.store import Row, Store

#: Pushes that one gateway remembers, of all trees together; 40 builds of one are about 60 kB.
CACHE_PUSHES = 300
#: An ended build with one of these shows what fails and what does not.
MEANINGFUL = ("success", "warnings", "failure")
#: Other outcomes are no result: what was cancelled or skipped, or starts again, changes nothing that is known.
RESULTS = (*MEANINGFUL, "exception")

#: What happened -> the keys of the builds in which it did.
ByBuild = dict[str, set[str]]


@dataclass(slots=True)
class PushFacts:
    """One push; lists are newest first."""

    push: Row
    builds: dict[str, list[Row]] = field(default_factory=dict)
    requests: dict[str, list[Row]] = field(default_factory=dict)
    #: Key of a build -> its failed tests, in their order.
    tests: dict[str, list[Row]] = field(default_factory=dict)
    #: Which tests failed.
    failed: ByBuild = field(default_factory=dict)
    #: (place, run) of the test runs that finished and are whole.
    ran: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    #: Places with an ended build that shows something; and those with a build that failed.
    ended: ByBuild = field(default_factory=dict)
    failed_places: ByBuild = field(default_factory=dict)


class FactsCache:
    """Remembers the facts of pushes until an event changes them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], tuple[int, PushFacts]] = OrderedDict()

    def clear(self) -> None:
        self._kept.clear()

    def load(self, store: Store, aliases: Aliases, pushes: Sequence[Row], marks: dict[int, Row]) -> list[PushFacts]:
        """Return the facts of pushes of one tree, in the same order."""
        facts: dict[int, PushFacts] = {}
        for push in pushes:
            position = push["position"]
            kept = self._kept.get((position, aliases.fingerprint))
            if kept is not None and kept[0] == marks[position]["changed"]:
                facts[position] = kept[1]
                self._kept.move_to_end((position, aliases.fingerprint))
        missing = [push for push in pushes if push["position"] not in facts]
        for found in _load(store, aliases, missing):
            position = found.push["position"]
            facts[position] = found
            self._kept[position, aliases.fingerprint] = (marks[position]["changed"], found)
        while len(self._kept) > CACHE_PUSHES:
            self._kept.popitem(last=False)
        return [facts[push["position"]] for push in pushes]


def _load(store: Store, aliases: Aliases, pushes: Sequence[Row]) -> list[PushFacts]:
    facts = {push["position"]: PushFacts(push) for push in pushes}
    belongs = Belonging(store, aliases)
    owners: dict[str, list[PushFacts]] = {}
    for table in ("builds", "requests"):
        for position, node, row in store.of_pushes(table, list(facts)):
            found = facts[position]
            kept = found.builds if table == "builds" else found.requests
            if not node.startswith(row["revision"]) or not belongs(row, found.push["repo"]):
                continue
            of_place = kept.setdefault(row["place"], [])
            if any(other["key"] == row["key"] for other in of_place):
                continue
            of_place.append(row)
            if table == "builds":
                owners.setdefault(row["key"], []).append(found)
    for found in facts.values():
        for builds in found.builds.values():
            builds.sort(key=lambda row: (row["started_at"], row["number"]), reverse=True)
        for requests in found.requests.values():
            requests.sort(key=lambda row: (row["submitted_at"], row["key"]), reverse=True)
    _add_tests(store, facts.values(), owners)
    return list(facts.values())


def _add_tests(store: Store, facts: Collection[PushFacts], owners: dict[str, list[PushFacts]]) -> None:
    for test in store.find_any("tests", "build", owners):
        for found in owners[test["build"]]:
            found.tests.setdefault(test["build"], []).append(test)
            found.failed.setdefault(test["testid"], set()).add(test["build"])
    for key, place, run in store.whole_runs(owners):
        for found in owners[key]:
            found.ran.setdefault((place, run), set()).add(key)
    for found in facts:
        for tests in found.tests.values():
            tests.sort(key=lambda test: (test["position"], test["key"]))
        for place, builds in found.builds.items():
            for row in builds:
                if row["ended"] and row["outcome"] in MEANINGFUL:
                    found.ended.setdefault(place, set()).add(row["key"])
                if row["outcome"] == "failure":
                    found.failed_places.setdefault(place, set()).add(row["key"])


class Belonging:
    """Whether a build is of a tree: by its names, else if only this tree has its revision."""

    def __init__(self, store: Store, aliases: Aliases) -> None:
        self._store = store
        self._aliases = aliases
        self._repos: dict[str, set[str]] = {}

    def __call__(self, row: Row, repo: str) -> bool:
        found = self._aliases.repo_of(row["repositories"], row["tree"])
        if found is not None:
            return found == repo
        short = row["short"]
        if short not in self._repos:
            self._repos[short] = self._store.repos_with(short)
        return self._repos[short] == {repo}
