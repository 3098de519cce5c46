# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The story of a change: what became of it on each tree that has it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from sourcepulse_web.board.documents import FailureDoc, PushDoc, PushRef, WordDoc, WordState
from sourcepulse_web.board.draw.canvas import Canvas
from sourcepulse_web.board.draw.failures import reference
from sourcepulse_web.board.draw.happened import Happened, all_ended
from sourcepulse_web.board.draw.places import TIER
from sourcepulse_web.board.draw.trees import state_at
from sourcepulse_web.board.draw.words import OPEN, RAN, asked_for
from sourcepulse_web.board.reduce.marks import end_rank
from sourcepulse_web.board.reduce.text import bugs_in, first_line
from sourcepulse_web.board.store import Row, Store
from sourcepulse_web.board.story_documents import AlsoDoc, HappenedDoc, ParentDoc, StoryBugDoc, StoryDoc, StoryVerdict

PREFIX_MIN = 6
STORIES_MAX = 10
SAME_PUSH_MAX = 50
FILES_MAX = 100
ALSO_MAX = 10


def stories_of(store: Store, prefix: str, canvas: Callable[[str], Canvas]) -> list[StoryDoc]:
    prefix = prefix.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{PREFIX_MIN},40}}", prefix):
        return []
    found = [(node, store.get("pushes", str(node["position"]))) for node in store.nodes_from(prefix, STORIES_MAX)]
    pushed = [(node, push) for node, push in found if push is not None]
    pushed.sort(key=lambda each: (each[1]["time"], each[1]["repo"], each[0]["node"]), reverse=True)
    return [_Story(store, canvas(push["repo"]), node, push, canvas).document() for node, push in pushed]


class _Story:
    def __init__(self, store: Store, canvas: Canvas, node: Row, push: Row, other: Callable[[str], Canvas]) -> None:
        self._store = store
        self._canvas = canvas
        self._node = node
        self._push = push
        self._other = other
        self._history = canvas.history(f"{push['rank']}~", 2)
        self._drawer = canvas.drawer(self._history)
        self._desc = str(node.get("desc") or "")

    def document(self) -> StoryDoc:
        node, canvas = self._node, self._canvas
        push, *before = self._drawer.documents(range(min(2, len(self._history.pushes))))
        failures, more_failures = self._failures(before)
        words = asked_for(push["lines"])
        verdict, said = _verdict(failures, words, more_failures)
        bugs = bugs_in(self._desc)
        naming = self._naming()
        naming_bugs = sorted({row["bug"] for row in naming} - set(bugs))
        siblings = self._siblings()
        files = [str(file) for file in node.get("files") or ()]
        return StoryDoc(
            node=node["node"],
            listed=node["listed"],
            title=first_line(self._desc),
            text=self._desc,
            bugs=[canvas.bugs.document(bug) for bug in bugs],
            author=node.get("author"),
            date=_date(node.get("date")),
            branch=node.get("branch"),
            phase=node.get("phase"),
            parents=[str(each) for each in node.get("parents") or ()],
            files=files[:FILES_MAX],
            extra_files=max(0, len(files) - FILES_MAX),
            push=push,
            tree=canvas.tree(),
            tree_then=state_at(self._store, self._push["repo"], self._push["time"]),
            verdict=verdict,
            said=said,
            ended=_ended(words),
            before=reference(self._history.pushes[1]) if before else None,
            after=self._after(),
            before_passed=before[0]["passed"] if before else 0,
            before_of=before[0]["of"] if before else 0,
            failures=failures,
            more_failures=more_failures,
            happened=self._happened(push, [*bugs, *naming_bugs], naming),
            same_push=[self._sibling(row) for row in siblings[:SAME_PUSH_MAX]],
            same_push_more=max(0, self._push["count"] - min(len(siblings), SAME_PUSH_MAX)),
            bugs_named=[self._bug(bug) for bug in bugs],
            bugs_naming=[self._bug(bug) for bug in naming_bugs],
            also_in=self._also_in(),
        )

    def _failures(self, before: list[PushDoc]) -> tuple[list[FailureDoc], int]:
        failures, more = self._drawer.failures.of_push(0)
        for failure in failures:
            if failure["said"] == "new here" and before and not before[0]["stripped_at"]:
                failure["note"] = "passed on the push before"
        return failures, more

    def _naming(self) -> list[Row]:
        """Return the comments whose text names this changeset."""
        node = self._node["node"]
        return [
            row for row in self._store.find("mentions", "short", self._node["short"]) if node.startswith(row["node"])
        ]

    def _happened(self, push: PushDoc, bugs: list[int], naming: list[Row]) -> list[HappenedDoc]:
        lines = Happened(
            self._store, self._history, self._canvas.places, self._drawer.failures, self._canvas.tree()["name"]
        )
        owners = {row["owner"] for bug in bugs if (row := self._canvas.bugs.row(bug))}
        facts = [row for owner in sorted(owners) for row in self._store.find("bugfacts", "owner", owner)]
        is_last = self._node["node"] == push["node"] and push["count"] > 1
        return [*lines.lines(push, "; this is the last of them" if is_last else "", facts, naming)]

    def _siblings(self) -> list[Row]:
        found = [row for row in self._store.find("nodes", "position", self._push["position"]) if row["listed"]]
        return sorted(found, key=lambda row: row["order"], reverse=True)

    def _sibling(self, row: Row) -> ParentDoc:
        text = first_line(str(row.get("desc") or ""))
        bugs = [self._canvas.bugs.document(bug) for bug in bugs_in(text)]
        return ParentDoc(node=row["node"], text=text, author=row.get("author"), bugs=bugs)

    def _bug(self, bug: int) -> StoryBugDoc:
        row = self._canvas.bugs.row(bug) or {}
        return StoryBugDoc(
            bug=self._canvas.bugs.document(bug),
            status=row.get("status"),
            resolution=row.get("resolution") or None,
            product=row.get("product"),
            component=row.get("component"),
            assigned_to=row.get("assigned_to"),
        )

    def _after(self) -> PushRef | None:
        later = self._store.between("pushes", "rank", self._push["rank"], end_rank(self._push["repo"]), 1)
        if not later or later[0]["repo"] != self._push["repo"]:
            return None
        row = later[0]
        return PushRef(id=row["position"], repo=row["repo"], node=row["node"], user=row["user"], time=row["time"])

    def _also_in(self) -> list[AlsoDoc]:
        found = []
        for row in self._store.find("nodes", "short", self._node["short"])[:ALSO_MAX]:
            push = self._store.get("pushes", str(row["position"]))
            if push is None or row["node"] != self._node["node"] or row["position"] == self._push["position"]:
                continue
            canvas = self._other(push["repo"])
            history = canvas.history(f"{push['rank']}~", 1)
            document = canvas.drawer(history).documents([0])[0]
            name = canvas.aliases.name_of(push["repo"])
            found.append(
                AlsoDoc(push=reference(history.pushes[0]), name=name, passed=document["passed"], of=document["of"])
            )
        return found


def _verdict(failures: list[FailureDoc], words: list[WordDoc], more: int) -> tuple[StoryVerdict, str]:
    """Return the verdict of tier 1 and what explains it; "good" only if each builder asked for has a result."""
    lower = sum(failure["tier"] > TIER for failure in failures)
    failures = [failure for failure in failures if failure["tier"] == TIER]
    if words and all(word["tier"] > TIER for word in words):
        return "not yet known", "No build of tier 1 was asked for."
    words = [word for word in words if word["tier"] == TIER]
    said = _sentences(failures, more, lower)
    kinds = {failure["verdict"] for failure in failures}
    states = [word["state"] for word in words]
    if "new" in kinds or "new" in states:
        return "not good", said
    if not words:
        return "not yet known", "No build was asked for."
    without = _without_result(states)
    if not any(state in RAN for state in states):
        return "not yet known", f"No build ran: {without}." if all_ended(words) else "No build has ended yet."
    if kinds & {"alone", "broke"} or "alone" in states or "exception" in states:
        return "not yet known", said or "A build failed of which nothing more is known."
    passed = states.count("passed")
    passes = f"{passed} of {len(states)} builds passed." if len(states) > 1 else ""
    if passed == len(states):
        passes = "All builds passed."
    unknown = f"Not known: {without}." if without else ""
    explained = " ".join(filter(None, (passes, said, unknown)))
    if without or not all_ended(words):
        return "good so far", explained
    return "good", explained or "Its build passed with warnings."


def _without_result(states: list[WordState]) -> str:
    """Return `1 cancelled, 2 skipped`: what ended and has no result."""
    names = {"cancelled": "cancelled", "skipped": "skipped", "unknown": "of unknown outcome"}
    counted = Counter(names[state] for state in states if state in names)
    return ", ".join(f"{counted[name]} {name}" for name in names.values() if counted[name])


def _sentences(failures: list[FailureDoc], more: int, lower: int) -> str:
    found = []
    for verdict, one, many in (
        ("new", "1 test fails that passed before", "{} tests fail that passed before"),
        ("alone", "1 failure has nothing to compare with", "{} failures have nothing to compare with"),
        ("known", "1 known failure", "{} known failures"),
        ("broke", "1 build broke", "{} builds broke"),
    ):
        of = [failure for failure in failures if failure["verdict"] == verdict]
        if not of:
            continue
        text = one if len(of) == 1 else many.format(len(of))
        if verdict == "new":
            if not all(failure["is_test"] for failure in of):
                text = text.replace("tests fail", "things fail").replace("test fails", "build fails")
            builds = len({place for failure in of for place in failure["places"]})
            text += f", on {builds} builds" if builds > 1 else ""
        elif verdict == "broke" and all(failure["note"] for failure in of):
            text += " and was asked for again" if len(of) == 1 else " and were asked for again"
        found.append(f"{text}.")
    if more:
        found.append(f"{more} more failed test{'s were' if more > 1 else ' was'} not compared.")
    if lower:
        found.append(f"{lower} failure{'s do' if lower > 1 else ' does'} not count: tier 2 or higher.")
    return " ".join(found)


def _ended(words: list[WordDoc]) -> str:
    open_ = sum(word["state"] in OPEN for word in words)
    if not words:
        return "no builds"
    builds = f"{len(words)} builds" if len(words) > 1 else "1 build"
    return (
        f"{len(words) - open_} of {builds} ended"
        if open_
        else f"all {builds} ended"
        if len(words) > 1
        else "its build ended"
    )


def _date(date: object) -> str | None:
    """Return an author's date, as hg has it: seconds, and the offset west of UTC."""
    if not (isinstance(date, list) and len(date) == 2):
        return None
    try:
        zone = timezone(timedelta(seconds=-int(date[1])))
        return datetime.fromtimestamp(int(date[0]), zone).isoformat()
    except (ValueError, OverflowError, OSError, TypeError):
        return None
