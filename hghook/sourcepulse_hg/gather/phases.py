# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the phase changes of a transaction, for changesets that existed before it and that a pull can see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mercurial import phases

from sourcepulse_hg.facts.served_view import ServedView
from sourcepulse_hg.facts.values import PhaseChange, PhaseChanges

#: As many as an event can list; further changes are counted but not read.
CHANGES_MAX = 1000


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
