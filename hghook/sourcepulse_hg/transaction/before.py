# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What was so when a transaction began, noted while Mercurial still knows it; nothing here raises."""

from __future__ import annotations

from typing import Any

from sourcepulse_hg.messages import Teller
from sourcepulse_hg.settings import read_settings
from sourcepulse_hg.transaction.seen import unseen as unseen_now

#: The attribute of the repository; the package asks for it by this name at each changeset.
ATTRIBUTE = "sourcepulse_before"
_TAGS_FILE = b".hgtags"
#: Where Mercurial keeps that it has warned of an unknown parent of the working directory.
_HAS_WARNED = "_dirstatevalidatewarned"
_STRIP = b"strip"


class Before:
    """The state of a repository at the begin of its transaction.

    `unserved` holds the revisions that a pull could not see, None if Mercurial could not say. `registered` counts
    the changesets that Mercurial reported as added since, `tagging` those of them that touch `.hgtags`.
    `bookmarked` holds the nodes of bookmarks that a pull could see; it is filled before a strip only, and kept for
    the transaction in which strip moves the bookmarks of what it has removed.
    """

    __slots__ = ("bookmarked", "registered", "tagging", "unseen", "unserved")

    def __init__(
        self,
        unserved: frozenset[int] | None,
        bookmarked: frozenset[bytes],
        unseen: tuple[int, int] | None = None,
    ) -> None:
        self.unserved = unserved
        #: From where to before where an hg without the extension added changesets.
        self.unseen = unseen
        self.bookmarked = bookmarked
        self.registered = 0
        self.tagging: list[int] = []

    def note(self, revision: int, changeset: Any) -> None:
        """Look at a changeset that Mercurial adds, which it has read anyway."""
        try:
            if _TAGS_FILE in changeset.files:
                self.tagging.append(revision)
            self.registered += 1
        except Exception:  # noqa: BLE001 - then the count tells that something is missing
            return


def note_begin(repo: Any, name: bytes) -> None:
    """Look at the repository in which a transaction of this name begins."""
    bookmarked: frozenset[bytes] = frozenset()
    unseen: tuple[int, int] | None = None
    try:
        previous = getattr(repo, ATTRIBUTE, None)
        # In the middle of a strip Mercurial cannot say what is served, and what was before is needed all the more.
        bookmarked = frozenset() if previous is None else previous.bookmarked
        unseen = unseen_now(repo)
        unserved = unserved_now(repo)
        if name == _STRIP:
            # It has two transactions of this name; before the second the targets are gone already.
            bookmarked |= _served_bookmarks(repo, unserved)
        object.__setattr__(repo, ATTRIBUTE, Before(unserved, bookmarked, unseen))
    except Exception:  # noqa: BLE001 - the repository may be damaged and this the attempt to repair it
        object.__setattr__(repo, ATTRIBUTE, Before(None, bookmarked, unseen))


def unserved_now(repo: Any) -> frozenset[int]:
    """Return the revisions that a pull cannot see; `repo` is unfiltered.

    Mercurial keeps this set until something changes it. To make it anew it looks at each draft changeset, which is
    spared where nothing can be hidden and nothing is secret.
    """
    from mercurial import phases, repoview

    roots = getattr(repo._phasecache, "_phaseroots", None) or getattr(repo._phasecache, "phaseroots", None)
    if roots is not None and not repo.obsstore and not any(roots[phase] for phase in phases.remotehiddenphases):
        return frozenset()
    # In the middle of a strip the parents of the working directory may be away. Mercurial does not ask for them then,
    # so neither the warning nor that it was given may come from us.
    has_warned = getattr(repo, _HAS_WARNED, False)
    object.__setattr__(repo, _HAS_WARNED, True)
    try:
        return repoview.filterrevs(repo, b"served")  # type: ignore[no-any-return] # mercurial has no types
    finally:
        object.__setattr__(repo, _HAS_WARNED, has_warned)


def noted_before(repo: Any) -> Before:
    """Return what was noted; without the extension nothing is."""
    before: Before | None = getattr(repo, ATTRIBUTE, None)
    return Before(None, frozenset()) if before is None else before


def _served_bookmarks(repo: Any, unserved: frozenset[int]) -> frozenset[bytes]:
    revision_of = repo.changelog.index.get_rev
    targets = ((node, revision_of(node)) for node in repo._bookmarks.values())
    return frozenset(node for node, revision in targets if revision is not None and revision not in unserved)


def recover_abandoned(repo: Any) -> None:
    """Do what `hg recover` does, if `auto_recover` is set and the caller holds the store lock.

    Whoever wrote the journal held that lock, and a living process keeps it until the journal is gone: so its owner is
    dead. What cannot be taken back stays, and Mercurial refuses the transaction as without us.
    """
    if repo._currentlock(repo._lockref) is None or not read_settings(repo).auto_recover:
        return
    teller = Teller(repo.ui)
    teller.warn("taking back a transaction that a dead process left unfinished")
    try:
        repo.recover()
    except Exception as failure:  # noqa: BLE001 - Mercurial says what is to be done
        teller.warn(f"that failed: {failure!r}")
