# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decide which heads and branches are new, from the changesets that appeared and what lies next to them.

A head of a branch is a changeset on it without a descendant on it, whether closed or obsolete or not. A branch is new
if no changeset on it was served before. A branch gained a head if an appeared changeset is a head and none of its
ancestors was a head of that branch before; so the head of a new branch counts as gained, and so does the successor
that amending makes. An older changeset that becomes a head again because its children were removed is not published.

Revisions are numbers; parents are smaller than children, and -1 stands for no parent. All descendants of an appeared
changeset have appeared too, so the heads can be found from the appeared changesets alone. `Past` answers what was a
head before; it is asked only about the *borders*, the parents of the appeared changesets, and their ancestors.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable, Sequence

from sourcepulse.events.record import Record

_NO_REVISION = -1

Parents = Callable[[int], Sequence[int]]
BranchOf = Callable[[int], Hashable]


class NewHeads(Record):
    """Revisions of heads, sorted: all that appeared, those of new branches, and those that a branch gained."""

    every: list[int]
    of_new_branches: list[int]
    gained: list[int]


class Past:
    """The revisions below `stop` that were served before the transaction."""

    def __init__(self, stop: int, parents: Parents, branch: BranchOf, was_served: Callable[[int], bool]) -> None:
        self.stop = stop
        self.parents = parents
        self.branch = branch
        self.was_served = was_served

    def existing(self, branches: Collection[Hashable]) -> set[Hashable]:
        """Return those of some branches that had a changeset; may visit every revision."""
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
        """Return which of some revisions on a branch were heads of it."""
        undecided = set(candidates)
        if not undecided:
            return undecided
        # For each revision the candidates it descends from without another revision of the branch in between.
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
                    # Its ancestors have a descendant on the branch, so they were not heads.
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
    """Return the heads among the appeared revisions; `topological` are those without any child.

    `branches` are the branches of the appeared revisions, in the same order. The cost is a few passes over the appeared
    revisions, and the queries to `past`.
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
                # All appeared revisions are ancestors of this head.
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
    """Checks for one branch whether a head descends from an earlier head."""

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
        #: Appeared revisions that do not descend from an earlier head.
        self.without: set[int] = set()
        #: For borders on other branches, whether an earlier head of this branch is an ancestor.
        self.below: dict[int, bool] = {}
        self.surely: set[int] | None = None

    def has(self, head: int) -> bool:
        """Return whether an ancestor of this head was a head of the branch before."""
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
