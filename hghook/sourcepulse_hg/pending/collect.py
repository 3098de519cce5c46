# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Move the first copies of a repository to the outbox, in the order of its transactions.

The hook does this after each push. The relay, `sourcepulse collect` and `hg sourcepulse-recover` do it for first
copies that a crash left behind. This does not import Mercurial; it reads the repository's files.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from sourcepulse.errors import EventError, NothingThereError, SourcePulseError
from sourcepulse.events.record import Record
from sourcepulse_hg.pending.first_copy import (
    FILE_MAX_BYTES,
    FOLDER,
    MARK_NAME,
    UPGRADE_BACKUP_PREFIX,
    DamagedError,
    FirstCopy,
    Identity,
    decode_copy,
    ensure_folder,
    folder_lock,
    parse_name,
)

if TYPE_CHECKING:
    from sourcepulse.outbox.outbox import Outbox
    from sourcepulse.relay.collect import CollectReport

KIND = "hg"
LOCK_NAME = "lock"
#: The lock beside the outbox, for repositories on a file system without locks; order matters within an outbox.
ELSEWHERE_SUFFIX = ".collect.lock"
#: The prefix of a damaged first copy's new name; such a file is never read again.
DAMAGED_PREFIX = "damaged-"

#: At most this many first copies are appended to the outbox in one commit.
BATCH_FILES = 100
BATCH_BYTES = 4 * 1024 * 1024

#: The other collector that holds the lock collects the same files; the relay has other places to look after.
RELAY_LOCK_WAIT_SECONDS = 0.1

_FOLDER = os.fsdecode(FOLDER)
_URI = "file://"
_SHAREDPATH_MAX_BYTES = 64 * 1024


class Waiting(Record):
    """A waiting first copy: its file, and the store whose journal decides; None if it is committed."""

    path: Path
    counter: int
    digits: str
    undecided_in: Path | None


class RepositoryFiles(Record):
    """A repository on disk: its `.hg` directory (for a share, that of the shared repository) and its store."""

    dot_hg: Path
    store: Path

    @property
    def folder(self) -> Path:
        """The folder of the first copies of committed transactions, of the lock and of the default outbox."""
        return self.dot_hg / _FOLDER

    def waiting(self) -> list[Waiting]:
        """List the first copies in the order of their transactions."""
        found: dict[str, Waiting] = {}
        # A file only ever moves from pending to ready, so reading in this order misses none. The store is read
        # again for a file that was written meanwhile and could not be moved.
        for folder, store in [*self._pending_folders(), (self.folder, None), (self.store / _FOLDER, self.store)]:
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
        return [(store / _FOLDER, store) for store in [*stores, self.store]]


def find_repository(location: str | os.PathLike[str]) -> RepositoryFiles:
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
    return RepositoryFiles(dot_hg, store if store.is_dir() else dot_hg)


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
            wanted = FOLDER + b"/" + name.encode("ascii")
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


class Found(Record):
    """The result of one run; the fields are those of `sourcepulse.relay.collect.CollectReport`."""

    collected: int = 0
    repeats: int = 0
    undecided: int = 0
    quarantined: tuple[str, ...] = ()
    left: int = 0


def collect_repository(location: str, outbox: Outbox, *, deadline_s: float) -> CollectReport:
    """Collect a repository; this is the collector of kind `hg`.

    `location` is the root of a repository or of a share, or a `.hg` directory. Raises NothingThereError if there is no
    repository, and what `collect_first_copies` raises.
    """
    # Imported here because the hook does not need it: it loads the entry points and logging.
    from sourcepulse.relay.collect import CollectReport

    files = find_repository(location)
    if not outbox.relayed_streams:
        found = collect_first_copies(files, outbox, deadline_s=deadline_s, lock_wait_s=deadline_s)
        return CollectReport(**found._asdict())
    from sourcepulse_hg.pending.relayed import forget_relayed, note_relayed

    try:
        found = collect_first_copies(files, outbox, deadline_s=deadline_s, lock_wait_s=RELAY_LOCK_WAIT_SECONDS)
    except SourcePulseError:
        forget_relayed(os.fsencode(files.dot_hg))
        raise
    if not found.left:
        note_relayed(outbox, os.fsencode(files.dot_hg))
    return CollectReport(**found._asdict())


def collect_first_copies(files: RepositoryFiles, outbox: Outbox, *, deadline_s: float, lock_wait_s: float) -> Found:
    """Append the waiting first copies to the outbox and remove the files once that is durable.

    First copies that are not reached within `deadline_s` seconds are left, and all are left if another collector
    holds the lock for `lock_wait_s` seconds. Raises OutboxError if the outbox cannot be written and SourcePulseError
    if the files cannot; then everything is left for the next run.
    """
    deadline = time.monotonic() + deadline_s
    try:
        ensure_folder(files.folder, like=files.dot_hg)
        elsewhere = outbox.path.with_name(outbox.path.name + ELSEWHERE_SUFFIX)
        with folder_lock(files.folder / LOCK_NAME, elsewhere=elsewhere, wait_s=lock_wait_s) as is_ours:
            if not is_ours:
                return Found(left=len(files.waiting()))
            outbox.remember_origin(KIND, location_of(files.dot_hg))
            return _Collection(files, outbox, deadline).run()
    except OSError as error:
        raise SourcePulseError(
            f"the first copies in {files.folder} cannot be collected: {error.strerror or error}; "
            "check owner and mode of that folder"
        ) from error


class _Collection:
    def __init__(self, files: RepositoryFiles, outbox: Outbox, deadline: float) -> None:
        self.files = files
        self.outbox = outbox
        self.deadline = deadline
        self.identity = Identity.of(files.dot_hg)
        self.collected = self.repeats = self.undecided = self.left = 0
        self.aside: dict[str, None] = {}
        self.batch: list[tuple[Path, FirstCopy]] = []
        self.batch_bytes = 0

    def run(self) -> Found:
        while self._round():
            pass
        return Found(self.collected, self.repeats, self.undecided, tuple(self.aside), self.left)

    def _round(self) -> bool:
        """Collect the waiting first copies; True if there may be more, because pushes came meanwhile."""
        before = self.collected + self.repeats
        todo = [waiting for waiting in self.files.waiting() if str(waiting.path) not in self.aside]
        done = 0
        self.undecided = self.left = 0
        for waiting in todo:
            if time.monotonic() >= self.deadline:
                break
            committed = is_committed(waiting)
            if committed is False:
                # All later ones wait too, because this one comes first if it turns out to be committed.
                self.undecided = sum(later.undecided_in is not None for later in todo[done:])
                break
            done += 1
            if committed:
                self._add_to_batch(waiting)
        else:
            self._flush()
            return self.collected + self.repeats > before
        self._flush()
        self.left = len(todo) - done - self.undecided
        return False

    def _add_to_batch(self, waiting: Waiting) -> None:
        try:
            content = _read(waiting.path)
            copy = decode_copy(content)
        except FileNotFoundError:
            return
        except DamagedError:
            self._set_aside(waiting.path)
            return
        if copy.identity.inode != self.identity.inode:
            # This repository is a copy; the original publishes its own events.
            self.aside[str(waiting.path)] = None
            return
        self.batch.append((waiting.path, copy))
        self.batch_bytes += len(content)
        if len(self.batch) >= BATCH_FILES or self.batch_bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        batch, self.batch, self.batch_bytes = self.batch, [], 0
        if not batch:
            return
        try:
            self._append(batch)
        except EventError:
            # One of them has an event that cannot be sent; the others must not wait for it.
            for path, copy in batch:
                try:
                    self._append([(path, copy)])
                except EventError:
                    self._set_aside(path)
                    self._keep_mark(copy.mark)

    def _append(self, batch: Sequence[tuple[Path, FirstCopy]]) -> None:
        events = [event for _, copy in batch for event in copy.events]
        stored = self.outbox.append(events) if events else []
        # Before the files are removed, so that a reader finds the mark in the file or in a first copy.
        self._keep_mark(batch[-1][1].mark)
        for path, _ in batch:
            path.unlink(missing_ok=True)
        new = sum(one.new for one in stored)
        self.collected += new
        self.repeats += len(stored) - new

    def _keep_mark(self, mark: str | None) -> None:
        # Only where the hook publishes: the extension, in whose every push this is called, writes no marks.
        if mark is not None or (self.files.folder / MARK_NAME).exists():
            from sourcepulse_hg.changegroup_hook.mark import keep_mark

            keep_mark(self.files, mark)

    def _set_aside(self, path: Path) -> None:
        aside = self.files.folder / (DAMAGED_PREFIX + path.name)
        path.rename(aside)
        self.aside[str(aside)] = None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_MAX_BYTES + 1)
    if len(content) > FILE_MAX_BYTES:
        raise DamagedError(f"it has more than {FILE_MAX_BYTES} bytes")
    return content
