# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an event that is no longer public leaves on the board: its place, and nothing that it said."""

from __future__ import annotations

from collections.abc import Iterator

from sourcepulse_web.board.reduce.bugs import marked_by_bug
from sourcepulse_web.board.reduce.marks import mark, pushes_with
from sourcepulse_web.board.store import Change, Delete, Put, Row, View

#: What of a push may stay: that there was one.
PUSH_KEEPS = ("position", "event", "rank", "epoch", "sequence", "repo", "time", "stripped_at")
_OF_BUILDS = ("builds", "requests")
_OF_A_BUILD = ("tests", "runs")


def withdrawn(view: View, position: int, caused_by: int) -> list[Change]:
    """Return what is removed because the event at a position was withdrawn by the one at `caused_by`."""
    return [
        *_push(view, position, caused_by),
        *_builds(view, position, caused_by),
        *_bugs(view, position, caused_by),
        *_tree(view, position, caused_by),
    ]


def _push(view: View, position: int, caused_by: int) -> Iterator[Change]:
    push = view.get("pushes", str(position))
    if push is None:
        return
    empty: Row = {
        "user": None,
        "url": None,
        "node": "",
        "first": "",
        "count": 0,
        "listed": 0,
        "descs": [],
        "sought": "",
    }
    yield Put("pushes", str(position), {**{name: push[name] for name in PUSH_KEEPS}, **empty, "withdrawn": True})
    for node in view.find("nodes", "position", position):
        yield Delete("nodes", f"{position} {node['node']}")
    for backed_out in view.find("backouts", "position", position):
        yield Delete("backouts", f"{position} {backed_out['node']}")
        yield from mark(view, pushes_with(view, backed_out["node"]), caused_by)
    for named in view.find("named", "position", position):
        if named["push"] is not None:
            yield Delete("named", f"{position} {named['bug']}")
    yield from mark(view, [position], caused_by)


def _builds(view: View, position: int, caused_by: int) -> Iterator[Change]:
    for table in _OF_BUILDS:
        for row in view.find(table, "position", position):
            yield Delete(table, row["key"])
            yield from mark(view, pushes_with(view, row["revision"]), caused_by)
    for table in _OF_A_BUILD:
        for row in view.find(table, "position", position):
            yield Delete(table, row["key"])
            build = view.get("builds", row["build"])
            yield from mark(view, pushes_with(view, build["revision"]) if build else (), caused_by)


def _bugs(view: View, position: int, caused_by: int) -> Iterator[Change]:
    for bug in view.find("bugs", "position", position):
        files = {each["file"] for each in view.find("files", "owner", bug["owner"])}
        if not bug["hidden"]:
            yield Delete("bugs", bug["owner"])
        yield from (Delete("files", f"{bug['owner']} {file}") for file in sorted(files))
        yield from marked_by_bug(view, caused_by, bug["bug"], files)
    for mention in view.find("mentions", "position", position):
        yield Delete("mentions", mention["key"])
    for kept in view.find("bugfacts", "position", position):
        yield Delete("bugfacts", kept["event"])


def _tree(view: View, position: int, caused_by: int) -> Iterator[Change]:
    for kept in view.find("treefacts", "position", position):
        yield Delete("treefacts", kept["event"])
        tree = view.get("trees", kept["repo"])
        if tree is not None:
            if tree["state"] is not None and tree["state"]["position"] == position:
                tree["state"] |= {"by": None, "reason": None, "until": None}
            yield Put("trees", tree["repo"], {**tree, "changed": max(tree["changed"], caused_by)})
