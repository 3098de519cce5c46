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
    """Record what a pull could see before this transaction and cannot see after it; `repo` is unfiltered.

    What a marker makes obsolete is recorded with the marker: while it is the parent of a working directory it stays
    visible, and it becomes invisible outside of any transaction. The first time, everything is recorded that became
    invisible before there was a record.
    """
    if unserved_before is None:
        return
    markers = tr.changes.get(b"obsmarkers") or ()
    if markers:
        # Not every operation that adds markers recomputes what they hide before the end of the transaction.
        repo.invalidatevolatilesets()
    unserved = unserved_now(repo)
    is_first = bool(unserved_before or repo.obsstore) and not repo.svfs.exists(NAME)
    if unserved is unserved_before and not markers and not is_first:
        return
    gone = set(unserved - unserved_before)
    revision_of = repo.changelog.index.get_rev
    gone.update(rev for marker in markers if (rev := revision_of(marker[0])) is not None and rev not in unserved_before)
    if is_first:
        gone |= _gone_before(repo, unserved_before)
    stop = min(tr.changes[b"origrepolen"], len(repo.changelog))
    vanished = sorted(revision for revision in gone if revision < stop)
    if not vanished and not is_first:
        return
    with repo.svfs(NAME, b"ab") as file:
        # After a full disk the last one may be there in part.
        size_bytes = file.seek(0, os.SEEK_END) // _NODE_BYTES * _NODE_BYTES
        tr.add(NAME, size_bytes)
        file.truncate(size_bytes)
        file.write(b"".join(map(repo.changelog.node, vanished)))


def _gone_before(repo: Any, unserved: frozenset[int]) -> set[int]:
    from mercurial import obsolete, phases

    phase = repo._phasecache.phase
    found = unserved | obsolete.getrevs(repo, b"obsolete")
    return {revision for revision in found if phase(repo, revision) < phases.secret}


def never_seen(repo: Any, revisions: list[int]) -> list[int]:
    """Return those of the now visible revisions that were never visible before."""
    content = repo.svfs.tryread(NAME)
    known = {content[place : place + _NODE_BYTES] for place in range(0, len(content), _NODE_BYTES)}
    node_of = repo.changelog.node
    return [revision for revision in revisions if node_of(revision) not in known]
