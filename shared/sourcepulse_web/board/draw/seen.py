# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a sentence of the live page needs of the board."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sourcepulse_web.board.documents import NOTHING_SEEN, Seen
from sourcepulse_web.board.draw.aliases import Aliases
from sourcepulse_web.board.draw.canvas import Canvas
from sourcepulse_web.board.draw.failures import Failures
from sourcepulse_web.board.draw.push_facts import Belonging
from sourcepulse_web.board.draw.words import said, seconds_between, state_of
from sourcepulse_web.board.fact import Fact, fact_of
from sourcepulse_web.board.reduce.builds import scope_of
from sourcepulse_web.board.store import Row, Store

Canvases = Callable[[str], Canvas]


def seen_of(store: Store, event: Mapping[str, Any], aliases: Aliases, canvas: Canvases) -> Seen:
    try:
        fact = fact_of(event, 0)
        family = fact.type.partition(".")[0]
        if family == "hg":
            return _of_hg(store, fact, aliases)
        if family in ("build", "test"):
            return _of_build(store, fact, aliases, canvas)
        if family == "bugzilla":
            return _of_bug(fact, canvas, aliases)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        pass
    return NOTHING_SEEN


def _of_hg(store: Store, fact: Fact, aliases: Aliases) -> Seen:
    repo = str(fact.data["repo"])
    found: Seen = {**NOTHING_SEEN, "repo": repo, "tree": aliases.name_of(repo)}
    for push in store.find("pushes", "event", fact.event):
        found |= {"push": push["position"], "node": push["node"] or None, "user": push["user"]}
    return found


def _of_build(store: Store, fact: Fact, aliases: Aliases, canvas: Canvases) -> Seen:
    data = fact.data
    scope = scope_of(fact.source)
    row = store.get("builds", f"{scope} {data.get('buildid')}")
    if row is None:
        request = f"{scope} {data['buildrequestid']}"
        row = next(iter(store.find("builds", "request", request)), None) or store.get("requests", request)
    push = _push_of(store, row, aliases) if row else None
    if row is None or push is None:
        return NOTHING_SEEN
    drawn = canvas(push["repo"])
    place = drawn.places.by_name.get(row["place"])
    platform = " ".join(filter(None, (place.platform, place.buildtype) if place else ()))
    found: Seen = {
        **NOTHING_SEEN,
        "label": place.label if place else row["place"],
        "platform": platform or None,
        "tree": aliases.name_of(push["repo"]),
        "repo": push["repo"],
        "push": push["position"],
        "node": push["node"] or None,
        "user": push["user"],
    }
    if "started_at" in row and not fact.type.startswith("build.request."):
        _judge(found, fact, row, drawn)
    return found


def _judge(found: Seen, fact: Fact, build: Row, drawn: Canvas) -> None:
    """Add the state of the build, and the verdict of what failed."""
    found["duration_s"] = seconds_between(build["started_at"], build["complete_at"])
    index = next((n for n, push in enumerate(drawn.newest.pushes) if push.push["position"] == found["push"]), None)
    if index is None:
        return
    if fact.type.startswith("test.case.failed."):
        testid = str(fact.data.get("testid"))
        for test in drawn.newest.pushes[index].tests.get(build["key"], ()):
            if test["testid"] == testid:
                judged = drawn.newest.test(index, testid, [(build["place"], test["run"])])
                found |= {"verdict": judged.said, "note": judged.note, "bug": drawn.bugs.guess(test["file"])}
    elif fact.type.startswith("build."):
        state = state_of(index, build, Failures(drawn.newest, drawn.places, drawn.bugs))
        found |= {"state": state, "verdict": said(state, build["outcome"])}


def _push_of(store: Store, row: Row, aliases: Aliases) -> Row | None:
    """Return the newest push of the tree that a build or request is of."""
    belongs = Belonging(store, aliases)
    nodes = store.find("nodes", "short", row["short"]) if row["revision"] else []
    positions = [
        node["position"] for node in nodes if node["node"].startswith(row["revision"]) and belongs(row, node["repo"])
    ]
    return store.get("pushes", str(max(positions))) if positions else None


def _of_bug(fact: Fact, canvas: Canvases, aliases: Aliases) -> Seen:
    data = fact.data
    inner = next((data[name] for name in ("bug", "comment", "attachment") if isinstance(data.get(name), dict)), data)
    number = inner["id"] if "bug" in data else inner.get("bug_id", inner.get("id"))
    if not isinstance(number, int) or fact.type.split(".")[1] not in ("bug", "comment", "attachment", "flag"):
        return NOTHING_SEEN
    # The address of Bugzilla is a tree's; any tree that names one will do.
    repo = next((repo for repo, tree in aliases.configured.items() if tree.bugzilla), "")
    return {**NOTHING_SEEN, "bug": canvas(repo).bugs.document(number)}
