# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read the changesets that a transaction added; the cost depends on what was added, not on the repository."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mercurial import phases

from sourcepulse_hg.facts.changelog_entry import parse_entry
from sourcepulse_hg.facts.served_view import ServedView
from sourcepulse_hg.facts.values import Added, Changeset

if TYPE_CHECKING:
    from sourcepulse_hg.gather.files import FileReader

#: As many as an event can list; further heads are counted but not read.
HEADS_MAX = 1000
#: A revset with more roots or heads than this is not useful.
QUERY_MAX_NODES = 32

_NULL_REVISION = -1


def added_changesets(
    repo: Any,
    view: ServedView,
    *,
    max_changesets: int,
    shown: Sequence[int] = (),
    files: FileReader | None = None,
) -> Added | None:
    """Return the served changesets that were added, None if there are none.

    `shown` are older ones that become served for the first time. `files` sorts the files of each changeset.
    """
    repo = repo.unfiltered()
    changelog = repo.changelog
    # The revisions in `shown` are older, so they come first.
    revisions = [*shown, *view.added] if shown else view.added
    if not revisions:
        return None
    roots, heads, _ = view.shape_of(changelog, revisions, set(shown)) if shown else view.shape_of_added(changelog)

    def node(revision: int) -> str:
        return changelog.node(revision).hex()  # type: ignore[no-any-return] # mercurial has no types

    return Added(
        total=len(revisions),
        first=node(revisions[0]),
        last=node(revisions[-1]),
        heads=tuple((node(head), changelog.revision(head)) for head in heads[:HEADS_MAX]),
        heads_total=len(heads),
        query=_query(
            [node(root) for root in roots[: QUERY_MAX_NODES + 1]],
            [node(head) for head in heads[: QUERY_MAX_NODES + 1]],
            f"{node(revisions[0])}:{node(revisions[-1])}",
        ),
        changesets=_changesets(repo, revisions[:max_changesets], files),
    )


def _query(roots: list[str], heads: list[str], by_number: str) -> str:
    if max(len(roots), len(heads)) > QUERY_MAX_NODES:
        return by_number
    return f"{_one_of(roots)}::{_one_of(heads)}"


def _one_of(nodes: list[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"({' + '.join(nodes)})"


def _changesets(repo: Any, revisions: Sequence[int], files: FileReader | None) -> Iterator[Changeset]:
    changelog = repo.changelog
    for revision in revisions:
        parents = [parent for parent in changelog.parentrevs(revision) if parent != _NULL_REVISION]
        phase = phases.phasenames[repo._phasecache.phase(repo, revision)]
        text = changelog.revision(revision)
        yield Changeset(
            node=changelog.node(revision).hex(),
            parents=tuple(changelog.node(parent).hex() for parent in parents),
            text=text,
            phase=phase.decode("ascii"),
            changes=None if files is None else files.read(revision, parse_entry(text).files),
        )
