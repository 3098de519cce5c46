# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The rule of heads, against the whole graph looked at before and after."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sourcepulse_hg.gather.head_rule import NewHeads, Past, new_heads
from sourcepulse_hg.gather.served_view import shape_of

#: For each revision: how far back its two parents are (0 is none), its branch, and whether it was served before
#: and is served after.
_REVISION = st.tuples(
    st.integers(0, 6), st.integers(0, 12), st.sampled_from("abc"), st.sampled_from(["both", "after", "neither"])
)


class _Graph:
    def __init__(self, revisions: list[tuple[int, int, str, str]], start: int) -> None:
        self.start = min(start, len(revisions))
        self.parents: list[tuple[int, int]] = []
        self.branches = [branch for _, _, branch, _ in revisions]
        self.before: set[int] = set()
        self.after: set[int] = set()
        for revision, (back, further, _, visible) in enumerate(revisions):
            one = revision - back if 0 < back <= revision else -1
            two = revision - further if 0 < further <= revision else -1
            if one == -1 or one == two:
                one, two = max(one, two), -1
            self.parents.append((one, two))
            # A changeset is never more public than its parents.
            parents = {parent for parent in (one, two) if parent != -1}
            if visible != "neither" and parents <= self.after:
                self.after.add(revision)
            if revision < self.start and visible == "both" and revision in self.after and parents <= self.before:
                self.before.add(revision)

    def ancestors(self, revision: int) -> set[int]:
        found, stack = {revision}, [revision]
        while stack:
            for parent in self.parents[stack.pop()]:
                if parent != -1 and parent not in found:
                    found.add(parent)
                    stack.append(parent)
        return found

    def heads(self, served: set[int], branch: str) -> set[int]:
        on_branch = {revision for revision in served if self.branches[revision] == branch}
        covered: set[int] = set()
        for revision in on_branch:
            covered |= self.ancestors(revision) - {revision}
        return on_branch - covered

    def oracle(self) -> NewHeads:
        """Compute it as the contract words it, from everything."""
        every, of_new, gained = [], [], []
        for branch in set(self.branches):
            existed = any(self.branches[revision] == branch for revision in self.before)
            heads_before = self.heads(self.before, branch)
            for head in self.heads(self.after, branch) - self.before:
                every.append(head)
                if not existed:
                    of_new.append(head)
                if not self.ancestors(head) & heads_before:
                    gained.append(head)
        return NewHeads(sorted(every), sorted(of_new), sorted(gained))

    def ruled(self, make_past: Callable[..., Past]) -> NewHeads:
        appeared = sorted(self.after - self.before)
        if not appeared:
            return NewHeads([], [], [])
        revealed = {revision for revision in appeared if revision < self.start}
        shape = shape_of(self.parents.__getitem__, appeared, revealed, self.start)
        return new_heads(
            appeared,
            topological=shape.heads,
            borders=shape.borders,
            parents=self.parents.__getitem__,
            branches=[self.branches[revision] for revision in appeared],
            past=make_past(self.start, self.parents.__getitem__, self.branches.__getitem__, self.before.__contains__),
        )


@given(st.lists(_REVISION, max_size=30), st.integers(0, 30))
# A branch is left and resumed from another one: its head before lies below a parent that is not on it.
@example([(0, 0, "a", "both"), (1, 0, "b", "both"), (1, 0, "a", "both")], 2)
# The one new child of a head is below the other new head, not below this one.
@example([(0, 0, "a", "both"), (0, 0, "b", "both"), (2, 0, "b", "both"), (2, 0, "a", "both"), (1, 2, "b", "both")], 2)
@settings(max_examples=400, deadline=None)
def test_new_branches_and_gained_heads_are_those_of_the_whole_graph(
    revisions: list[tuple[int, int, str, str]], start: int
) -> None:
    graph = _Graph(revisions, start)
    assert graph.ruled(Past) == graph.oracle()


def test_what_is_asked_of_the_past_lies_next_to_what_appeared() -> None:
    asked: list[int] = []

    class Counting(Past):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            inner = self.branch
            self.branch = lambda revision: (asked.append(revision), inner(revision))[1]  # type: ignore[func-returns-value]

    line = [(0, 0, "a", "both")] + [(1, 0, "a", "both")] * 2000
    assert _Graph(line, 1990).ruled(Counting) == NewHeads([2000], [], [])
    assert set(asked) == {1989}
