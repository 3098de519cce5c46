# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Bugs, comments that name changesets, and everything of a bug that is no longer public."""

from __future__ import annotations

from collections.abc import Iterator

from sourcepulse_web.board.fact import Data, Fact
from sourcepulse_web.board.reduce.marks import mark, pushes_with
from sourcepulse_web.board.reduce.text import SHORT_DIGITS, files_in, nodes_in
from sourcepulse_web.board.store import Change, Delete, Put, Row, View

#: What of a bug's events is part of a story.
FACTS = ("created", "closed", "reopened")
#: More failures with the name of one file are not marked when a bug that may be theirs changes.
MARK_TESTS_MAX = 200


def changed(view: View, fact: Fact) -> Iterator[Change]:
    bug = fact.data["bug"]
    owner = owner_of(fact.source, bug["id"])
    former = view.get("bugs", owner)
    if former is not None and _is_older(fact, str(bug["last_change_time"]), former):
        return
    row: Row = {
        "bug": int(bug["id"]),
        "owner": owner,
        "position": fact.position,
        "epoch": fact.epoch,
        "sequence": fact.sequence,
        "hidden": False,
        "changed_at": str(bug["last_change_time"]),
        "summary": str(bug["summary"]),
        "open": bool(bug["is_open"]),
        "status": bug.get("status"),
        "resolution": bug.get("resolution"),
        "product": bug.get("product"),
        "component": bug.get("component"),
        "assigned_to": (bug.get("assigned_to") or {}).get("name"),
    }
    yield Put("bugs", owner, row)
    yield from _story(view, fact, row)
    if former is None or former["hidden"] or any(former[name] != row[name] for name in ("summary", "open")):
        files = files_in(row["summary"]) if row["open"] else []
        former_files = [each["file"] for each in view.find("files", "owner", owner)]
        for file in former_files:
            if file not in files:
                yield Delete("files", f"{owner} {file}")
        for file in files:
            found = {"file": file, "owner": owner, "bug": row["bug"], "position": fact.position}
            yield Put("files", f"{owner} {file}", found)
        yield from marked_by_bug(view, fact.position, row["bug"], {*files, *former_files})
    else:
        # The newest event of the bug keeps its files as well.
        for each in view.find("files", "owner", owner):
            yield Put("files", f"{owner} {each['file']}", {**each, "position": fact.position})


def _is_older(fact: Fact, changed_at: str, former: Row) -> bool:
    if fact.epoch == former["epoch"] and fact.sequence and former["sequence"]:
        return fact.sequence <= int(former["sequence"])
    return not former["hidden"] and changed_at < str(former["changed_at"])


def _story(view: View, fact: Fact, bug: Row) -> Iterator[Change]:
    kind = fact.type.split(".")[2]
    if kind not in FACTS or view.get("bugfacts", fact.event) is not None:
        return
    who: Data = fact.data.get("who") or {}
    row = {
        "event": fact.event,
        "owner": bug["owner"],
        "bug": bug["bug"],
        "position": fact.position,
        "time": fact.time,
        "kind": kind,
        "who": who.get("name"),
        "resolution": bug["resolution"],
        "summary": bug["summary"],
    }
    yield Put("bugfacts", fact.event, row)


def marked_by_bug(view: View, position: int, bug: int, files: set[str]) -> Iterator[Change]:
    """Mark what names the bug, and where a test failed whose bug it may be or may have been."""
    pushes: set[int] = set()
    for named in view.find("named", "bug", bug):
        if named["push"] is not None:
            pushes.add(named["push"])
        elif tree := view.get("trees", named["repo"]):
            yield Put("trees", tree["repo"], {**tree, "changed": max(tree["changed"], position)})
    for file in sorted(files):
        for test in view.find("tests", "file", file)[:MARK_TESTS_MAX]:
            build = view.get("builds", test["build"])
            pushes.update(pushes_with(view, build["revision"]) if build else ())
    yield from mark(view, sorted(pushes), position)


def gone(view: View, fact: Fact) -> Iterator[Change]:
    """Remove everything of a bug that was hidden or deleted; that it is hidden is kept, against older events."""
    bug = int(fact.data["id"])
    owner = owner_of(fact.source, bug)
    former = view.get("bugs", owner)
    if former is not None and fact.epoch == former["epoch"] and 0 < fact.sequence < former["sequence"]:
        return
    row = {
        "bug": bug,
        "owner": owner,
        "position": fact.position,
        "epoch": fact.epoch,
        "sequence": fact.sequence,
        "hidden": True,
        "changed_at": fact.time,
    }
    yield Put("bugs", owner, row)
    files = {each["file"] for each in view.find("files", "owner", owner)}
    yield from (Delete("files", f"{owner} {file}") for file in sorted(files))
    for mention in view.find("mentions", "owner", owner):
        yield Delete("mentions", mention["key"])
    for kept in view.find("bugfacts", "owner", owner):
        yield Delete("bugfacts", kept["event"])
    yield from marked_by_bug(view, fact.position, bug, files)


def commented(view: View, fact: Fact) -> Iterator[Change]:
    comment = fact.data["comment"]
    owner = owner_of(fact.source, comment["bug_id"])
    bug = view.get("bugs", owner)
    if bug is not None and bug["hidden"] and fact.epoch == bug["epoch"] and fact.sequence < bug["sequence"]:
        return
    for node in nodes_in(str(comment["text"])):
        key = f"{owner} {comment['id']} {node}"
        row = {
            "key": key,
            "owner": owner,
            "bug": int(comment["bug_id"]),
            "comment": comment["id"],
            "position": fact.position,
            "short": node[:SHORT_DIGITS],
            "node": node,
            "time": fact.time,
            "who": (comment.get("creator") or {}).get("name"),
            "is_description": comment.get("count") == 0,
        }
        yield Put("mentions", key, row)


def comment_hidden(view: View, fact: Fact) -> Iterator[Change]:
    for mention in view.find("mentions", "owner", owner_of(fact.source, fact.data["bug_id"])):
        if mention["comment"] == fact.data["id"]:
            yield Delete("mentions", mention["key"])


def owner_of(source: str, bug: object) -> str:
    """Return the key of a bug."""
    return f"{source} {bug}"
