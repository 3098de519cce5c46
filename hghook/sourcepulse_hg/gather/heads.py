# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Find the branches and heads that a transaction created; see head_rule.py for the definition.

The names of branches come from Mercurial's own cache, which it fills while it adds changesets.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any

from mercurial import branchmap, encoding, obsolete

from sourcepulse.events.record import Record
from sourcepulse_hg.facts import parse_entry
from sourcepulse_hg.gather.head_rule import Past, new_heads
from sourcepulse_hg.gather.served_view import ServedView

#: As many as an event can list; further heads are counted but not read.
HEADS_MAX = 1000
#: Further than this from the newest changeset, visiting each one costs more than Mercurial's search from the heads.
NEAR_REVISIONS = 1000
#: For more changesets than this, one pass over all later ones is cheaper than a search for each.
SEARCHES_MAX = 8
#: A record of Mercurial's cache of branches has the first bytes of the node and the number of the branch, with one bit
#: set for a changeset that closes it.
_RECORD_BYTES = 8
_NUMBER_MASK = 0x7FFFFFFF
#: The views for which Mercurial has files of branch heads, each a part of the one before.
_CACHED_VIEWS = (b"served", b"immutable", b"base")


class Head(Record):
    """A head of a named branch."""

    node: str
    branch: bytes


class Heads(Record):
    """The first heads, and how many there are in total."""

    total: int
    heads: Sequence[Head]


class HeadChanges(Record):
    """Heads of new branches, heads that a branch gained, and heads that close their branch."""

    of_new_branches: Heads
    gained: Heads
    closing: Heads


def changed_heads(repo: Any, view: ServedView, *, registered: bool = False) -> HeadChanges:
    """Return heads of new branches, heads that a branch gained, and heads that close their branch.

    `registered` is whether Mercurial reported each added changeset, so that its cache of branches has them all.
    """
    repo = repo.unfiltered()
    changelog = repo.changelog
    names = _BranchNames(repo)
    shape = view.shape_of_appeared(changelog)
    found = new_heads(
        view.appeared,
        topological=shape.heads,
        borders=shape.borders,
        parents=changelog.parentrevs,
        branches=names.of_all(view.appeared, registered=registered),
        past=_RepositoryPast(repo, view, names),
    )
    closing = [head for head in found.every if names.closes(head)]
    return HeadChanges(
        _heads(changelog, found.of_new_branches), _heads(changelog, found.gained), _heads(changelog, closing)
    )


def _heads(changelog: Any, revisions: Sequence[int]) -> Heads:
    # The raw name is parsed from the changeset, because Mercurial's reader guesses if it is not UTF-8.
    listed = [
        Head(changelog.node(revision).hex(), parse_entry(changelog.revision(revision)).branch)
        for revision in revisions[:HEADS_MAX]
    ]
    return Heads(len(revisions), listed)


class _BranchNames:
    """The names of branches in UTF-8; in Mercurial's local encoding two names may become equal."""

    def __init__(self, repo: Any) -> None:
        self._cache = repo.revbranchcache()
        self._info = self._cache.branchinfo
        self._utf8: dict[bytes, bytes] = {}

    def of(self, revision: int) -> bytes:
        return self._name(self._info(revision)[0])

    def of_all(self, revisions: Sequence[int], *, registered: bool) -> list[bytes]:
        if registered and isinstance(revisions, range):
            try:
                return self._of_range(revisions.start, revisions.stop)
            except (AttributeError, IndexError, TypeError, struct.error):
                # Another version of Mercurial stores the cache differently.
                pass
        return [self.of(revision) for revision in revisions]

    def _of_range(self, start: int, stop: int) -> list[bytes]:
        """Read a range of Mercurial's cache at once, which takes a tenth of the time."""
        records = self._cache._rbcrevs
        begin, end = start * _RECORD_BYTES, stop * _RECORD_BYTES
        raw = bytes(records.slice(begin, end) if hasattr(records, "slice") else records[begin:end])
        # The second number of each record is that of the branch.
        numbers = struct.unpack(f">{2 * (stop - start)}I", raw)[1::2]
        names = {number: self._name(self._cache._names[number & _NUMBER_MASK]) for number in set(numbers)}
        return [names[number] for number in numbers]

    def _name(self, local: bytes) -> bytes:
        name = self._utf8.get(local)
        if name is None:
            name = self._utf8[local] = encoding.fromlocal(local)
        return name

    def closes(self, revision: int) -> bool:
        return bool(self._info(revision)[1])


class _RepositoryPast(Past):
    """The past of a repository, read from Mercurial's own indexes for speed; the answers are the same."""

    def __init__(self, repo: Any, view: ServedView, names: _BranchNames) -> None:
        super().__init__(view.start, repo.changelog.parentrevs, names.of, view.was_served)
        self._repo = repo
        self._view = view

    def existing(self, branches: Collection[Hashable]) -> set[Hashable]:
        if not self.stop:
            return set()
        cached = None if self._view.revealed else self._cached_branches()
        if cached is None:
            # Mercurial is about to read the same for its own caches, and this fills its cache of branch names.
            return super().existing(branches)
        known, uncovered = cached
        found: set[Hashable] = {name for name in branches if name in known}
        missing = set(branches) - found
        for revision in uncovered if missing else ():
            name = self.branch(revision)
            if name in missing and self.was_served(revision):
                missing.discard(name)
                found.add(name)
        return found

    def _cached_branches(self) -> tuple[set[bytes], Iterable[int]] | None:
        """Return the branches in one of Mercurial's files that is still valid, and the revisions it does not cover."""
        load = getattr(branchmap, "branch_cache_from_file", None) or branchmap.branchcache.fromfile
        for name in _CACHED_VIEWS:
            filtered = self._repo.filtered(name)
            cache = load(filtered)
            if cache is None or cache.tiprev >= self.stop:
                continue
            known = {encoding.fromlocal(branch) for branch in cache}
            # Mercurial leaves out obsolete changesets.
            apart = filtered.changelog.filteredrevs | obsolete.getrevs(self._repo, b"obsolete")
            older = [revision for revision in apart if revision <= cache.tiprev and self.was_served(revision)]
            return known, [*range(cache.tiprev + 1, self.stop), *older]
        return None

    def heads_among(self, candidates: Collection[int], branch: Hashable) -> set[int]:
        far = [candidate for candidate in candidates if self.stop - candidate > NEAR_REVISIONS]
        if not far or len(far) > SEARCHES_MAX:
            return super().heads_among(candidates, branch)
        near = super().heads_among(set(candidates) - set(far), branch)
        return near | {candidate for candidate in far if not self._is_continued(candidate, branch)}

    def _is_continued(self, revision: int, branch: Hashable) -> bool:
        changelog = self._repo.changelog
        descendants = changelog.reachableroots(revision, changelog.headrevs(), [revision], True)
        return any(
            revision < descendant < self.stop and self.was_served(descendant) and self.branch(descendant) == branch
            for descendant in sorted(descendants)
        )
