# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Move the first copies of a repository to the outbox, in the order of its transactions.

The hook does this after each push. The relay, `sourcepulse collect` and `hg sourcepulse-recover` do it for first
copies that a crash left behind. This does not import Mercurial; it reads the repository's files.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sourcepulse.errors import EventError, SourcePulseError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse_hg.changegroup_hook.mark import keep_mark
from sourcepulse_hg.pending.files import ensure_folder, folder_lock
from sourcepulse_hg.pending.first_copy import FILE_MAX_BYTES, DamagedError, FirstCopy, Identity, decode_copy
from sourcepulse_hg.pending.layout import Place, Waiting, find_place, is_committed, location_of

if TYPE_CHECKING:
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


class Found(NamedTuple):
    """The result of one run; the fields are those of `sourcepulse.relay.collect.CollectReport`."""

    collected: int = 0
    repeats: int = 0
    undecided: int = 0
    quarantined: tuple[str, ...] = ()
    left: int = 0


def collect_repository(location: str, outbox: Outbox, *, deadline_s: float) -> CollectReport:
    """Collect a repository; this is the collector of kind `hg`.

    `location` is the root of a repository or of a share, or a `.hg` directory. Raises NothingThereError if there is no
    repository, and what `collect_place` raises.
    """
    # Imported here because the hook does not need it: it loads the entry points and logging.
    from sourcepulse.relay.collect import CollectReport

    found = collect_place(find_place(location), outbox, deadline_s=deadline_s, lock_wait_s=deadline_s)
    return CollectReport(**found._asdict())


def collect_place(place: Place, outbox: Outbox, *, deadline_s: float, lock_wait_s: float) -> Found:
    """Append the waiting first copies to the outbox and remove the files once that is durable.

    First copies that are not reached within `deadline_s` seconds are left, and all are left if another collector
    holds the lock for `lock_wait_s` seconds. Raises OutboxError if the outbox cannot be written and SourcePulseError
    if the files cannot; then everything is left for the next run.
    """
    deadline = time.monotonic() + deadline_s
    try:
        ensure_folder(place.ready, like=place.dot_hg)
        elsewhere = outbox.path.with_name(outbox.path.name + ELSEWHERE_SUFFIX)
        with folder_lock(place.ready / LOCK_NAME, elsewhere=elsewhere, wait_s=lock_wait_s) as is_ours:
            if not is_ours:
                return Found(left=len(place.waiting()))
            outbox.remember_origin(KIND, location_of(place.dot_hg))
            return _Collection(place, outbox, deadline).run()
    except OSError as error:
        raise SourcePulseError(
            f"the first copies in {place.ready} cannot be collected: {error.strerror or error}; "
            "check owner and mode of that folder"
        ) from error


class _Collection:
    def __init__(self, place: Place, outbox: Outbox, deadline: float) -> None:
        self.place = place
        self.outbox = outbox
        self.deadline = deadline
        self.identity = Identity.of(place.dot_hg)
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
        todo = [waiting for waiting in self.place.waiting() if str(waiting.path) not in self.aside]
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
                self._take(waiting)
        else:
            self._flush()
            return self.collected + self.repeats > before
        self._flush()
        self.left = len(todo) - done - self.undecided
        return False

    def _take(self, waiting: Waiting) -> None:
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
                    keep_mark(self.place, copy.mark)

    def _append(self, batch: Sequence[tuple[Path, FirstCopy]]) -> None:
        events = [event for _, copy in batch for event in copy.events]
        stored = self.outbox.append(events) if events else []
        # Before the files are removed, so that a reader finds the mark in the file or in a first copy.
        keep_mark(self.place, batch[-1][1].mark)
        for path, _ in batch:
            path.unlink(missing_ok=True)
        new = sum(one.new for one in stored)
        self.collected += new
        self.repeats += len(stored) - new

    def _set_aside(self, path: Path) -> None:
        aside = self.place.ready / (DAMAGED_PREFIX + path.name)
        path.rename(aside)
        self.aside[str(aside)] = None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_MAX_BYTES + 1)
    if len(content) > FILE_MAX_BYTES:
        raise DamagedError(f"it has more than {FILE_MAX_BYTES} bytes")
    return content
