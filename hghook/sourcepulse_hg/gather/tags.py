# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Find which tags the new changesets changed, each compared with its first parent."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

from mercurial import error, tags

from sourcepulse.events.record import Record
from sourcepulse_hg.facts import parse_entry
from sourcepulse_hg.gather.served_view import ServedView

TAGS_FILE = b".hgtags"
_NO_REVISION = -1


class TagChange(Record):
    """A tag and its target before and after new lines of `.hgtags`, and the changeset that adds the lines."""

    name: bytes
    oldnode: str | None
    node: str | None
    changeset: str


def changed_tags_of(
    repo: Any, view: ServedView, shown: Sequence[int], tagging: Sequence[int] | None
) -> list[TagChange]:
    """Return the changes in the order of the changesets.

    `shown` are older revisions that are visible for the first time. `tagging` are the added revisions that touch
    `.hgtags`, if they were recorded while they were added; otherwise each changeset is read again.
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
    """Compares states of `.hgtags`; the last one is cached, because the next changeset usually appends to it."""

    def __init__(self, repo: Any) -> None:
        self._repo = repo
        self._changelog = repo.changelog
        self._files = repo.file(TAGS_FILE)
        # Without this cache Mercurial has to read whole manifests.
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
        """Return the id of the file at a revision, empty if there is none."""
        if revision == _NO_REVISION:
            return b""
        try:
            node: bytes = self._file_nodes.getfnode(self._changelog.node(revision))
        except AssertionError:
            # Mercurial 7.2 cannot fill its cache in a repository with tree manifests.
            node = self._repo[revision].manifest().get(TAGS_FILE, b"")
        return node if node.strip(b"\0") else b""

    def _content(self, file_node: bytes) -> bytes:
        if not file_node:
            return b""
        try:
            content: bytes = self._files.read(file_node)
        except error.LookupError:
            # The manifest names a file that is not there, in a narrow or damaged repository.
            return b""
        return content


_NODE = re.compile(rb"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")


class TagLine(Record):
    name: bytes
    node: bytes


class TagMove(Record):
    """A tag and its nodes before and after, None where it does not exist."""

    name: bytes
    oldnode: bytes | None
    node: bytes | None


def parse_lines(content: bytes) -> list[TagLine]:
    """Parse the lines of a tag file; malformed lines are skipped."""
    lines = []
    for line in content.splitlines():
        node, _, name = line.partition(b" ")
        name = name.strip()
        if name and _NODE.fullmatch(node):
            lines.append(TagLine(name, node.lower()))
    return lines


def appended(old: bytes, new: bytes) -> bytes | None:
    """Return what was appended to a tag file, None if it was changed otherwise."""
    if not new.startswith(old):
        return None
    rest = new[len(old) :]
    whole_lines = not old or old.endswith(b"\n") or rest.startswith(b"\n")
    return rest if whole_lines else None


def targets_of(lines: Iterable[TagLine]) -> dict[bytes, bytes]:
    """Return the last node of each tag."""
    return {line.name: line.node for line in lines}


def add_lines(targets: MutableMapping[bytes, bytes], lines: Iterable[TagLine]) -> list[TagMove]:
    """Update the last node of each tag with appended lines, and return the changes."""
    before: dict[bytes, bytes | None] = {}
    for line in lines:
        before.setdefault(line.name, targets.get(line.name))
        targets[line.name] = line.node
    return _moves((name, old, targets[name]) for name, old in before.items())


def changed_tags(old: bytes, new: bytes) -> list[TagMove]:
    """Return how lines that are new, or more frequent than in the old state, changed their tags."""
    old_lines, new_lines = parse_lines(old), parse_lines(new)
    unmatched = Counter(old_lines)
    touched: dict[bytes, None] = {}
    for line in new_lines:
        if unmatched[line] > 0:
            unmatched[line] -= 1
        else:
            touched[line.name] = None
    old_targets, new_targets = targets_of(old_lines), targets_of(new_lines)
    return _moves((name, old_targets.get(name), new_targets[name]) for name in touched)


def _moves(candidates: Iterable[tuple[bytes, bytes | None, bytes]]) -> list[TagMove]:
    moves = (TagMove(name, _existing(old), _existing(new)) for name, old, new in candidates)
    return [move for move in moves if move.oldnode != move.node]


def _existing(node: bytes | None) -> bytes | None:
    return node if node is not None and node.strip(b"0") else None
