# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the obsolescence markers that a transaction created."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import Any

from mercurial import phases

from sourcepulse_hg.facts.values import Marker, Markers

#: As many as an event can list; further markers are counted but not read.
MARKERS_MAX = 1000


def new_markers(repo: Any, markers: Collection[tuple[Any, ...]]) -> Markers:
    """Return the markers that name no secret changeset, the oldest first.

    A changeset that this repository does not have is not secret in it. Hidden changesets are allowed, because markers
    are about them.
    """
    secret = phases.remotehiddenphases
    revision_of = repo.changelog.index.get_rev
    phase_of = repo._phasecache.phase

    def is_secret(node: bytes) -> bool:
        revision = revision_of(node)
        return revision is not None and phase_of(repo, revision) in secret

    public = [marker for marker in markers if not any(map(is_secret, (marker[0], *marker[1])))]
    oldest = heapq.nsmallest(MARKERS_MAX, public, key=lambda marker: (marker[4], marker[0], marker[1], marker[3]))
    return Markers(len(public), [_marker(*marker) for marker in oldest])


def _marker(
    predecessor: bytes,
    successors: tuple[bytes, ...],
    _flags: int,
    metadata: tuple[tuple[bytes, bytes], ...],
    date: tuple[float, int],
    _parents: Any,
) -> Marker:
    known = dict(metadata)
    return Marker(
        prednode=predecessor.hex(),
        succnodes=tuple(node.hex() for node in successors),
        date=(int(date[0]), int(date[1])),
        user=known.get(b"user"),
        operation=known.get(b"operation"),
    )
