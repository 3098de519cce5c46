# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is known of a repository when a transaction begins, while Mercurial still knows it.

That is what a pull could see, and how far this extension has seen the changelog. A file in the store has the last
nodes, so that changesets are noticed which an hg without the extension added. Each transaction writes it as part of
itself, so it is committed or rolled back with the transaction, even in a crash. A strip keeps the order of the
remaining changesets, so all that follow the newest of these nodes that still exists were added unseen. If none exists,
or without the file, nothing is known.
"""

from __future__ import annotations

from typing import Any

from sourcepulse_hg.gather.served_view import unserved_now

#: The attribute of the repository; `__init__.py` reads it by this name for each changeset.
ATTRIBUTE = "sourcepulse_before"
SEEN_NAME = b"sourcepulse-seen"
#: If an hg without the extension strips fewer changesets than this, what it then adds is still noticed.
NODES_MAX = 32
_HEX_NODE_CHARACTERS = 40
_TAGS_FILE = b".hgtags"
_STRIP = b"strip"


class StateBefore:
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
        unseen = unseen_revisions(repo)
        unserved = unserved_now(repo)
        if name == _STRIP:
            # A strip has two transactions of this name; before the second the targets are already gone.
            bookmarked |= _served_bookmarks(repo, unserved)
        object.__setattr__(repo, ATTRIBUTE, StateBefore(unserved, bookmarked, unseen))
    except Exception:  # noqa: BLE001 - the repository may be damaged, and this may be a repair
        object.__setattr__(repo, ATTRIBUTE, StateBefore(None, bookmarked, unseen))


def noted_before(repo: Any) -> StateBefore:
    """Return the recorded state; without the extension an empty one."""
    before: StateBefore | None = getattr(repo, ATTRIBUTE, None)
    return StateBefore(None, frozenset()) if before is None else before


def _served_bookmarks(repo: Any, unserved: frozenset[int]) -> frozenset[bytes]:
    revision_of = repo.changelog.index.get_rev
    targets = ((node, revision_of(node)) for node in repo._bookmarks.values())
    return frozenset(node for node, revision in targets if revision is not None and revision not in unserved)


def note_seen(repo: Any, tr: Any) -> None:
    """Make a transaction write the nodes that the changelog ends with now."""
    content = b"".join(node + b"\n" for node in _last_nodes(repo))
    tr.addfilegenerator(SEEN_NAME, (SEEN_NAME,), lambda file: file.write(content), location=b"")


def write_seen(repo: Any) -> None:
    """Write the file outside a transaction; the caller holds the lock of the store."""
    with repo.svfs(SEEN_NAME, b"wb", atomictemp=True) as file:
        file.write(b"".join(node + b"\n" for node in _last_nodes(repo)))


def unseen_revisions(repo: Any) -> tuple[int, int] | None:
    """Return start and stop of the revisions that the extension has not seen; None if there are none."""
    changelog = repo.changelog
    stop = len(changelog)
    start = _seen_revisions(changelog, repo.svfs.tryread(SEEN_NAME))
    return None if start is None or start >= stop else (start, stop)


def _seen_revisions(changelog: Any, content: bytes) -> int | None:
    revision_of = changelog.index.get_rev
    for line in content.split(b"\n")[:NODES_MAX]:
        if len(line) != _HEX_NODE_CHARACTERS:
            return None
        revision = revision_of(bytes.fromhex(line.decode("ascii")))
        if revision is not None:
            return int(revision) + 1
    return None


def _last_nodes(repo: Any) -> list[bytes]:
    changelog = repo.changelog
    last = len(changelog) - 1
    return [changelog.node(revision).hex().encode() for revision in range(last, max(last - NODES_MAX, -1), -1)]
