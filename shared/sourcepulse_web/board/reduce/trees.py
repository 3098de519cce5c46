# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Trees: what their repository is called, their state, and pushes that were refused."""

from __future__ import annotations

from collections.abc import Iterator

from sourcepulse_web.board.fact import Fact
from sourcepulse_web.board.reduce.text import bugs_in
from sourcepulse_web.board.store import Change, Put, Row, View

#: The addresses and epochs of a repository that are remembered.
URLS_MAX = 8
EPOCHS_MAX = 50
STATES = ("open", "closed", "approval required")


def tree_row(view: View, fact: Fact) -> Row:
    """Return the row of the tree that an event of Mercurial is of, with the event's epoch and address in it."""
    repo = str(fact.data["repo"])
    row = view.get("trees", repo) or {"repo": repo, "urls": [], "epochs": {}, "changed": 0, "state": None}
    url = fact.data.get("repo_url")
    if url and url not in row["urls"]:
        row["urls"] = [*row["urls"], str(url)][-URLS_MAX:]
    epoch = f"{fact.source} {fact.epoch}"
    if epoch not in row["epochs"]:
        kept = sorted(row["epochs"].items(), key=lambda each: each[1])[-EPOCHS_MAX:]
        row["epochs"] = {**dict(kept), epoch: fact.position}
    return row


def seen(view: View, fact: Fact) -> Iterator[Change]:
    """Keep a repository that was created, so that its tree is listed before the first push."""
    row = tree_row(view, fact)
    row["changed"] = max(row["changed"], fact.position)
    yield Put("trees", row["repo"], row)


def state_changed(view: View, fact: Fact) -> Iterator[Change]:
    row = tree_row(view, fact)
    data = fact.data
    state: Row = {
        "event": fact.event,
        "repo": row["repo"],
        "position": fact.position,
        "kind": "state",
        "source": fact.source,
        "epoch": fact.epoch,
        "sequence": fact.sequence,
        "time": fact.time,
        "state": data["state"],
        "oldstate": data.get("oldstate"),
        "by": data.get("user"),
        "reason": data.get("reason"),
        "until": data.get("until"),
    }
    if view.get("treefacts", fact.event) is None:
        yield Put("treefacts", fact.event, state)
    if row["state"] is None or is_later(state, row["state"]):
        row["state"] = state
        for bug in bugs_in(str(state["reason"] or "")):
            named = {"bug": bug, "position": fact.position, "push": None, "repo": row["repo"]}
            yield Put("named", f"tree {row['repo']} {bug}", named)
    row["changed"] = max(row["changed"], fact.position)
    yield Put("trees", row["repo"], row)


def refused(view: View, fact: Fact) -> Iterator[Change]:
    row = tree_row(view, fact)
    if view.get("treefacts", fact.event) is None:
        found = {
            "event": fact.event,
            "repo": row["repo"],
            "position": fact.position,
            "kind": "refused",
            "source": fact.source,
            "epoch": fact.epoch,
            "sequence": fact.sequence,
            "time": fact.time,
            "by": fact.data.get("user"),
        }
        yield Put("treefacts", fact.event, found)
        row["changed"] = max(row["changed"], fact.position)
    yield Put("trees", row["repo"], row)


def is_later(one: Row, other: Row) -> bool:
    """Return whether a fact came after another: by their source's numbers where both have them, else by their times."""
    if one["source"] == other["source"] and one["epoch"] == other["epoch"] and one["sequence"] and other["sequence"]:
        return bool(one["sequence"] > other["sequence"])
    return bool((one["time"], one["position"]) > (other["time"], other["position"]))
