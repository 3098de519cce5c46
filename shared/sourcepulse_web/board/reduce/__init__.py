# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The reducer: a view of the board and one event in, changes out; no I/O, and no clock but the event's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sourcepulse_web.board.fact import Fact, UnreadableError
from sourcepulse_web.board.reduce import bugs, builds, pushes, tests, trees
from sourcepulse_web.board.store import Change, View

Reducer = Callable[[View, Fact], Iterator[Change]]

REDUCERS: dict[str, Reducer] = {
    "hg.push.v1": pushes.pushed,
    "hg.repo.created.v1": trees.seen,
    "hg.repo.stripped.v1": pushes.stripped,
    "hg.tree.closed.v1": trees.state_changed,
    "hg.tree.opened.v1": trees.state_changed,
    "hg.tree.approval.v1": trees.state_changed,
    "hg.tree.refused.v1": trees.refused,
    "build.request.submitted.v1": builds.submitted,
    "build.request.completed.v1": builds.completed,
    "build.started.v1": builds.started,
    "build.finished.v1": builds.finished,
    "test.run.finished.v1": tests.run_finished,
    "test.case.failed.v1": tests.case_failed,
    "bugzilla.bug.hidden.v1": bugs.gone,
    "bugzilla.bug.deleted.v1": bugs.gone,
    "bugzilla.comment.created.v1": bugs.commented,
    "bugzilla.comment.published.v1": bugs.commented,
    "bugzilla.comment.hidden.v1": bugs.comment_hidden,
}
REDUCERS |= {
    f"bugzilla.bug.{kind}.v1": bugs.changed
    for kind in ("created", "changed", "closed", "reopened", "duplicated", "moved", "assigned", "published")
}


def reduce(view: View, fact: Fact) -> list[Change]:
    """Return what an event changes; nothing if its type is not known, or if it was reduced before.

    UnreadableError if its data are not as the contract has them.
    """
    reducer = REDUCERS.get(fact.type)
    if reducer is None:
        return []
    try:
        return list(reducer(view, fact))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UnreadableError(f"{fact.type} of {fact.source}: {type(error).__name__}: {error}") from error
