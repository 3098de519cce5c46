# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pushes with their changesets, what they back out and which bugs they name; and what was stripped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sourcepulse_web.board.fact import Data, Fact
from sourcepulse_web.board.reduce.marks import WINDOW_PUSHES, end_rank, mark, pushes_with, rank_of
from sourcepulse_web.board.reduce.text import SHORT_DIGITS, backed_out_in, bugs_in, first_line
from sourcepulse_web.board.reduce.trees import tree_row
from sourcepulse_web.board.store import Change, Put, Row, View

#: The descriptions drawn of a push; and how much else of it a filter finds.
DESCS_MAX = 3
SOUGHT_CHARACTERS = 1_000


def pushed(view: View, fact: Fact) -> Iterator[Change]:
    data = fact.data
    tree = tree_row(view, fact)
    epoch = tree["epochs"][f"{fact.source} {fact.epoch}"]
    tree["changed"] = max(tree["changed"], fact.position)
    yield Put("trees", tree["repo"], tree)
    if view.find("pushes", "event", fact.event):
        return
    listed = [each for each in data["changesets"] if isinstance(each, dict)]
    row = {
        "position": fact.position,
        "event": fact.event,
        "rank": rank_of(tree["repo"], epoch, fact.sequence or fact.position),
        "epoch": epoch,
        "sequence": fact.sequence,
        "repo": tree["repo"],
        "time": fact.time,
        "user": data.get("user"),
        "url": data.get("url"),
        "node": str(data["last"]),
        "first": str(data["first"]),
        "count": int(data["count"]),
        "listed": len(listed),
        "descs": [_desc(each) for each in listed[: -DESCS_MAX - 1 : -1]],
        "sought": _sought(listed),
        "stripped_at": None,
        "withdrawn": False,
    }
    yield Put("pushes", str(fact.position), row)
    nodes = {str(each["node"]): each for each in listed}
    for node in (data["first"], data["last"], *(head["node"] for head in data.get("heads") or ())):
        nodes.setdefault(str(node), {})
    for order, (node, changeset) in enumerate(nodes.items()):
        yield Put("nodes", f"{fact.position} {node}", _node_row(fact, tree["repo"], node, order, changeset))
    yield from _names(fact, listed)
    yield from _marks(view, fact, row, nodes, listed)


def _node_row(fact: Fact, repo: str, node: str, order: int, changeset: Data) -> Row:
    kept = ("author", "date", "branch", "desc", "phase", "parents", "files")
    return {
        "position": fact.position,
        "node": node,
        "short": node[:SHORT_DIGITS],
        "repo": repo,
        "order": order,
        "listed": bool(changeset),
        "stripped": False,
        **{name: changeset.get(name) for name in kept if changeset},
    }


def _names(fact: Fact, listed: list[Data]) -> Iterator[Change]:
    for changeset in listed:
        desc = str(changeset.get("desc") or "")
        for bug in bugs_in(desc):
            named = {"bug": bug, "position": fact.position, "push": fact.position, "repo": None}
            yield Put("named", f"{fact.position} {bug}", named)
        for node in backed_out_in(desc):
            backed_out = {
                "position": fact.position,
                "short": node[:SHORT_DIGITS],
                "node": node,
                "by": str(changeset["node"]),
                "repo": str(fact.data["repo"]),
            }
            yield Put("backouts", f"{fact.position} {node}", backed_out)


def _marks(view: View, fact: Fact, push: Row, nodes: dict[str, Any], listed: list[Data]) -> Iterator[Change]:
    """Mark the push, what it backs out, where its changesets are as well, and what comes after it if it comes late."""
    places, tests = set(), set()
    for node in nodes:
        for build in view.find("builds", "short", node[:SHORT_DIGITS]):
            found = view.find("tests", "build", build["key"])
            tests |= {test["testid"] for test in found}
            if found or build["outcome"] in ("failure", "exception"):
                places.add(build["place"])
    own = {"repo": push["repo"], "push": fact.position, "changed": fact.position}
    yield Put("marks", str(fact.position), {**own, "places": sorted(places), "tests": sorted(tests)})
    others = {other for node in nodes for other in pushes_with(view, node)}
    for changeset in listed:
        for node in backed_out_in(str(changeset.get("desc") or "")):
            others.update(pushes_with(view, node))
    later = view.between("pushes", "rank", push["rank"], end_rank(push["repo"]), WINDOW_PUSHES)
    yield from mark(view, sorted({*others, *(row["position"] for row in later)}), fact.position)


def stripped(view: View, fact: Fact) -> Iterator[Change]:
    """Mark pushes whose last changeset was stripped; what was pushed again since is not concerned."""
    tree = tree_row(view, fact)
    yield Put("trees", tree["repo"], tree)
    epoch = tree["epochs"][f"{fact.source} {fact.epoch}"]
    reach = rank_of(tree["repo"], epoch, fact.sequence or fact.position)
    for node in fact.data["nodes"]:
        for found in view.find("nodes", "short", str(node)[:SHORT_DIGITS]):
            if found["node"] != node or found["repo"] != tree["repo"]:
                continue
            push = view.get("pushes", str(found["position"]))
            if push is None or push["rank"] >= reach:
                continue
            yield Put("nodes", f"{found['position']} {node}", {**found, "stripped": True})
            if push["node"] == node and push["stripped_at"] is None:
                yield Put("pushes", str(push["position"]), {**push, "stripped_at": fact.time})
            yield from mark(view, [push["position"]], fact.position)


def _desc(changeset: Data) -> Row:
    desc = str(changeset.get("desc") or "")
    line = first_line(desc)
    return {
        "node": str(changeset["node"]),
        "author": str(changeset.get("author") or ""),
        "text": line,
        "bugs": bugs_in(line),
        "backs_out": backed_out_in(line),
    }


def _sought(listed: list[Data]) -> str:
    """Return what a filter finds of a push beside what is drawn: authors, nodes and files, in lower case."""
    found: dict[str, None] = {}
    for name in ("author", "node"):
        found |= {str(each.get(name) or "").lower(): None for each in listed}
    for each in listed:
        found |= {str(file).lower(): None for file in each.get("files") or ()}
    return " ".join(found)[:SOUGHT_CHARACTERS]
