# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Find which files a changeset added, modified, removed and copied, as Mercurial's `file_adds` and the like print them.

Nearly always the stored delta between the manifest and the first parent's answers that. Otherwise Mercurial reads
whole manifests, within a limit; facts beyond the limit are unknown and None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sourcepulse_hg.facts.values import FILES_MAX, FileChanges
from sourcepulse_hg.gather.manifest_delta import Sorted, sorted_by_delta

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
