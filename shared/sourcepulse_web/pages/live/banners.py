# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The banner of a tree that is closed or needs approval: at load from the board, later from the tree's own events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from sourcepulse_web.board.documents import TreeDoc
from sourcepulse_web.pages.live.parts import Links, Part, clock, plain, prose, tree

#: More closed trees than these are counted only.
BANNERS_MAX = 3
TAGS = {"closed": "CLOSED", "approval required": "APPROVAL REQUIRED"}
CLASSES = {"closed": "closed", "approval required": "approval"}


class BannerDoc(TypedDict):
    """A banner; `tag` is "" for a tree that is open, which needs none."""

    repo: str
    look: str
    tag: str
    parts: list[Part]
    when: str


def banner(repo: str, state: str, reason: str | None, since: str, until: str | None, links: Links) -> BannerDoc:
    """Return the banner of a tree's state."""
    parts = [tree(repo), *([plain(": "), *prose(reason, links)] if reason else [])]
    when = f"since {clock(since)}" + (f" · opens again at {clock(until)}" if until else "")
    return {"repo": repo, "look": CLASSES.get(state, ""), "tag": TAGS.get(state, ""), "parts": parts, "when": when}


def banner_of_event(type_: str, event: Mapping[str, Any], links: Links) -> BannerDoc | None:
    """Return the banner that an event makes or ends, None for any event but those of a tree's state."""
    if not type_.startswith("hg.tree.") or type_.startswith("hg.tree.refused."):
        return None
    data = event["data"]
    try:
        return banner(data["repo"], data["state"], data["reason"], event["time"], data["until"], links)
    except (KeyError, TypeError, AttributeError):
        return None


def banners_of(trees: Sequence[TreeDoc], links: Links) -> tuple[list[BannerDoc], int]:
    """Return the banners of trees that are not open, closed ones first, and how many more there are."""
    shut = sorted((each for each in trees if each["state"] in TAGS), key=lambda each: each["state"] != "closed")
    made = []
    for each in shut[:BANNERS_MAX]:
        until = None if each["overdue"] else each["until"]
        document = banner(each["repo"], each["state"], each["reason"], each["since"] or "", until, links)
        if each["overdue"] and each["until"]:
            document["when"] += f" · was to open at {clock(each['until'])}, has not been opened"
        made.append(document)
    return made, len(shut) - len(made)
