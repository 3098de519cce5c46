# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Known, new here, or nothing to compare with: what failed on a push, against the pushes before it.

A test that failed on one of the last 20 earlier pushes of the tree, on any platform, is known. Else it is new here if
the same test run of the same builder finished on one of them, because it had no failure of the test there. A run that
is incomplete, or whose list of failures was cut, says nothing. A build that failed without a failed test is compared
with the builds of the same builder in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sourcepulse_web.board.documents import Verdict
from sourcepulse_web.board.draw.push_facts import PushFacts

#: How far back a verdict looks; and how many runs "first failure in 12 runs" counts at most.
WINDOW_PUSHES = 20
RUNS_MAX = 12


class Judged(NamedTuple):
    """A verdict; `between`: how many pushes between this one and the last good one did not run it.

    It failed on `failed` of the `of` pushes before, ran `runs` times, and failed first on the push at index `since`.
    """

    verdict: Verdict
    between: int
    failed: int
    of: int
    runs: int
    since: int

    @property
    def said(self) -> str:
        if self.verdict == "new" and self.between:
            return f"new here or in the {counted(self.between, 'push', 'pushes')} before"
        return {"new": "new here", "known": "known", "alone": "nothing to compare with", "broke": "broke"}[self.verdict]

    @property
    def note(self) -> str:
        """Return the frequency, in words."""
        if self.verdict == "known":
            return f"{self.failed} of the last {self.of} pushes" if self.of > 1 else "failed on the push before"
        if self.verdict == "new":
            return f"first failure in {self.runs} runs"
        return "no earlier run" if self.verdict == "alone" else ""


class History:
    """The pushes of a tree in its own order, newest first."""

    def __init__(self, pushes: Sequence[PushFacts]) -> None:
        self.pushes = pushes

    def test(self, index: int, testid: str, runs: Collection[tuple[str, str]]) -> Judged:
        """Judge a test that failed on a push, in these (place, run)."""
        return self._judge(index, lambda push: testid in push.failed, lambda push: not push.ran.isdisjoint(runs))

    def build(self, index: int, places: Collection[str]) -> Judged:
        """Judge builders that failed on a push without a failed test."""
        return self._judge(
            index,
            lambda push: not push.failed_without_test.isdisjoint(places),
            lambda push: not push.ended.isdisjoint(places),
        )

    def _judge(self, index: int, fails: Callable[[PushFacts], bool], runs: Callable[[PushFacts], bool]) -> Judged:
        earlier = self.pushes[index + 1 : index + 1 + WINDOW_PUSHES]
        ran = [number for number, push in enumerate(earlier) if runs(push)]
        verdict: Verdict = "known" if any(map(fails, earlier)) else "new" if ran else "alone"
        since = index
        for number, push in enumerate(earlier, index + 1):
            if fails(push):
                since = number
            elif runs(push):
                break
        return Judged(
            verdict,
            ran[0] if ran and verdict == "new" else 0,
            sum(map(fails, earlier)),
            len(earlier),
            min(len(ran) + 1, RUNS_MAX),
            since,
        )


def counted(number: int, one: str, many: str) -> str:
    """Return `2 pushes`; `push` alone for one, as in `in the push before`."""
    return one if number == 1 else f"{number} {many}"
