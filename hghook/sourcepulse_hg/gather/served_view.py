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

So that a changeset which reappears is not published again, a file in the store lists those that became invisible. A
changeset that becomes visible and is not listed was never visible. A transaction appends the nodes, and Mercurial
truncates the file again if the transaction fails, as it does with its own. It is read only when one becomes visible.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sourcepulse.events.record import Record

VANISHED_NAME = b"sourcepulse-vanished"
_NODE_BYTES = 20
_NO_REVISION = -1
#: Where Mercurial records that it has warned about an unknown parent of the working directory.
_HAS_WARNED = "_dirstatevalidatewarned"


def unserved_now(repo: Any) -> frozenset[int]:
    """Return the revisions that a pull cannot see; `repo` is unfiltered.

    Mercurial caches this set until something changes it. Computing it visits each draft changeset, which is skipped
    here if nothing can be hidden and nothing is secret.
    """
    from mercurial import phases, repoview

    roots = getattr(repo._phasecache, "_phaseroots", None) or getattr(repo._phasecache, "phaseroots", None)
    if roots is not None and not repo.obsstore and not any(roots[phase] for phase in phases.remotehiddenphases):
        return frozenset()
    # Within a strip the parents of the working directory may not exist. Mercurial itself does not look at them then,
    # so we must neither cause its warning nor mark the warning as printed.
    has_warned = getattr(repo, _HAS_WARNED, False)
    object.__setattr__(repo, _HAS_WARNED, True)
    try:
        return repoview.filterrevs(repo, b"served")  # type: ignore[no-any-return] # mercurial has no types
    finally:
        object.__setattr__(repo, _HAS_WARNED, has_warned)


class Shape(Record):
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
        return shape_of(changelog.parentrevs, revisions, revealed, self.start)

    def shape_of_appeared(self, changelog: Any) -> Shape:
        return self._shape(changelog, with_revealed=bool(self.revealed))

    def _shape(self, changelog: Any, *, with_revealed: bool) -> Shape:
        if with_revealed not in self._shapes:
            revisions = self.appeared if with_revealed else self.added
            inside: AbstractSet[int] = set(self.revealed) if with_revealed else frozenset()
            self._shapes[with_revealed] = shape_of(changelog.parentrevs, revisions, inside, self.start)
        return self._shapes[with_revealed]


def shape_of(parents_of: Any, revisions: Sequence[int], revealed: AbstractSet[int], start: int) -> Shape:
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


def note_vanished(repo: Any, tr: Any, unserved_before: frozenset[int] | None) -> None:
    """Record what a pull could see before this transaction and cannot see after it; `repo` is unfiltered.

    What a marker makes obsolete is recorded with the marker: while it is the parent of a working directory it stays
    visible, and it becomes invisible outside of any transaction. The first time, everything is recorded that became
    invisible before there was a record.
    """
    if unserved_before is None:
        return
    markers = tr.changes.get(b"obsmarkers") or ()
    if markers:
        # Not every operation that adds markers recomputes what they hide before the end of the transaction.
        repo.invalidatevolatilesets()
    unserved = unserved_now(repo)
    is_first = bool(unserved_before or repo.obsstore) and not repo.svfs.exists(VANISHED_NAME)
    if unserved is unserved_before and not markers and not is_first:
        return
    gone = set(unserved - unserved_before)
    revision_of = repo.changelog.index.get_rev
    gone.update(rev for marker in markers if (rev := revision_of(marker[0])) is not None and rev not in unserved_before)
    if is_first:
        gone |= _gone_before(repo, unserved_before)
    stop = min(tr.changes[b"origrepolen"], len(repo.changelog))
    vanished = sorted(revision for revision in gone if revision < stop)
    if not vanished and not is_first:
        return
    with repo.svfs(VANISHED_NAME, b"ab") as file:
        # After a full disk the last one may be there in part.
        size_bytes = file.seek(0, os.SEEK_END) // _NODE_BYTES * _NODE_BYTES
        tr.add(VANISHED_NAME, size_bytes)
        file.truncate(size_bytes)
        file.write(b"".join(map(repo.changelog.node, vanished)))


def _gone_before(repo: Any, unserved: frozenset[int]) -> set[int]:
    from mercurial import obsolete, phases

    phase = repo._phasecache.phase
    found = unserved | obsolete.getrevs(repo, b"obsolete")
    return {revision for revision in found if phase(repo, revision) < phases.secret}


def never_seen(repo: Any, revisions: list[int]) -> list[int]:
    """Return those of the now visible revisions that were never visible before."""
    content = repo.svfs.tryread(VANISHED_NAME)
    known = {content[place : place + _NODE_BYTES] for place in range(0, len(content), _NODE_BYTES)}
    node_of = repo.changelog.node
    return [revision for revision in revisions if node_of(revision) not in known]
