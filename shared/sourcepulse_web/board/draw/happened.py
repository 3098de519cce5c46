# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What happened around a change, line by line: sentences in pieces, so that a page can link them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sourcepulse_web.board.documents import PushDoc, WordDoc, WordState
from sourcepulse_web.board.draw.failures import Failures, asked_again
from sourcepulse_web.board.draw.places import Places
from sourcepulse_web.board.draw.push_facts import PushFacts
from sourcepulse_web.board.draw.verdicts import History
from sourcepulse_web.board.draw.words import OPEN, asked_for, seconds_between, state_of
from sourcepulse_web.board.store import Row, Store
from sourcepulse_web.board.story_documents import HappenedDoc, PartDoc

#: Builds that failed, and changes of the tree's state, in one story at most.
BUILDS_MAX = 40
TREE_FACTS_MAX = 10

_OVER = {"remote:ssh": " over ssh", "remote:http": " over HTTP", "remote:https": " over HTTPS"}
_TREE_MARKS = {"closed": "closed", "open": "opened", "approval required": "approval"}


def plain(text: str) -> PartDoc:
    return PartDoc(kind="plain", text=text, ref=None, state=None)


def strong(text: str) -> PartDoc:
    return PartDoc(kind="strong", text=text, ref=None, state=None)


def tree_part(name: str, repo: str) -> PartDoc:
    return PartDoc(kind="tree", text=name, ref=repo, state=None)


def bug_part(bug: int) -> PartDoc:
    return PartDoc(kind="bug", text=f"bug {bug}", ref=str(bug), state=None)


def node_part(node: str) -> PartDoc:
    return PartDoc(kind="node", text=node[:12], ref=node, state=None)


class Happened:
    """The lines of one push, whose facts are the first of the history."""

    def __init__(self, store: Store, history: History, places: Places, failures: Failures, tree_name: str) -> None:
        self._store = store
        self._push: PushFacts = history.pushes[0]
        self._history = history
        self._places = places
        self._failures = failures
        self._tree_name = tree_name

    def lines(
        self, push: PushDoc, place_in_push: str, bug_facts: Iterable[Row], naming: Iterable[Row]
    ) -> list[HappenedDoc]:
        """Return all lines, oldest first."""
        found = [
            self._pushed(push, place_in_push),
            *self._builds(push),
            *self._trees(push),
            *(self._bug(row) for row in bug_facts if row["time"] >= push["time"]),
            *(self._named(row) for row in naming if not row["is_description"]),
        ]
        if push["stripped_at"]:
            found.append((push["stripped_at"], "stripped", [plain("Stripped from "), self._tree()]))
        if push["backed_out"]:
            out = push["backed_out"]
            found.append(
                (
                    out["time"],
                    "push",
                    [plain("Backed out by "), strong(out["user"] or "?"), plain(" in "), node_part(out["node"])],
                )
            )
        found.sort(key=lambda line: line[0])
        return [
            HappenedDoc(time=time, after_s=seconds_between(push["time"], time) or 0, mark=mark, parts=parts)
            for time, mark, parts in found
        ]

    def _tree(self) -> PartDoc:
        return tree_part(self._tree_name, self._push.push["repo"])

    def _pushed(self, push: PushDoc, place_in_push: str) -> tuple[str, str, list[PartDoc]]:
        count = f"{push['count']} changes" if push["count"] != 1 else "1 change"
        over = _OVER.get(self._push.push["url"] or "", "")
        parts = [
            strong(push["user"] or "somebody"),
            plain(f" pushed {count} to "),
            self._tree(),
            plain(over + place_in_push),
        ]
        return push["time"], "push", parts

    def _builds(self, push: PushDoc) -> Iterator[tuple[str, str, list[PartDoc]]]:
        words = asked_for(push["lines"])
        builds = [builds[0] for builds in self._push.builds.values()]
        if builds:
            first = min(builds, key=lambda row: row["started_at"])
            by = f" asked for by scheduler {first['scheduler']}" if first["scheduler"] else " asked for"
            counted = f"{len(words)} builds" if len(words) != 1 else "1 build"
            yield first["started_at"], "running", [strong(counted), plain(f"{by}, the first started")]
        bad = [row for row in builds if row["ended"] and row["outcome"] in ("failure", "exception")]
        for build in sorted(bad, key=lambda row: row["complete_at"])[:BUILDS_MAX]:
            yield self._failed(build)
        ends = [word["complete_at"] for word in words if word["complete_at"]]
        if ends and all_ended(words):
            text = f"The last of {len(words)} builds ended" if len(words) != 1 else "Its build ended"
            yield max(ends), "passed", [strong(text), plain(f"; {push['passed']} passed")]

    def _failed(self, build: Row) -> tuple[str, str, list[PartDoc]]:
        place = self._places.by_name.get(build["place"])
        state: WordState = state_of(0, build, self._failures)
        label = place.label if place else build["place"]
        line = f" on {place.platform} {place.buildtype}".rstrip() if place and place.platform else ""
        parts = [PartDoc(kind="word", text=label, ref=build["place"], state=state)]
        tests = self._push.tests.get(build["key"], [])
        if tests:
            test = tests[0]
            judged = self._history.test(0, test["testid"], [(build["place"], test["run"])])
            more = f" and {len(tests) - 1} more" if len(tests) > 1 else ""
            text = test["test"] if test["line"] is None else f"{test['test']}:{test['line']}"
            parts += [
                plain(f" failed{line}: "),
                PartDoc(kind="test", text=text, ref=None, state=None),
                plain(f", {judged.said}{more}"),
            ]
        else:
            said = "broke" if state == "exception" else "failed"
            again = "; asked for again" if asked_again(self._push, build) else ""
            parts.append(plain(f" {said}{line}: {build['state_string'] or 'no test result'}{again}"))
        return build["complete_at"], state, parts

    def _trees(self, push: PushDoc) -> Iterator[tuple[str, str, list[PartDoc]]]:
        facts = [
            row
            for row in self._store.find("treefacts", "repo", push["repo"])
            if row["kind"] == "state" and row["time"] >= push["time"]
        ]
        for row in sorted(facts, key=lambda row: row["time"])[:TREE_FACTS_MAX]:
            said = {"closed": "closed", "open": "opened"}.get(row["state"], f"set to {row['state']}")
            by = f" by {row['by']}" if row["by"] else ""
            reason = f": {row['reason']}" if row["reason"] else ""
            yield (
                row["time"],
                _TREE_MARKS.get(row["state"], "opened"),
                [strong(f"{self._tree_name} {said}"), plain(by + reason)],
            )

    def _bug(self, row: Row) -> tuple[str, str, list[PartDoc]]:
        who = strong(row["who"] or "somebody")
        bug = bug_part(row["bug"])
        if row["kind"] == "closed":
            return (
                row["time"],
                "bug",
                [who, plain(" resolved "), bug, plain(f" as {row['resolution']}" if row["resolution"] else "")],
            )
        if row["kind"] == "reopened":
            return row["time"], "bug", [who, plain(" reopened "), bug]
        return row["time"], "bug", [who, plain(" made "), bug, plain(f" {row['summary']}")]

    def _named(self, row: Row) -> tuple[str, str, list[PartDoc]]:
        return (
            row["time"],
            "bug",
            [strong(row["who"] or "somebody"), plain(" named this change on "), bug_part(row["bug"])],
        )


def all_ended(words: list[WordDoc]) -> bool:
    return not any(word["state"] in OPEN for word in words)
