# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a pull could see before a transaction and what it can see after it.

This table decides what is published of everything that a transaction touches. "served" is Mercurial's repository view
of that name, without secret, hidden and internal changesets:

=====================  =====================  =====================================================
target served before   target served after    published as
=====================  =====================  =====================================================
no (or no target)      no (or no target)      nothing, and not counted
no (or no target)      yes                    created, without the old target
yes                    no (or no target)      deleted, without the new target
yes                    yes, a different one   moved
=====================  =====================  =====================================================

The table also holds for a ref that did not change itself, but whose target became served or stopped being served
because a phase changed or a marker hid a changeset. Changesets that become served for the first time are published in
full, as a push, and so are their tags; those that were served earlier are not published again. Branches and heads are
published whenever they appear.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from sourcepulse_hg.transaction.before import unserved_now

_NO_REVISION = -1


class Shape(NamedTuple):
    """The roots and heads of a set of changesets, and the parents of the set that were served before."""

    roots: Sequence[int]
    heads: Sequence[int]
    borders: Sequence[int]


class ServedView:
    """The served revisions before and after a transaction that added the revisions `range(start, stop)`.

    `added` are those of them that are served. `revealed` are older revisions that are served now but were not before,
    `appeared` is both in order. `vanished` are older revisions that are no longer served.
    """

    def __init__(self, repo: Any, unserved_before: frozenset[int] | None, *, start: int, stop: int) -> None:
        self.start = start
        self.stop = stop
        self.unserved = unserved_now(repo)
        # Without the extension the state before was not recorded; assume it equals the state now.
        self.unserved_before = self.unserved if unserved_before is None else unserved_before
        revisions: Sequence[int] = range(start, stop)
        if self.unserved:
            revisions = [revision for revision in revisions if revision not in self.unserved]
        self.added = revisions
        self.revealed: Sequence[int] = ()
        self.vanished: Sequence[int] = ()
        if self.unserved is not self.unserved_before:
            # Revisions that strip has removed are in neither.
            end = min(start, len(repo.changelog))
            self.revealed = sorted(rev for rev in self.unserved_before - self.unserved if rev < end)
            self.vanished = sorted(rev for rev in self.unserved - self.unserved_before if rev < end)
        self.appeared = [*self.revealed, *revisions] if self.revealed else revisions
        self._shapes: dict[bool, Shape] = {}

    def is_served(self, revision: int | None) -> bool:
        """Return whether a pull can see a revision; None stands for one that does not exist."""
        return revision is not None and revision != _NO_REVISION and revision not in self.unserved

    def was_served(self, revision: int | None) -> bool:
        """Return whether a pull could see a revision before the transaction."""
        return revision is not None and _NO_REVISION < revision < self.start and revision not in self.unserved_before

    def shape_of_added(self, changelog: Any) -> Shape:
        return self._shape(changelog, with_revealed=False)

    def shape_of(self, changelog: Any, revisions: Sequence[int], revealed: AbstractSet[int]) -> Shape:
        """Return the shape of these revisions; those in `revealed` existed before the transaction."""
        return _shape_of(changelog.parentrevs, revisions, revealed, self.start)

    def shape_of_appeared(self, changelog: Any) -> Shape:
        return self._shape(changelog, with_revealed=bool(self.revealed))

    def _shape(self, changelog: Any, *, with_revealed: bool) -> Shape:
        if with_revealed not in self._shapes:
            revisions = self.appeared if with_revealed else self.added
            inside: AbstractSet[int] = set(self.revealed) if with_revealed else frozenset()
            self._shapes[with_revealed] = _shape_of(changelog.parentrevs, revisions, inside, self.start)
        return self._shapes[with_revealed]


def _shape_of(parents_of: Any, revisions: Sequence[int], revealed: AbstractSet[int], start: int) -> Shape:
    # Ancestors of a served revision are served, so a parent at or after start is among the revisions.
    if not revisions:
        return Shape((), (), ())
    first = revisions[0]
    is_parent = bytearray(revisions[-1] - first + 1)
    roots, borders = [], set()
    for revision in revisions:
        one, two = parents_of(revision)
        if two == _NO_REVISION and one >= start:
            # This is the fast path for nearly all changesets.
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
