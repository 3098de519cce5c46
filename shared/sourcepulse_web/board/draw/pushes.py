# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Documents of pushes."""

from __future__ import annotations

from collections.abc import Sequence

from sourcepulse_web.board.documents import BackedOutDoc, DescDoc, FailureDoc, LineDoc, PushDoc
from sourcepulse_web.board.draw.bugs import Bugs
from sourcepulse_web.board.draw.failures import Failures
from sourcepulse_web.board.draw.places import TIER, Places
from sourcepulse_web.board.draw.push_facts import PushFacts
from sourcepulse_web.board.draw.verdicts import History
from sourcepulse_web.board.draw.words import lines_of, summary_of
from sourcepulse_web.board.store import Row, Store

#: Lines of what failed below a push.
FAILURES_MAX = 5


class PushDrawer:
    """Draws pushes of one tree; `history` has them and those before."""

    def __init__(self, store: Store, history: History, places: Places, bugs: Bugs, marks: dict[int, Row]) -> None:
        self.failures = Failures(history, places, bugs)
        self._store = store
        self._history = history
        self._places = places
        self._bugs = bugs
        self._marks = marks
        self._backed_out: dict[int, BackedOutDoc] = {}

    def documents(self, indices: Sequence[int]) -> list[PushDoc]:
        """Return the documents of these pushes of the history."""
        pushes = [self._history.pushes[index] for index in indices]
        self._backed_out |= _backed_out(self._store, [push.push for push in pushes])
        return [self._document(push, index) for index, push in zip(indices, pushes, strict=True)]

    def _document(self, push: PushFacts, index: int) -> PushDoc:
        row = push.push
        lines: list[LineDoc] = [] if row["withdrawn"] else lines_of(push, index, self._places, self.failures)
        failures, left_out = ([], 0) if row["withdrawn"] else self.failures.of_push(index)
        summary, passed, of = summary_of(lines)
        backed_out = self._backed_out.get(row["position"])
        if backed_out:
            for failure in failures:
                if failure["verdict"] == "new":
                    failure["note"] = f"backed out by {backed_out['node'][:12]}"
        return PushDoc(
            id=row["position"],
            changed=self._marks[row["position"]]["changed"],
            repo=row["repo"],
            time=row["time"],
            user=row["user"],
            node=row["node"],
            count=row["count"],
            descs=[self.desc(each) for each in row["descs"]],
            more=more_of(row),
            backed_out=backed_out,
            stripped_at=row["stripped_at"],
            withdrawn=row["withdrawn"],
            summary=summary,
            passed=passed,
            of=of,
            lines=lines,
            failures=failures[:FAILURES_MAX],
            more_failures=max(0, len(failures) - FAILURES_MAX) + left_out,
            is_new=_is_new(lines, failures),
            sought=row["sought"],
        )

    def desc(self, each: Row) -> DescDoc:
        return DescDoc(
            node=each["node"],
            author=each["author"],
            text=each["text"],
            bugs=[self._bugs.document(bug) for bug in each["bugs"]],
            backs_out=each["backs_out"],
        )


def more_of(row: Row) -> str | None:
    """Return `and 2 more changes`, and how many are listed if not all are."""
    hidden = row["count"] - len(row["descs"])
    if hidden <= 0:
        return None
    changes = "change" if hidden == 1 else "changes"
    more = f"and {hidden} more {changes}" if row["descs"] else f"{hidden} {changes}"
    listed = f"{row['listed']} {'is' if row['listed'] == 1 else 'are'} listed"
    return f"{more}; {listed}" if 0 < row["listed"] < row["count"] else more


def _is_new(lines: list[LineDoc], failures: list[FailureDoc]) -> bool:
    return any(word["state"] == "new" and word["tier"] == TIER for line in lines for word in line["words"]) or any(
        each["verdict"] == "new" and each["tier"] == TIER for each in failures
    )


def _backed_out(store: Store, pushes: Sequence[Row]) -> dict[int, BackedOutDoc]:
    """Return which of these pushes were backed out, by the first push that says so."""
    by_position = {push["position"]: push for push in pushes}
    found: dict[int, BackedOutDoc] = {}
    for position, node, backout in store.of_pushes("backouts", list(by_position)):
        push = by_position[position]
        backing = store.get("pushes", str(backout["position"]))
        if backing is None or backout["repo"] != push["repo"] or not node.startswith(backout["node"]):
            continue
        if backing["rank"] <= push["rank"] or backing["withdrawn"]:
            continue
        former = found.get(position)
        if former is None or backing["position"] < former["push"]:
            found[position] = BackedOutDoc(
                push=backing["position"], node=backout["by"], user=backing["user"], time=backing["time"]
            )
    return found
