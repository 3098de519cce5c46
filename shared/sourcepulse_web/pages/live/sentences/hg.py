# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sentences for what Mercurial did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse_web.board.documents import Seen
from sourcepulse_web.pages.live.sentences.parts import (
    Links,
    Part,
    clock,
    count,
    first_line,
    name,
    node,
    plain,
    prose,
    tree,
    was,
)

#: A list of more entries is cut, with the count of the others.
LISTED_MAX = 3
_REFS = {"bookmark": ("bookmarks", "bookmark"), "tag": ("tags", "tag")}


def push(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Alice pushed 3 changes to inbound 1f0c5a2be9d0 Bug 1234 - handle empty input."""
    newest = data["changesets"][-1] if data["changesets"] else None
    is_newest = newest is not None and newest["node"] == data["last"]
    parts = [name(data["user"]), plain(f" pushed {count(data['count'], 'change')} to "), tree(data["repo"])]
    parts += [plain(" "), node(data["last"]), plain(" ")]
    return parts + (prose(first_line(newest["desc"]), links) if newest is not None and is_newest else [])


def tree_state(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Inbound closed by bob: the reason."""
    said = {"open": "opened", "closed": "closed"}.get(data["state"], "needs approval, set")
    parts = [tree(data["repo"])._replace(kind="tree strong"), plain(f" {said} by "), name(data["user"])]
    if data["until"] and data["state"] != "open":
        parts.append(plain(f", until {clock(data['until'])}"))
    return parts + ([plain(": "), *prose(data["reason"], links)] if data["reason"] else [])


def refused(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Maximilian was refused on inbound: the tree is closed."""
    why = "the tree is closed" if data["state"] == "closed" else f"the tree's state is {data['state']}"
    parts = [name(data["user"]), plain(" was refused on "), tree(data["repo"]), Part("text", f": {why}")]
    return parts + ([plain(", "), *prose(data["reason"], links)] if data["reason"] else [])


def references(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    """Bookmark release-next moved from A to B by frank."""
    thing = "bookmark" if "bookmarks" in data else "tag"
    member, field = _REFS[thing]
    parts: list[Part] = []
    for each in data[member][:LISTED_MAX]:
        parts += [plain(f"{', ' if parts else ''}{thing} "), Part("name", *prose_text(each[field])), *_way(each)]
    return [*parts, *_others(len(data[member])), *_where(data)]


def prose_text(text: str) -> tuple[str]:
    """Return the text of a name as it is shown."""
    return (prose(text, Links())[0].text if text.strip() else "_",)


def _way(each: Mapping[str, Any]) -> list[Part]:
    if each["node"] is None:
        return [plain(" deleted from "), node(each["oldnode"])] if each["oldnode"] else [plain(" deleted")]
    if each["oldnode"] is None:
        return [plain(" created at "), node(each["node"])]
    return [plain(" moved from "), node(each["oldnode"]), plain(" to "), node(each["node"])]


def heads(data: Mapping[str, Any], event: str) -> list[Part]:
    """Branch stable created at dc504cae1881."""
    said = {"hg.branch.created": "branch {} begun at ", "hg.head.created": "{} gained the head "}.get(
        event, "{} lost the closed head "
    )
    before, _, after = said.partition("{}")
    parts: list[Part] = []
    for each in data["heads"][:LISTED_MAX]:
        parts += [plain(", " * bool(parts) + before), Part("name", *prose_text(each["branch"])), plain(after)]
        parts.append(node(each["node"]))
    return [*parts, *_others(len(data["heads"])), *_where(data)]


def branch_created(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    return heads(data, "hg.branch.created")


def head_created(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    return heads(data, "hg.head.created")


def head_closed(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    return heads(data, "hg.head.closed")


def phases(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    """2 changes became public in inbound by alice."""
    became = " and ".join(sorted({each["phase"] for each in data["changes"]})) or "of another phase"
    return [plain(f"{count(data['count'], 'change')} became "), Part("text", became), *_where(data)]


def obsolete(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    """1 change was rewritten by amend in inbound by alice."""
    how = sorted({each["operation"] for each in data["markers"] if each["operation"]})
    parts = [plain(f"{count(data['count'], 'change')} {was(data['count'])} made obsolete")]
    if how:
        parts += [plain(" with "), Part("text", ", ".join(how))]
    return [*parts, *_where(data)]


def repo_created(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    """Repository inbound was seen first, made by alice."""
    return [plain("repository "), tree(data["repo"]), plain(" was seen for the first time, by "), name(data["user"])]


def stripped(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    """2 changes were stripped from inbound."""
    way = "rolled back in" if data["operation"] == "rollback" else "stripped from"
    parts = [plain(f"{count(data['count'], 'change')} {was(data['count'])} {way} "), tree(data["repo"])]
    for each in data["nodes"][:LISTED_MAX]:
        parts += [plain(" "), node(each)]
    return [*parts, *_others(data["count"])]


def _others(total: int) -> list[Part]:
    return [plain(f" and {total - LISTED_MAX:,} more")] if total > LISTED_MAX else []


def _where(data: Mapping[str, Any]) -> list[Part]:
    return [plain(" in "), tree(data["repo"]), plain(" by "), name(data["user"])]


SENTENCES = {
    "hg.push": ("Push", push),
    "hg.tree.closed": ("Tree", tree_state),
    "hg.tree.opened": ("Tree", tree_state),
    "hg.tree.approval": ("Tree", tree_state),
    "hg.tree.refused": ("Push", refused),
    "hg.bookmark.created": ("Ref", references),
    "hg.bookmark.moved": ("Ref", references),
    "hg.bookmark.deleted": ("Ref", references),
    "hg.tag.created": ("Ref", references),
    "hg.tag.moved": ("Ref", references),
    "hg.tag.deleted": ("Ref", references),
    "hg.branch.created": ("Ref", branch_created),
    "hg.head.created": ("Ref", head_created),
    "hg.head.closed": ("Ref", head_closed),
    "hg.phase.changed": ("Phase", phases),
    "hg.obsolete.created": ("Change", obsolete),
    "hg.repo.created": ("Tree", repo_created),
    "hg.repo.stripped": ("Strip", stripped),
}
