# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the changesets that a transaction added, and which files each added, modified, removed and copied.

The cost depends on what was added, not on the repository. Nearly always the stored delta between the manifest of a
changeset and that of its first parent says what it did to its files, without either manifest. Otherwise Mercurial reads
whole manifests, within a limit; facts beyond the limit are unknown and None.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mercurial import phases

from sourcepulse.events.record import Record
from sourcepulse_hg.facts import FILES_MAX, Added, Changeset, FileChanges, parse_entry
from sourcepulse_hg.gather.served_view import ServedView

#: As many as an event can list; further heads are counted but not read.
HEADS_MAX = 1000
#: A revset with more roots or heads than this is not useful.
QUERY_MAX_NODES = 32
#: Whole manifests that are read in one transaction; Mercurial reads about 100 MiB per second.
MANIFESTS_MAX_BYTES = 64 * 1024 * 1024
#: Copies are read from the files themselves, where the copy source precedes the content.
COPIES_MAX_FILES = 1_000
COPIES_MAX_BYTES = 16 * 1024 * 1024

_NO_REVISION = -1
_NODE_DIGITS = 40
_UNKNOWN = FileChanges(None, None, None, None)
#: The requirement of a repository with tree manifests, which have no single delta.
_TREES = b"treemanifest"
#: The requirement of a narrow clone, which has only a part of the files.
_NARROW = b"narrowhg-experimental"
_HUNK = struct.Struct(">lll")
#: The length of a line without the name and the letter: the zero byte, the digits, the line break.
_LINE_BYTES = _NODE_DIGITS + 2
#: The letters of up to this many lines are together shorter than any line.
_LINES_MAX = _LINE_BYTES


class Sorted(Record):
    """The files of a changeset by what it did to them, and the nodes of those that exist afterwards."""

    added: list[bytes]
    modified: list[bytes]
    removed: list[bytes]
    nodes: dict[bytes, bytes]


def added_changesets(
    repo: Any,
    view: ServedView,
    *,
    max_changesets: int,
    shown: Sequence[int] = (),
    files: FileReader | None = None,
) -> Added | None:
    """Return the served changesets that were added, None if there are none.

    `shown` are older ones that become served for the first time. `files` sorts the files of each changeset.
    """
    repo = repo.unfiltered()
    changelog = repo.changelog
    # The revisions in `shown` are older, so they come first.
    revisions = [*shown, *view.added] if shown else view.added
    if not revisions:
        return None
    roots, heads, _ = view.shape_of(changelog, revisions, set(shown)) if shown else view.shape_of_added(changelog)

    def node(revision: int) -> str:
        return changelog.node(revision).hex()  # type: ignore[no-any-return] # mercurial has no types

    return Added(
        total=len(revisions),
        first=node(revisions[0]),
        last=node(revisions[-1]),
        heads=tuple((node(head), changelog.revision(head)) for head in heads[:HEADS_MAX]),
        heads_total=len(heads),
        query=_query(
            [node(root) for root in roots[: QUERY_MAX_NODES + 1]],
            [node(head) for head in heads[: QUERY_MAX_NODES + 1]],
            f"{node(revisions[0])}:{node(revisions[-1])}",
        ),
        changesets=_changesets(repo, revisions[:max_changesets], files),
    )


def _query(roots: list[str], heads: list[str], by_number: str) -> str:
    if max(len(roots), len(heads)) > QUERY_MAX_NODES:
        return by_number
    return f"{_one_of(roots)}::{_one_of(heads)}"


def _one_of(nodes: list[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"({' + '.join(nodes)})"


def _changesets(repo: Any, revisions: Sequence[int], files: FileReader | None) -> Iterator[Changeset]:
    changelog = repo.changelog
    for revision in revisions:
        parents = [parent for parent in changelog.parentrevs(revision) if parent != _NO_REVISION]
        phase = phases.phasenames[repo._phasecache.phase(repo, revision)]
        text = changelog.revision(revision)
        yield Changeset(
            node=changelog.node(revision).hex(),
            parents=tuple(changelog.node(parent).hex() for parent in parents),
            text=text,
            phase=phase.decode("ascii"),
            changes=None if files is None else files.read(revision, parse_entry(text).files),
        )


class FileReader:
    """Sorts the files of the changesets that one transaction added, within the limits of a transaction."""

    def __init__(self, repo: Any, warn: Callable[[str], None]) -> None:
        self._repo = repo
        self._is_narrow = _NARROW in repo.requirements
        self._warn = warn
        self._manifests = repo.manifestlog.getstorage(b"")
        self._is_flat = _TREES not in repo.requirements
        self._manifest_bytes = MANIFESTS_MAX_BYTES
        self._copies_files = COPIES_MAX_FILES
        self._copies_bytes = COPIES_MAX_BYTES
        #: A revision and its manifest's revision.
        self._last = (_NO_REVISION, _NO_REVISION)

    def read(self, revision: int, files: Sequence[bytes]) -> FileChanges:
        """Return what a changeset did to the files that it names; unknown lists are None."""
        try:
            return self._read(revision, files)
        except Exception as failure:  # noqa: BLE001 - manifests may be missing or damaged
            if not self._is_narrow:
                # In a narrow clone they are missing by design.
                self._warn(f"the files of revision {revision} are published unsorted: {failure!r}")
            return _UNKNOWN

    def _read(self, revision: int, files: Sequence[bytes]) -> FileChanges:
        one, two = self._repo.changelog.parentrevs(revision)
        if not self._is_flat and not self._are_here(files):
            # Files in folders outside a narrow clone would look removed.
            return _UNKNOWN
        if two == _NO_REVISION and self._is_flat:
            found = self._by_delta(revision, one, files)
            # The next changeset is nearly always a child of this one.
            self._last = (revision, self._manifest_of(revision))
            if found is not None:
                copies = self._copies(revision, found.added, found.nodes.__getitem__)
                return FileChanges(found.added, found.modified, found.removed, copies)
        if not self._may_read_manifests(revision, one, two):
            return _UNKNOWN
        from mercurial import metadata

        context = self._repo[revision]
        # Not `context.filesadded()`: a changelog with sidedata lacks this for changesets from an older bundle.
        added = sorted(metadata.computechangesetfilesadded(context))
        removed = sorted(metadata.computechangesetfilesremoved(context))
        others = {*added, *removed}
        modified = [name for name in context.files() if name not in others]
        return FileChanges(added, modified, removed, self._copies(revision, added, context.filenode))

    def _by_delta(self, revision: int, parent: int, files: Sequence[bytes]) -> Sorted | None:
        storage = self._manifests
        here, there = self._manifest_of(revision), self._manifest_of(parent)
        if here == there:
            return None if files else Sorted([], [], [], {})
        if there == _NO_REVISION or storage.deltaparent(here) != there:
            # Mercurial has to compute that delta from both manifests.
            sizes = [storage.rawsize(number) for number in (here, there) if number != _NO_REVISION]
            if not self._may_read(sum(sizes)):
                return None
        return sorted_by_delta(storage.revdiff(there, here), files)

    def _manifest_of(self, revision: int) -> int:
        if revision == _NO_REVISION:
            return _NO_REVISION
        known, number = self._last
        if known != revision:
            # A changelog entry begins with the manifest's id; an empty entry has none.
            node = self._repo.changelog.revision(revision)[:_NODE_DIGITS]
            number = int(self._manifests.rev(bytes.fromhex(node.decode("ascii")))) if node else _NO_REVISION
        return number

    def _may_read_manifests(self, *revisions: int) -> bool:
        if not self._is_flat:
            # Of tree manifests only the folders of the changed files are read.
            return True
        numbers = {self._manifest_of(revision) for revision in revisions} - {_NO_REVISION}
        return self._may_read(sum(self._manifests.rawsize(number) for number in numbers))

    def _may_read(self, size_bytes: int) -> bool:
        if size_bytes > self._manifest_bytes:
            return False
        self._manifest_bytes -= size_bytes
        return True

    def _are_here(self, files: Sequence[bytes]) -> bool:
        if not self._is_narrow:
            return True
        # The store's matcher, because the working directory's may lag behind while a clone is widened.
        is_here = self._repo._storenarrowmatch
        return all(map(is_here, files))

    def _copies(
        self, revision: int, added: list[bytes], node_of: Callable[[bytes], bytes]
    ) -> list[tuple[bytes, bytes]] | None:
        try:
            return self._read_copies(added[:FILES_MAX], node_of)
        except Exception as failure:  # noqa: BLE001 - a file may be censored or damaged although its manifest is not
            self._warn(f"revision {revision} is published without the copy sources of its files: {failure!r}")
            return None

    def _read_copies(self, files: list[bytes], node_of: Callable[[bytes], bytes]) -> list[tuple[bytes, bytes]] | None:
        self._copies_files -= len(files)
        if self._copies_files < 0 or not self._are_here(files):
            return None
        copies = []
        for name in files:
            storage = self._repo.file(name)
            revlog = getattr(storage, "_revlog", None)
            if revlog is None:
                # A shallow clone would fetch it from its server.
                return None
            node = node_of(name)
            self._copies_bytes -= revlog.rawsize(revlog.rev(node))
            if self._copies_bytes < 0:
                return None
            source = storage.renamed(node)
            if source:
                copies.append((name, source[0]))
        return copies


def sorted_by_delta(delta: bytes, files: Sequence[bytes]) -> Sorted | None:
    """Sort the files of a changeset with one parent; None if the delta is ambiguous.

    A manifest has a line for each file, sorted by name: the name, a zero byte, 40 hexadecimal digits, at most one
    letter. The delta replaces a range of old bytes with new lines, but does not contain the old bytes. A hunk that only
    inserts lines adds files. A file that the changeset names and that has no new line is removed. In other hunks the
    number of old bytes shows whether the old lines are those of the same files. Only the optional letters make the
    length uncertain, so this works as long as the letters of all lines together are shorter than one line.
    """
    nodes: dict[bytes, bytes] = {}
    fresh: set[bytes] = set()
    gone_bytes = 0
    for old_bytes, content in _hunks(delta):
        names = []
        for line in content.split(b"\n")[:-1]:
            name, _, rest = line.partition(b"\0")
            nodes[name] = bytes.fromhex(rest[:_NODE_DIGITS].decode("ascii"))
            names.append(name)
        if not names:
            gone_bytes += old_bytes
        elif not old_bytes:
            fresh.update(names)
        elif not _may_be_lines_of(names, old_bytes):
            return None
    removed = [name for name in files if name not in nodes]
    if len(nodes) + len(removed) != len(files) or not _may_be_lines_of(removed, gone_bytes):
        return None
    added = [name for name in files if name in fresh]
    modified = [name for name in files if name in nodes and name not in fresh]
    return Sorted(added, modified, removed, nodes)


def _may_be_lines_of(names: Sequence[bytes], size_bytes: int) -> bool:
    letters = size_bytes - sum(map(len, names)) - len(names) * _LINE_BYTES
    return len(names) <= _LINES_MAX and 0 <= letters <= len(names)


def _hunks(delta: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number of old bytes and the new bytes of each hunk; adjacent hunks are joined."""
    place, begin, end, content = 0, 0, -1, b""
    while place < len(delta):
        start, stop, length = _HUNK.unpack_from(delta, place)
        place += _HUNK.size
        if start == end:
            end, content = stop, content + delta[place : place + length]
        else:
            if end >= 0:
                yield end - begin, content
            begin, end, content = start, stop, delta[place : place + length]
        place += length
    if end >= 0:
        yield end - begin, content
