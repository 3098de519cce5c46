# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""First copies that came with the files of another repository. This does not import Mercurial."""

from __future__ import annotations

from pathlib import Path

from sourcepulse.events.record import Record
from sourcepulse_hg.pending.collect import RepositoryFiles, is_committed
from sourcepulse_hg.pending.first_copy import DamagedError, FirstCopy, Identity, decode_copy


class Foreign(Record):
    """A first copy that the repository wrote of which this one is a copy; its transaction is committed."""

    path: Path
    copy: FirstCopy


def foreign_copies(files: RepositoryFiles) -> list[Foreign]:
    """Return the first copies of another repository, in the order of their transactions."""
    inode = Identity.of(files.dot_hg).inode
    found = []
    for waiting in files.waiting():
        if not is_committed(waiting):
            continue
        try:
            copy = decode_copy(waiting.path.read_bytes())
        except (DamagedError, FileNotFoundError):
            continue
        if copy.identity.inode != inode:
            found.append(Foreign(waiting.path, copy))
    return found
