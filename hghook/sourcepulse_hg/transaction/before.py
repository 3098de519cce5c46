# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Record the state of a repository when a transaction begins, while Mercurial still knows it; nothing here raises."""

from __future__ import annotations

from typing import Any

from sourcepulse_hg.messages import Teller
from sourcepulse_hg.settings import read_settings
from sourcepulse_hg.transaction.seen import unseen as unseen_now

#: The attribute of the repository; `__init__.py` reads it by this name for each changeset.
ATTRIBUTE = "sourcepulse_before"
_TAGS_FILE = b".hgtags"
#: Where Mercurial records that it has warned about an unknown parent of the working directory.
_HAS_WARNED = "_dirstatevalidatewarned"
_STRIP = b"strip"


class Before:
    """The state of a repository at the beginning of its transaction.

    `unserved` holds the revisions that a pull could not see, None if Mercurial could not determine them. `registered`
    counts the changesets that Mercurial has reported as added since, `tagging` lists those that touch `.hgtags`.
    `bookmarked` holds the nodes of bookmarks that a pull could see. It is filled only before a strip, and kept for the
    transaction in which strip moves the bookmarks of removed changesets.
    """

    __slots__ = ("bookmarked", "registered", "tagging", "unseen", "unserved")

    def __init__(
        self,
        unserved: frozenset[int] | None,
        bookmarked: frozenset[bytes],
        unseen: tuple[int, int] | None = None,
    ) -> None:
        self.unserved = unserved
        #: Start and stop of the revisions that an hg without the extension added.
        self.unseen = unseen
        self.bookmarked = bookmarked
        self.registered = 0
        self.tagging: list[int] = []

    def note(self, revision: int, changeset: Any) -> None:
        """Record a changeset that Mercurial adds; it has parsed the changeset already."""
        try:
            if _TAGS_FILE in changeset.files:
                self.tagging.append(revision)
            self.registered += 1
        except Exception:  # noqa: BLE001 - the count then shows that one is missing
            return


def note_begin(repo: Any, name: bytes) -> None:
    """Record the state of a repository before a transaction of this name."""
    bookmarked: frozenset[bytes] = frozenset()
    unseen: tuple[int, int] | None = None
    try:
        previous = getattr(repo, ATTRIBUTE, None)
        # Within a strip Mercurial cannot compute what is served, so keep what was served before.
        bookmarked = frozenset() if previous is None else previous.bookmarked
        unseen = unseen_now(repo)
        unserved = unserved_now(repo)
        if name == _STRIP:
            # A strip has two transactions of this name; before the second the targets are already gone.
            bookmarked |= _served_bookmarks(repo, unserved)
        object.__setattr__(repo, ATTRIBUTE, Before(unserved, bookmarked, unseen))
    except Exception:  # noqa: BLE001 - the repository may be damaged, and this may be a repair
        object.__setattr__(repo, ATTRIBUTE, Before(None, bookmarked, unseen))


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


def noted_before(repo: Any) -> Before:
    """Return the recorded state; without the extension an empty one."""
    before: Before | None = getattr(repo, ATTRIBUTE, None)
    return Before(None, frozenset()) if before is None else before


def _served_bookmarks(repo: Any, unserved: frozenset[int]) -> frozenset[bytes]:
    revision_of = repo.changelog.index.get_rev
    targets = ((node, revision_of(node)) for node in repo._bookmarks.values())
    return frozenset(node for node, revision in targets if revision is not None and revision not in unserved)


def recover_abandoned(repo: Any) -> None:
    """Do what `hg recover` does, if `auto_recover` is set and the caller holds the store lock.

    The process that wrote the journal held that lock, and a live process keeps it until the journal is removed; so
    that process is dead. If the rollback fails, Mercurial refuses the new transaction as it does without us.
    """
    if repo._currentlock(repo._lockref) is None or not read_settings(repo).auto_recover:
        return
    teller = Teller(repo.ui)
    teller.warn("rolling back a transaction that a dead process left unfinished")
    try:
        repo.recover()
    except Exception as failure:  # noqa: BLE001 - Mercurial reports what to do
        teller.warn(f"the rollback failed: {failure!r}")
