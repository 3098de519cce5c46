# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Find the first copies of a repository, and which of them belong to a committed transaction."""

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from sourcepulse.errors import NothingThereError
from sourcepulse_hg.pending.first_copy import FOLDER, parse_name
from sourcepulse_hg.tree.file import UPGRADE_BACKUP_PREFIX

_URI = "file://"
_SHAREDPATH_MAX_BYTES = 64 * 1024


class Waiting(NamedTuple):
    """A waiting first copy: its file, and the store whose journal decides; None if it is committed."""

    path: Path
    counter: int
    digits: str
    undecided_in: Path | None


class Place(NamedTuple):
    """A repository on disk: its `.hg` directory (for a share, that of the shared repository) and its store."""

    dot_hg: Path
    store: Path

    @property
    def ready(self) -> Path:
        """The folder of the first copies of committed transactions, of the lock and of the default outbox."""
        return self.dot_hg / FOLDER

    def waiting(self) -> list[Waiting]:
        """List the first copies in the order of their transactions."""
        found: dict[str, Waiting] = {}
        # A file only ever moves from pending to ready, so reading in this order misses none. The store is read
        # again for a file that was written meanwhile and could not be moved.
        for folder, store in [*self._pending_folders(), (self.ready, None), (self.store / FOLDER, self.store)]:
            for name in _names(folder):
                parsed = parse_name(name)
                if parsed is not None:
                    undecided_in = store if name.startswith("p") else None
                    found[name[1:]] = Waiting(folder / name, *parsed, undecided_in)
        return sorted(found.values(), key=lambda waiting: (waiting.counter, _modified(waiting.path), waiting.digits))

    def _pending_folders(self) -> list[tuple[Path, Path]]:
        stores = [
            self.dot_hg / name / "store"
            for name in sorted(_names(self.dot_hg))
            if name.startswith(os.fsdecode(UPGRADE_BACKUP_PREFIX))
        ]
        return [(store / FOLDER, store) for store in [*stores, self.store]]


def find_place(location: str | os.PathLike[str]) -> Place:
    """Find a repository by its root or `.hg`; a share leads to the repository it shares.

    A `file://` URI, as `location_of` returns it, is accepted too. Raises NothingThereError if there is no repository.
    The files are described in `hg help internals.requirements`.
    """
    text = os.fspath(location)
    path = Path(os.fsdecode(unquote_to_bytes(text.removeprefix(_URI))) if text.startswith(_URI) else text)
    dot_hg = path / ".hg" if (path / ".hg").is_dir() else path
    shared = dot_hg / "sharedpath"
    try:
        with shared.open("rb") as file:
            # A relative path (`hg share --relative`) is relative to the share's .hg.
            dot_hg = dot_hg / os.fsdecode(file.read(_SHAREDPATH_MAX_BYTES).rstrip(b"\n"))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise NothingThereError(f"{location} cannot be read: {error.strerror}") from error
    dot_hg = dot_hg.resolve()
    if not (dot_hg / "00changelog.i").exists() and not (dot_hg / "requires").exists():
        raise NothingThereError(f"{location} is not a Mercurial repository")
    store = dot_hg / "store"
    return Place(dot_hg, store if store.is_dir() else dot_hg)


def location_of(dot_hg: Path) -> str:
    """Return the text that an outbox stores for a repository: its path, or a URI if that is not UTF-8."""
    text = str(dot_hg)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _URI + quote(os.fsencode(text))
    return text


def is_committed(waiting: Waiting) -> bool | None:
    """Return whether the transaction of a first copy is committed; None if it was rolled back, so the file is gone.

    Mercurial's journal names the file before it exists. A commit removes the journal and leaves the file; a
    rollback removes the file first. So a file that exists and that no journal names is committed. Finding the
    changeset in the repository proves nothing, because readers may see it before the commit.
    """
    if waiting.undecided_in is not None and _journal_names(waiting.undecided_in, waiting.path.name):
        return False
    return True if waiting.path.exists() else None


def _journal_names(store: Path, name: str) -> bool:
    if not (store / "journal").exists():
        return False
    try:
        with (store / "journal.backupfiles").open("rb") as file:
            wanted = f"{FOLDER}/{name}".encode("ascii")
            return any(wanted in line.split(b"\0")[1:2] for line in file)
    except FileNotFoundError:
        return False
    except OSError:
        # This user may not read it, so the outcome is unknown: wait.
        return True


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
