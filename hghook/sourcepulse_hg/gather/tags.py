# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read from the repository which tags the changesets that appeared changed, each against its first parent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mercurial import error, tags

from sourcepulse_hg.facts.changelog_entry import parse_entry
from sourcepulse_hg.facts.refs_values import TagChange
from sourcepulse_hg.facts.served_view import ServedView
from sourcepulse_hg.gather.tag_lines import TagMove, add_lines, appended, changed_tags, parse_lines, targets_of

TAGS_FILE = b".hgtags"
_NO_REVISION = -1


def changed_tags_of(
    repo: Any, view: ServedView, shown: Sequence[int], tagging: Sequence[int] | None
) -> list[TagChange]:
    """Return the changes in the order of the changesets.

    `shown` are older revisions that can be seen for the first time. `tagging` are the added revisions that touch
    `.hgtags`, if somebody looked while they were added; else each changeset is read once more.
    """
    repo = repo.unfiltered()
    if tagging is None:
        revisions = _tagging(repo, [*shown, *view.added])
    else:
        revisions = [*_tagging(repo, shown), *(rev for rev in tagging if view.is_served(rev))]
    if not revisions:
        return []
    states = _TagFiles(repo)
    changelog = repo.changelog
    changes = []
    for revision in revisions:
        node = changelog.node(revision).hex()
        changes += [
            TagChange(move.name, _text(move.oldnode), _text(move.node), node) for move in states.moves(revision)
        ]
    return changes


def _tagging(repo: Any, revisions: Iterable[int]) -> list[int]:
    text_of = repo.changelog.revision
    return [revision for revision in revisions if TAGS_FILE in parse_entry(text_of(revision)).files]


def _text(node: bytes | None) -> str | None:
    return None if node is None else node.decode("ascii")


class _TagFiles:
    """Compares states of `.hgtags`; the last one is kept, since the next changeset mostly appends to it."""

    def __init__(self, repo: Any) -> None:
        self._repo = repo
        self._changelog = repo.changelog
        self._files = repo.file(TAGS_FILE)
        # Without it Mercurial has to read whole manifests.
        self._file_nodes = tags.hgtagsfnodescache(repo)
        self._last: tuple[bytes, bytes, dict[bytes, bytes]] = (b"", b"", {})

    def moves(self, revision: int) -> list[TagMove]:
        old_id = self._file_node(self._changelog.parentrevs(revision)[0])
        new_id = self._file_node(revision)
        old, targets = self._state(old_id)
        new = self._content(new_id)
        added = appended(old, new)
        if added is None:
            return changed_tags(old, new)
        found = add_lines(targets, parse_lines(added))
        self._last = (new_id, new, targets)
        return found

    def _state(self, file_node: bytes) -> tuple[bytes, dict[bytes, bytes]]:
        last, content, targets = self._last
        if last == file_node:
            return content, targets
        content = self._content(file_node)
        return content, targets_of(parse_lines(content))

    def _file_node(self, revision: int) -> bytes:
        """Give the id of the file at a revision, empty if there is none."""
        if revision == _NO_REVISION:
            return b""
        try:
            node: bytes = self._file_nodes.getfnode(self._changelog.node(revision))
        except AssertionError:
            # Mercurial 7.2 cannot fill its cache where manifests are trees.
            node = self._repo[revision].manifest().get(TAGS_FILE, b"")
        return node if node.strip(b"\0") else b""

    def _content(self, file_node: bytes) -> bytes:
        if not file_node:
            return b""
        try:
            content: bytes = self._files.read(file_node)
        except error.LookupError:
            # Named by a manifest, but not there: a narrow or damaged repository.
            return b""
        return content
