# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Record how far the `changegroup` hook has published a repository, so that the next push finds what a crash lost.

The mark is the last published node; the changesets after it in the changelog are not published. A strip keeps the
order of the remaining changesets, so that stays true; if it removes the marked node, the hook starts again without a
mark.

Each first copy contains the mark that holds after it. The collector writes the mark to a file of its own once the
events are durable in the outbox, and before it removes the first copy. So the mark advances together with the events,
even if a process is killed in between. The newest pending first copy has the current mark; if none is pending, the file
does. A copy without a mark is from the extension, which needs none; then it is unknown how far the hook got, and the
hook starts again without a mark.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from sourcepulse_hg.pending.first_copy import MARK_NAME, DamagedError, decode_copy, replace_file

if TYPE_CHECKING:
    from sourcepulse_hg.pending.collect import RepositoryFiles

LOCK_NAME = "mark.lock"
_NODE = re.compile("[0-9a-f]{40}")


def read_mark(files: RepositoryFiles) -> str | None:
    """Return the mark, None if there is none; raises OSError."""
    # First copies are read before the file, because collecting one updates the file before the copy is removed.
    for waiting in reversed(files.waiting()):
        with suppress(DamagedError, FileNotFoundError):
            return decode_copy(waiting.path.read_bytes()).mark
    try:
        node = (files.folder / MARK_NAME).read_text(encoding="ascii").strip()
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return None
    return node if _NODE.fullmatch(node) else None


def keep_mark(files: RepositoryFiles, mark: str | None) -> None:
    """Write the mark to its file, or remove the file if there is none; raises OSError."""
    path = files.folder / MARK_NAME
    if mark is None:
        path.unlink(missing_ok=True)
        return
    # Durable, because after a power failure the file must not be older than the outbox.
    replace_file(path, mark.encode("ascii") + b"\n", like=files.dot_hg, durable=True)
