# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Move the first copies of a repository to the outbox, in the order of its transactions.

The hook does this after each push; the relay, `sourcepulse collect` and `hg sourcepulse-recover` do it for what a
crash left. Nothing of Mercurial is imported here, the repository is read as files.
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
#: The lock beside the outbox, for repositories where the file system has none: it is there that order counts.
ELSEWHERE_SUFFIX = ".collect.lock"
#: A damaged first copy gets this before its name and is never read again.
DAMAGED_PREFIX = "damaged-"

#: How many first copies go to the outbox in one commit.
BATCH_FILES = 100
BATCH_BYTES = 4 * 1024 * 1024


class Found(NamedTuple):
    """What one run did; the fields are those of `sourcepulse.relay.collect.CollectReport`."""

    collected: int = 0
    repeats: int = 0
    undecided: int = 0
    quarantined: tuple[str, ...] = ()
    left: int = 0


def collect_repository(location: str, outbox: Outbox, *, deadline_s: float) -> CollectReport:
    """Be the collector of kind `hg`: bring what waits in a repository to the outbox.

    `location` is the root of a repository or of a share, or a `.hg` directory. NothingThereError if there is no
    repository, for the rest see `collect_place`.
    """
    # The hook does without it: this module brings the entry points and the logging.
    from sourcepulse.relay.collect import CollectReport

    found = collect_place(find_place(location), outbox, deadline_s=deadline_s, lock_wait_s=deadline_s)
    return CollectReport(**found._asdict())


def collect_place(place: Place, outbox: Outbox, *, deadline_s: float, lock_wait_s: float) -> Found:
    """Append what waits to the outbox and remove the files when that is durable.

    Work that `deadline_s` seconds do not suffice for is left, and so is everything if another collector is at
    work for `lock_wait_s` seconds. OutboxError if the outbox cannot be written, SourcePulseError if the
    files cannot; then everything stays for the next time.
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
    """One run under the collector's lock."""

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
        """Take what waits now; True if another look is worth it, for pushes that came meanwhile."""
        before = self.collected + self.repeats
        todo = [waiting for waiting in self.place.waiting() if str(waiting.path) not in self.aside]
        done = 0
        self.undecided = self.left = 0
        for waiting in todo:
            if time.monotonic() >= self.deadline:
                break
            committed = is_committed(waiting)
            if committed is False:
                # Everything after it waits too: it is earlier, should it turn out to be committed.
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
            # This repository is a copy; the original announces what it did itself.
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
            # One of them holds what cannot be sent; the others shall not wait for it.
            for path, copy in batch:
                try:
                    self._append([(path, copy)])
                except EventError:
                    self._set_aside(path)
                    keep_mark(self.place, copy.mark)

    def _append(self, batch: Sequence[tuple[Path, FirstCopy]]) -> None:
        events = [event for _, copy in batch for event in copy.events]
        stored = self.outbox.append(events) if events else []
        # Before the files go: whoever reads the mark finds it in one of both places.
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
