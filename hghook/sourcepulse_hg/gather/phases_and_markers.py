# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the phase changes of a transaction that a pull can see, and the obsolescence markers that it created."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from mercurial import phases

from sourcepulse.events.record import Record
from sourcepulse_hg.gather.served_view import ServedView

#: As many as an event can list; further changes and markers are counted but not read.
CHANGES_MAX = 1000
MARKERS_MAX = 1000


class PhaseChange(Record):
    node: str
    oldphase: str
    phase: str


class PhaseChanges(Record):
    """Phase changes of changesets that existed before, the oldest changesets first."""

    total: int
    changes: Sequence[PhaseChange]


def changed_phases(
    repo: Any, changes: Iterable[tuple[Sequence[int], tuple[int | None, int]]], view: ServedView
) -> PhaseChanges:
    """Return the net changes in the order of the changesets; `changes` are Mercurial's ranges, in that order."""
    phase_of = repo._phasecache.phase
    total = 0
    listed: list[PhaseChange] = []
    for revisions, (old, new) in changes:
        if old is None or old == new:
            continue
        if view.unserved or new > old:
            # When a phase moves back, Mercurial 6 also lists changesets that keep their phase.
            revisions = [  # noqa: PLW2901 - filters the same list
                revision
                for revision in revisions
                if revision not in view.unserved and (new < old or phase_of(repo, revision) == new)
            ]
        total += len(revisions)
        listed += [
            PhaseChange(repo.changelog.node(revision).hex(), _word(old), _word(new))
            for revision in revisions[: CHANGES_MAX - len(listed)]
        ]
    return PhaseChanges(total, listed)


def _word(phase: int) -> str:
    return phases.phasenames[phase].decode("ascii")  # type: ignore[no-any-return] # mercurial has no types


class Marker(Record):
    """An obsolescence marker; the date is seconds since 1970 and the offset west of UTC."""

    prednode: str
    succnodes: tuple[str, ...]
    date: tuple[int, int]
    user: bytes | None
    operation: bytes | None


class Markers(Record):
    """New obsolescence markers, the oldest first."""

    total: int
    markers: Sequence[Marker]


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
