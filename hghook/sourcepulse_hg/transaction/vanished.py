# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Record which changesets became invisible, so that they are not published again when they reappear.

A changeset that becomes visible and is not recorded here was never visible, so it is published in full. A transaction
appends the nodes to a file in the store, and Mercurial truncates it again if the transaction fails, as it does with its
own files. The file is read only when a changeset becomes visible.
"""

from __future__ import annotations

import os
from typing import Any

from sourcepulse_hg.transaction.before import unserved_now

NAME = b"sourcepulse-vanished"
_NODE_BYTES = 20


def note_vanished(repo: Any, tr: Any, unserved_before: frozenset[int] | None) -> None:
    """Record what a pull could see before this transaction and cannot see after it; `repo` is unfiltered."""
    unserved = unserved_now(repo)
    if unserved_before is None or unserved is unserved_before:
        return
    stop = min(tr.changes[b"origrepolen"], len(repo.changelog))
    vanished = sorted(revision for revision in unserved - unserved_before if revision < stop)
    if not vanished:
        return
    with repo.svfs(NAME, b"ab") as file:
        # After a full disk the last node may be incomplete.
        size_bytes = file.seek(0, os.SEEK_END) // _NODE_BYTES * _NODE_BYTES
        tr.add(NAME, size_bytes)
        file.truncate(size_bytes)
        file.write(b"".join(map(repo.changelog.node, vanished)))


def never_seen(repo: Any, revisions: list[int]) -> list[int]:
    """Return those of the now visible revisions that were never visible before."""
    content = repo.svfs.tryread(NAME)
    known = {content[place : place + _NODE_BYTES] for place in range(0, len(content), _NODE_BYTES)}
    node_of = repo.changelog.node
    return [revision for revision in revisions if node_of(revision) not in known]
