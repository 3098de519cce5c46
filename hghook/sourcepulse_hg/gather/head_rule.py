# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decide which heads and branches are new, from the changesets that appeared and what lies next to them.

A head of a branch is a changeset of it without a descendant on it, closed or not, whatever is obsolete. A branch is
new if nothing of it was served before. A branch gained a head if an appeared changeset is one and none of its
ancestors was a head of that branch before; so the head of a new branch is gained, too, and so is the successor that
amending makes. An older changeset that becomes a head again, because its children went, is not told.

Revisions are numbers, parents smaller than children, -1 is no parent. All that descends from what appeared has
appeared, too, which is why the heads can be found without looking at anything else. What was so before is
asked from `Past`, only about the parents of what appeared, called borders, and what lies below them.
"""

import heapq
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import NamedTuple

_NO_REVISION = -1

Parents = Callable[[int], Sequence[int]]
BranchOf = Callable[[int], Hashable]


class NewHeads(NamedTuple):
    """Revisions of heads in order: those of branches that are new, and those that a branch gained."""

    every: list[int]
    of_new_branches: list[int]
    gained: list[int]


class Past:
    """The revisions before `stop` that were served before."""

    def __init__(self, stop: int, parents: Parents, branch: BranchOf, was_served: Callable[[int], bool]) -> None:
        self.stop = stop
        self.parents = parents
        self.branch = branch
        self.was_served = was_served

    def existing(self, branches: Collection[Hashable]) -> set[Hashable]:
        """Return those of some branches that had a changeset; looks at every one if need be."""
        missing, found = set(branches), set()
        for revision in range(self.stop - 1, -1, -1):
            if not missing:
                break
            name = self.branch(revision)
            if name in missing and self.was_served(revision):
                missing.discard(name)
                found.add(name)
        return found

    def heads_among(self, candidates: Collection[int], branch: Hashable) -> set[int]:
        """Return those of some revisions on a branch that were heads of it."""
        undecided = set(candidates)
        if not undecided:
            return undecided
        # Which of the candidates a revision descends from, by a way without another revision of the branch.
        below: dict[int, frozenset[int]] = {candidate: frozenset((candidate,)) for candidate in undecided}
        heads = set(undecided)
        for revision in range(min(undecided) + 1, self.stop):
            reached: frozenset[int] = frozenset()
            for parent in self.parents(revision):
                reached |= below.get(parent, frozenset())
            if not reached or not self.was_served(revision):
                continue
            if self.branch(revision) == branch:
                heads -= reached
                if not heads:
                    break
            else:
                below[revision] = below.get(revision, frozenset()) | reached
        return heads

    def has_head_below(self, revision: int, branch: Hashable) -> bool:
        """Return whether an ancestor of a revision on another branch was a head of this one."""
        nearest = []
        queue = [-revision]
        seen = {revision}
        while queue:
            for parent in self.parents(-heapq.heappop(queue)):
                if parent == _NO_REVISION or parent in seen:
                    continue
                seen.add(parent)
                if self.branch(parent) == branch:
                    # What is below it has a descendant on the branch, so it was no head.
                    nearest.append(parent)
                else:
                    heapq.heappush(queue, -parent)
        return bool(self.heads_among(nearest, branch))


def new_heads(
    appeared: Sequence[int],
    *,
    topological: Sequence[int],
    borders: Sequence[int],
    parents: Parents,
    branches: Sequence[Hashable],
    past: Past,
) -> NewHeads:
    """Find the heads among what appeared, in order; `topological` are those without any child.

    `branches` are the branches of what appeared, in the same order.

    The cost is that of a few passes over what appeared, and of what `past` is asked.
    """
    heads = _heads_by_branch(appeared, topological, parents, branches)
    on_border: dict[Hashable, list[int]] = {}
    for border in borders:
        on_border.setdefault(past.branch(border), []).append(border)
    unknown = [name for name in heads if name not in on_border]
    existing = set(on_border).union(past.existing(unknown) if unknown else ())
    every, of_new_branches, gained = [], [], []
    for name, revisions in heads.items():
        every += revisions
        if name not in existing:
            of_new_branches += revisions
            gained += revisions
        else:
            following = _Following(appeared, parents, past, name, on_border.get(name, ()), borders)
            if following.heads_before and len(topological) == 1 and revisions == list(topological):
                # All that appeared leads to this one.
                continue
            gained += [revision for revision in revisions if not following.has(revision)]
    return NewHeads(sorted(every), sorted(of_new_branches), sorted(gained))


def _heads_by_branch(
    appeared: Sequence[int], topological: Sequence[int], parents: Parents, names: Sequence[Hashable]
) -> dict[Hashable, list[int]]:
    different = set(names)
    if len(different) == 1:
        return {names[0]: list(topological)}
    bits = {name: 1 << place for place, name in enumerate(different)}
    heads: dict[Hashable, list[int]] = {}
    # The branches of all descendants of a revision, as bits.
    above: dict[int, int] = {}
    for revision, name in zip(reversed(appeared), reversed(names), strict=True):
        passed = above.pop(revision, 0)
        if not passed & bits[name]:
            heads.setdefault(name, []).append(revision)
        passed |= bits[name]
        for parent in parents(revision):
            above[parent] = above.get(parent, 0) | passed
    return heads


class _Following:
    """Tells for one branch whether a head follows one that was there before."""

    def __init__(
        self,
        appeared: Sequence[int],
        parents: Parents,
        past: Past,
        branch: Hashable,
        on_branch: Sequence[int],
        borders: Sequence[int],
    ) -> None:
        self.appeared = appeared
        self.parents = parents
        self.past = past
        self.branch = branch
        self.heads_before = past.heads_among(on_branch, branch)
        self.borders = frozenset(borders)
        self.on_branch = frozenset(on_branch)
        #: Appeared revisions that follow none.
        self.without: set[int] = set()
        #: Borders on other branches, and whether a head of this one lies below.
        self.below: dict[int, bool] = {}
        self.surely: set[int] | None = None

    def has(self, head: int) -> bool:
        """Return whether an ancestor of a head was one before."""
        if self.surely is None:
            self.surely = self._followers_of_heads()
        if head in self.surely:
            return True
        seen = {head}
        stack = [head]
        others = []
        while stack:
            for parent in self.parents(stack.pop()):
                if parent == _NO_REVISION or parent in seen or parent in self.without:
                    continue
                if parent in self.borders:
                    others.append(parent)
                    continue
                seen.add(parent)
                stack.append(parent)
        for border in others:
            if border not in self.on_branch:
                if border not in self.below:
                    self.below[border] = self.past.has_head_below(border, self.branch)
                if self.below[border]:
                    return True
        self.without |= seen
        return False

    def _followers_of_heads(self) -> set[int]:
        followers = set(self.heads_before)
        if followers:
            for revision in self.appeared:
                for parent in self.parents(revision):
                    if parent in followers:
                        followers.add(revision)
        return followers
