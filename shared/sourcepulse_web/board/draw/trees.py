# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Documents of trees: state, what fails now, the newest push."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sourcepulse_web.board.documents import FailureDoc, NewestDoc, TreeDoc, TreeState
from sourcepulse_web.board.draw.aliases import Aliases
from sourcepulse_web.board.draw.bugs import Bugs
from sourcepulse_web.board.draw.failures import Failures
from sourcepulse_web.board.draw.places import TIER, Places
from sourcepulse_web.board.draw.push_facts import RESULTS
from sourcepulse_web.board.draw.verdicts import History
from sourcepulse_web.board.reduce.text import bugs_in
from sourcepulse_web.board.reduce.trees import STATES, is_later
from sourcepulse_web.board.store import Row, Store

#: "Failing now" and what runs are looked for on so many of the newest pushes.
NOW_PUSHES = 50


def tree_document(
    store: Store, aliases: Aliases, repo: str, history: History, places: Places, bugs: Bugs, now: float
) -> TreeDoc:
    row = store.get("trees", repo)
    state: Row | None = row["state"] if row else None
    configured = aliases.configured.get(repo)
    (failing, more_failing), running, waiting, last_build_at = _now(history, places, bugs)
    reason = state["reason"] if state else None
    return TreeDoc(
        name=aliases.name_of(repo),
        repo=repo,
        state=state_word(state),
        since=state["time"] if state else None,
        by=state["by"] if state else None,
        reason=reason,
        reason_bugs=[bugs.document(bug) for bug in bugs_in(reason or "")],
        until=state["until"] if state else None,
        overdue=_is_overdue(state, now),
        refused=_refused(store, repo, state),
        failing=failing,
        more_failing=more_failing,
        running=running,
        waiting=waiting,
        last_build_at=last_build_at,
        newest=_newest(history, bugs),
        hg_web=configured.hg_web if configured else None,
        bugzilla=configured.bugzilla if configured else None,
    )


def state_word(state: Row | None) -> TreeState:
    """Return the state of a tree; a word that is not known to us is not known."""
    word: Any = state["state"] if state else None
    return word if word in STATES else "not known"


def state_at(store: Store, repo: str, time: str) -> TreeState:
    """Return the state that a tree had at a time, as far as the log says."""
    states = [row for row in store.find("treefacts", "repo", repo) if row["kind"] == "state"]
    states.sort(key=lambda row: (row["time"], row["position"]))
    before = [row for row in states if row["time"] <= time]
    if before:
        return state_word(before[-1])
    if states:
        return state_word({"state": states[0]["oldstate"]})
    tree = store.get("trees", repo)
    state = tree["state"] if tree else None
    return state_word(state) if state and state["time"] <= time else "not known"


def _is_overdue(state: Row | None, now: float) -> bool:
    if state is None or state["state"] == "open" or not state["until"]:
        return False
    try:
        return datetime.fromisoformat(state["until"]) < datetime.fromtimestamp(now, UTC)
    except (ValueError, TypeError):
        return False


def _refused(store: Store, repo: str, state: Row | None) -> int:
    if state is None:
        return 0
    facts = store.find("treefacts", "repo", repo)
    return sum(row["kind"] == "refused" and is_later(row, state) for row in facts)


def _now(history: History, places: Places, bugs: Bugs) -> tuple[tuple[list[FailureDoc], int], int, int, str | None]:
    """Return what failed in the newest builds that have a result, how many run and wait, and the last such end."""
    newest: dict[str, tuple[int, Row]] = {}
    running = waiting = 0
    ends = []
    for index, push in enumerate(history.pushes[:NOW_PUSHES]):
        for name, builds in push.builds.items():
            running += not builds[0]["ended"]
            ended = next((build for build in builds if build["ended"] and build["outcome"] in RESULTS), None)
            if ended is not None:
                newest.setdefault(name, (index, ended))
                ends.append(ended["complete_at"])
        waiting += sum(not requests[0]["ended"] for name, requests in push.requests.items() if name not in push.builds)
    failing = Failures(history, places, bugs).of_builds(
        newest[name] for name in sorted(newest) if name in places.by_name and places.by_name[name].tier == TIER
    )
    return failing, running, waiting, max(ends, default=None)


def _newest(history: History, bugs: Bugs) -> NewestDoc | None:
    for push in history.pushes:
        row = push.push
        if not row["withdrawn"] and row["stripped_at"] is None:
            desc: Row = row["descs"][0] if row["descs"] else {"text": "", "bugs": []}
            return NewestDoc(
                id=row["position"],
                node=row["node"],
                user=row["user"],
                time=row["time"],
                text=desc["text"],
                bugs=[bugs.document(bug) for bug in desc["bugs"]],
            )
    return None
