# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Find the bookmarks that a transaction changed; the table in served_view.py decides what is published."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mercurial import bookmarks, encoding, extensions

from sourcepulse.events.record import Record
from sourcepulse_hg.gather.served_view import ServedView

#: A line of `.hg/shared`, which `hg share` writes.
_SHARED_BOOKMARKS = b"bookmarks"


class BookmarkChange(Record):
    """A bookmark and its target before and after, None if a pull sees no target."""

    name: bytes
    oldnode: str | None
    node: str | None


def changed_bookmarks(
    repo: Any,
    changes: Mapping[bytes, tuple[bytes | None, bytes | None]],
    view: ServedView,
    bookmarked: Collection[bytes],
) -> list[BookmarkChange]:
    """Return the net changes, sorted by name.

    They come from `changes`, which is Mercurial's record, and from targets that were revealed or vanished. `bookmarked`
    are targets that were served before a strip removed them. Divergent bookmarks (`name@remote`) and those that a share
    keeps for itself are left out, because a pull does not see them.
    """
    if repo.path != repo.sharedpath and not _are_shared(repo):
        return []
    revision_of = repo.changelog.index.get_rev

    def was_served(node: bytes) -> bool:
        revision = revision_of(node)
        return node in bookmarked if revision is None else view.was_served(revision)

    found = []
    for name, (old, new) in changes.items():
        oldnode = old if old is not None and was_served(old) else None
        node = new if new is not None and view.is_served(revision_of(new)) else None
        found.append((name, oldnode, node))
    for revisions, is_new in ((view.revealed, True), (view.vanished, False)):
        for name, node in _bookmarks_on(repo, revisions):
            if name not in changes:
                found.append((name, None, node) if is_new else (name, node, None))
    return sorted(
        BookmarkChange(_utf8(name), _hex(old), _hex(new))
        for name, old, new in found
        if old != new and not bookmarks.isdivergent(name)
    )


def _are_shared(repo: Any) -> bool:
    """Return whether a share uses the bookmarks of the repository it shares, by the same test as Mercurial."""
    if bookmarks.bookmarksinstore(repo):
        return True
    # What `hg share -B` wrote has no effect unless the extension `share` is enabled.
    is_enabled = any(name == b"share" for name, _ in extensions.extensions(repo.ui))
    return is_enabled and _SHARED_BOOKMARKS in repo.vfs.tryread(b"shared").splitlines()


def _bookmarks_on(repo: Any, revisions: Collection[int]) -> list[tuple[bytes, bytes]]:
    if not revisions:
        return []
    marks, node_of = repo._bookmarks, repo.changelog.node
    nodes = [node_of(revision) for revision in revisions]
    return [(name, node) for node in nodes for name in marks.names(node)]


def _hex(node: bytes | None) -> str | None:
    return None if node is None else node.hex()


def _utf8(name: bytes) -> bytes:
    try:
        return encoding.fromlocal(name)  # type: ignore[no-any-return] # mercurial has no types
    except Exception:  # noqa: BLE001 - bytes that are not text in this locale stay unchanged
        return name
