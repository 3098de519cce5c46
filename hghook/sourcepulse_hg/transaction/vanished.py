# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which changesets went out of sight, so that one that can be seen again is no news, and one that never could be is.

A transaction appends their nodes to a file of the store and has Mercurial cut it again if it fails, as it does with
its own files. The file is read only where something becomes visible.
"""

from __future__ import annotations

import os
from typing import Any

from sourcepulse_hg.transaction.before import unserved_now

NAME = b"sourcepulse-vanished"
_NODE_BYTES = 20


def note_vanished(repo: Any, tr: Any, unserved_before: frozenset[int] | None) -> None:
    """Keep what a pull could see before this transaction and cannot see after it; `repo` is unfiltered."""
    unserved = unserved_now(repo)
    if unserved_before is None or unserved is unserved_before:
        return
    stop = min(tr.changes[b"origrepolen"], len(repo.changelog))
    vanished = sorted(revision for revision in unserved - unserved_before if revision < stop)
    if not vanished:
        return
    with repo.svfs(NAME, b"ab") as file:
        # After a full disk the last one may be there in part.
        size_bytes = file.seek(0, os.SEEK_END) // _NODE_BYTES * _NODE_BYTES
        tr.add(NAME, size_bytes)
        file.truncate(size_bytes)
        file.write(b"".join(map(repo.changelog.node, vanished)))


def never_seen(repo: Any, revisions: list[int]) -> list[int]:
    """Return those of the revisions, which can be seen now, that nobody could see before."""
    content = repo.svfs.tryread(NAME)
    known = {content[place : place + _NODE_BYTES] for place in range(0, len(content), _NODE_BYTES)}
    node_of = repo.changelog.node
    return [revision for revision in revisions if node_of(revision) not in known]
