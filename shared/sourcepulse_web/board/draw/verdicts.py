# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Known, new here, or nothing to compare with: what failed on a push, against the pushes before it.

A test that failed on one of the last 20 earlier pushes of the tree, on any platform, is known. Else it is new here if
the same test run of the same builder finished on one of them, because it had no failure of the test there. A run that
is incomplete, or whose list of failures was cut, says nothing. A build that failed without a failed test is compared
with the builds of the same builder in the same way, whether those failed with a test or without. No build is compared
with itself: a push that was stripped and came again has the builds of both, and each counts on the newer push only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sourcepulse_web.board.documents import Verdict
from sourcepulse_web.board.draw.push_facts import PushFacts

#: The keys of builds.
Keys = Collection[str]

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
        owners: dict[str, list[int]] = {}
        for index, push in enumerate(pushes):
            for builds in push.builds.values():
                for build in builds:
                    owners.setdefault(build["key"], []).append(index)
        #: The builds that several pushes have, each with their indices.
        self._shared = {key: indices for key, indices in owners.items() if len(indices) > 1}

    def test(self, index: int, testid: str, runs: Collection[tuple[str, str]]) -> Judged:
        """Judge a test that failed on a push, in these (place, run)."""
        return self._judge(
            index,
            lambda push: push.failed.get(testid, ()),
            lambda push: [key for run in runs if run in push.ran for key in push.ran[run]],
        )

    def build(self, index: int, places: Collection[str]) -> Judged:
        """Judge builders that failed on a push without a failed test."""
        return self._judge(
            index,
            lambda push: [key for place in places for key in push.failed_places.get(place, ())],
            lambda push: [key for place in places for key in push.ended.get(place, ())],
        )

    def failed_before(self, index: int) -> set[str]:
        """Return the tests that failed on the pushes that verdicts look at."""
        return {testid for push in self.pushes[index + 1 : index + 1 + WINDOW_PUSHES] for testid in push.failed}

    def _judge(self, index: int, failing: Callable[[PushFacts], Keys], running: Callable[[PushFacts], Keys]) -> Judged:
        numbers = range(index + 1, min(index + 1 + WINDOW_PUSHES, len(self.pushes)))
        fails = [self._count(index, number, failing(self.pushes[number])) for number in numbers]
        runs = [self._count(index, number, running(self.pushes[number])) for number in numbers]
        verdict: Verdict = "known" if any(fails) else "new" if any(runs) else "alone"
        since = index
        for number, failed, ran in zip(numbers, fails, runs, strict=True):
            if failed:
                since = number
            elif ran:
                break
        return Judged(
            verdict,
            self._between(index, numbers[runs.index(True)]) if verdict == "new" else 0,
            sum(fails),
            len(numbers),
            min(sum(runs) + 1, RUNS_MAX),
            since,
        )

    def _count(self, index: int, number: int, builds: Keys) -> bool:
        """Return whether an earlier push has one of these builds for itself, not with a push from `index` on to it."""
        return any(not any(index <= other < number for other in self._shared.get(key, ())) for key in builds)

    def _between(self, index: int, number: int) -> int:
        """Return how many pushes between two may have broken something: what was stripped is not in the later ones."""
        stripped = self.pushes[index].push["stripped_at"] is not None
        between = self.pushes[index + 1 : number]
        return sum(stripped or push.push["stripped_at"] is None for push in between)


def counted(number: int, one: str, many: str) -> str:
    """Return `2 pushes`; `push` alone for one, as in `in the push before`."""
    return one if number == 1 else f"{number} {many}"
