# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a pull could see before a transaction and what it can see after it.

The decision for everything that a transaction touches; "served" is hg's own view of that name, without secret,
hidden and internal changesets:

=====================  =====================  =====================================================
target served before   target served after    told as
=====================  =====================  =====================================================
no (or no target)      no (or no target)      nothing, and it is in no count
no (or no target)      yes                    created, without the old target
yes                    no (or no target)      deleted, without the new target
yes                    yes, another one       moved
=====================  =====================  =====================================================

A ref whose target crosses the border without the ref itself being touched, because a phase changed or a marker hid
a changeset, is told in the same way. Changesets that appear so for the first time are told in full, as a push, and so
are their tags; those that could be seen before are no news. Branches and heads are told whenever they appear.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from sourcepulse_hg.transaction.before import unserved_now

_NO_REVISION = -1


class Shape(NamedTuple):
    """How changesets hang together: their roots and heads, and their parents that were served before."""

    roots: Sequence[int]
    heads: Sequence[int]
    borders: Sequence[int]


class ServedView:
    """The served revisions before and after a transaction that added those from start to before stop.

    `added` are the served ones of these; `appeared` are these and the older ones that were not served before, in
    order; `vanished` are older ones that are not served any more.
    """

    def __init__(self, repo: Any, unserved_before: frozenset[int] | None, *, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.unserved = unserved_now(repo)
        # Without the extension nobody looked before; what could be seen then is what can be seen now.
        self.unserved_before = self.unserved if unserved_before is None else unserved_before
        revisions: Sequence[int] = range(start, stop)
        if self.unserved:
            revisions = [revision for revision in revisions if revision not in self.unserved]
        self.added = revisions
        self.revealed: Sequence[int] = ()
        self.vanished: Sequence[int] = ()
        if self.unserved is not self.unserved_before:
            # What strip has removed is in neither.
            end = min(start, len(repo.changelog))
            self.revealed = sorted(rev for rev in self.unserved_before - self.unserved if rev < end)
            self.vanished = sorted(rev for rev in self.unserved - self.unserved_before if rev < end)
        self.appeared = [*self.revealed, *revisions] if self.revealed else revisions
        self._shapes: dict[bool, Shape] = {}

    def is_served(self, revision: int | None) -> bool:
        """Return whether a pull can see a revision; None is one that is not there."""
        return revision is not None and revision != _NO_REVISION and revision not in self.unserved

    def was_served(self, revision: int | None) -> bool:
        """Return whether a pull could see a revision before."""
        return revision is not None and _NO_REVISION < revision < self.start and revision not in self.unserved_before

    def shape_of_added(self, changelog: Any) -> Shape:
        """Return the shape of what was added."""
        return self._shape(changelog, with_revealed=False)

    def shape_of(self, changelog: Any, revisions: Sequence[int], revealed: AbstractSet[int]) -> Shape:
        """Return the shape of these revisions, the `revealed` ones of which were there before."""
        return _shape_of(changelog.parentrevs, revisions, revealed, self.start)

    def shape_of_appeared(self, changelog: Any) -> Shape:
        """Return the shape of what appeared."""
        return self._shape(changelog, with_revealed=bool(self.revealed))

    def _shape(self, changelog: Any, *, with_revealed: bool) -> Shape:
        if with_revealed not in self._shapes:
            revisions = self.appeared if with_revealed else self.added
            inside: AbstractSet[int] = set(self.revealed) if with_revealed else frozenset()
            self._shapes[with_revealed] = _shape_of(changelog.parentrevs, revisions, inside, self.start)
        return self._shapes[with_revealed]


def _shape_of(parents_of: Any, revisions: Sequence[int], revealed: AbstractSet[int], start: int) -> Shape:
    # What is served has served ancestors only, so a parent from start on is among the revisions.
    if not revisions:
        return Shape((), (), ())
    first = revisions[0]
    is_parent = bytearray(revisions[-1] - first + 1)
    roots, borders = [], set()
    for revision in revisions:
        one, two = parents_of(revision)
        if two == _NO_REVISION and one >= start:
            # Nearly all are like this.
            is_parent[one - first] = 1
            continue
        is_root = True
        for parent in (one, two):
            if parent >= start or parent in revealed:
                is_parent[parent - first] = 1
                is_root = False
            elif parent != _NO_REVISION:
                borders.add(parent)
        if is_root:
            roots.append(revision)
    heads = [revision for revision in revisions if not is_parent[revision - first]]
    return Shape(roots, heads, sorted(borders))
