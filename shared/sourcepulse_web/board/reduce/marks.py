# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which documents an event changes: each push has a mark with the position of the last one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from sourcepulse_web.board.reduce.text import SHORT_DIGITS
from sourcepulse_web.board.store import Put, Row, View

#: How far back "known" looks, so how many later pushes an event may change.
WINDOW_PUSHES = 20
#: More failed tests of a push are not remembered in its mark; an update of such a push may then be missed.
MARK_TESTS_MAX = 500


def pushes_with(view: View, revision: str) -> list[int]:
    """Return the pushes that have a revision, given whole or with at least 12 digits."""
    if len(revision) < SHORT_DIGITS:
        return []
    found = view.find("nodes", "short", revision[:SHORT_DIGITS])
    return [row["position"] for row in found if row["node"].startswith(revision)]


def mark(
    view: View, pushes: Iterable[int], position: int, *, places: Iterable[str] = (), tests: Iterable[str] = ()
) -> Iterator[Put]:
    """Mark pushes as changed; `places` and `tests` failed on them."""
    for push in pushes:
        key = str(push)
        row = view.get("marks", key)
        if row is not None:
            row["changed"] = max(row["changed"], position)
            row["places"] = sorted({*row["places"], *places})
            row["tests"] = sorted({*row["tests"], *tests})[:MARK_TESTS_MAX]
            yield Put("marks", key, row)


def mark_later(
    view: View, pushes: Iterable[int], position: int, *, place: str, tests: Collection[str] = ()
) -> Iterator[Put]:
    """Mark those of the next 20 pushes whose verdicts may change: the same place, or the same test, failed there."""
    marked = set()
    for push in pushes:
        for later in later_pushes(view, push):
            row = view.get("marks", str(later["position"]))
            if row is None or later["position"] in marked:
                continue
            if place in row["places"] or not set(row["tests"]).isdisjoint(tests):
                marked.add(later["position"])
                row["changed"] = max(row["changed"], position)
                yield Put("marks", str(later["position"]), row)


def later_pushes(view: View, push: int) -> list[Row]:
    """Return the next 20 pushes of the same tree, oldest first."""
    own = view.get("pushes", str(push))
    if own is None:
        return []
    found = view.between("pushes", "rank", own["rank"], end_rank(own["repo"]), WINDOW_PUSHES)
    return [row for row in found if row["repo"] == own["repo"]]


def rank_of(repo: str, epoch: int, sequence: int) -> str:
    """Return what sorts pushes of a tree; `epoch` is the first position at which its epoch was seen."""
    return f"{repo}\n{epoch:016d}{sequence:020d}"


def end_rank(repo: str) -> str:
    return f"{repo}\n~"
