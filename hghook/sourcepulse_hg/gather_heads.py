# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read from the repository which branches and heads a transaction made; see head_rule.py for what counts.

The names of branches come from Mercurial's cache of them, which it fills itself while it adds changesets.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any

from mercurial import branchmap, encoding, obsolete

from sourcepulse_hg.changelog_entry import parse_entry
from sourcepulse_hg.facts import Head, HeadChanges, Heads
from sourcepulse_hg.head_rule import Past, new_heads
from sourcepulse_hg.served_view import ServedView

#: More heads than an event can list are counted and not read.
HEADS_MAX = 1000
#: So far behind the newest changeset, looking at each one costs more than Mercurial's own search from the heads.
NEAR_REVISIONS = 1000
#: For more changesets than this, one look at all that follows is cheaper than a search for each.
SEARCHES_MAX = 8
#: Mercurial's files of branch heads, for views that each hold a part of the one before.
_CACHED_VIEWS = (b"served", b"immutable", b"base")


def changed_heads(repo: Any, view: ServedView) -> HeadChanges:
    """Find new branches, heads that a branch gained, and heads that close their branch."""
    repo = repo.unfiltered()
    changelog = repo.changelog
    names = _BranchNames(repo)
    shape = view.shape_of_appeared(changelog)
    found = new_heads(
        view.appeared,
        topological=shape.heads,
        borders=shape.borders,
        parents=changelog.parentrevs,
        branch=names.of,
        past=_RepositoryPast(repo, view, names),
    )
    closing = [head for head in found.every if names.closes(head)]
    return HeadChanges(
        _heads(changelog, found.of_new_branches), _heads(changelog, found.gained), _heads(changelog, closing)
    )


def _heads(changelog: Any, revisions: Sequence[int]) -> Heads:
    # The name as the changeset has it: Mercurial's reader guesses where it is no UTF-8.
    listed = [
        Head(changelog.node(revision).hex(), parse_entry(changelog.revision(revision)).branch)
        for revision in revisions[:HEADS_MAX]
    ]
    return Heads(len(revisions), listed)


class _BranchNames:
    """The names of branches in UTF-8; Mercurial's own form depends on the locale and may make two names equal."""

    def __init__(self, repo: Any) -> None:
        self._info = repo.revbranchcache().branchinfo
        self._utf8: dict[bytes, bytes] = {}

    def of(self, revision: int) -> bytes:
        local: bytes = self._info(revision)[0]
        name = self._utf8.get(local)
        if name is None:
            name = self._utf8[local] = encoding.fromlocal(local)
        return name

    def closes(self, revision: int) -> bool:
        return bool(self._info(revision)[1])


class _RepositoryPast(Past):
    """The past of a repository, which Mercurial's own indexes know faster; the answers are the same."""

    def __init__(self, repo: Any, view: ServedView, names: _BranchNames) -> None:
        super().__init__(view.start, repo.changelog.parentrevs, names.of, view.was_served)
        self._repo = repo
        self._view = view

    def existing(self, branches: Collection[Hashable]) -> set[Hashable]:
        if not self.stop:
            return set()
        cached = None if self._view.revealed else self._cached_branches()
        if cached is None:
            # Mercurial is about to do the same for its own caches, and what is read here is kept for that.
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
        """Give the branches in a file of Mercurial's that is still right, and the revisions it says nothing of."""
        load = getattr(branchmap, "branch_cache_from_file", None) or branchmap.branchcache.fromfile
        for name in _CACHED_VIEWS:
            filtered = self._repo.filtered(name)
            cache = load(filtered)
            if cache is None or cache.tiprev >= self.stop:
                continue
            known = {encoding.fromlocal(branch) for branch in cache}
            # Mercurial leaves out what is obsolete.
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
