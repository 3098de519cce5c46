# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Banners: of a tree that is closed or needs approval, of a service that is down. Never dismissed, ended by events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from sourcepulse_web.board.documents import TreeDoc
from sourcepulse_web.pages.live.sentences.parts import Links, Part, clock, plain, prose, shown, tree

#: More closed trees than these are counted only.
BANNERS_MAX = 3
TAGS = {"closed": "CLOSED", "approval required": "APPROVAL REQUIRED"}
#: The last word of a service's status -> tag and look; "" ends a banner.
SERVICE_STATES = {
    "down": ("DOWN", "broken"),
    "degraded": ("WORKS BADLY", "approval"),
    "maintenance": ("MAINTENANCE", "approval"),
    "up": ("", ""),
    "recovered": ("", ""),
}
CLASSES = {"closed": "closed", "approval required": "approval"}


class BannerDoc(TypedDict):
    """A banner; `tag` is "" if all is well with what it is about: a repository, or `system:` and a service.

    `until` is when a tree is to open, so that a page says it when that time passes.
    """

    about: str
    look: str
    tag: str
    parts: list[Part]
    when: str
    until: NotRequired[str]


def banner(repo: str, state: str, reason: str | None, since: str, until: str | None, links: Links) -> BannerDoc:
    """Return the banner of a tree's state."""
    parts = [tree(repo), *([plain(": "), *prose(reason, links)] if reason else [])]
    when = f"since {clock(since)}" + (f" · opens again at {clock(until)}" if until else "")
    made: BannerDoc = {
        "about": repo, "look": CLASSES.get(state, ""), "tag": TAGS.get(state, ""), "parts": parts, "when": when
    }  # fmt: skip
    return made | {"until": until} if until else made


def banner_of_event(type_: str, event: Mapping[str, Any], links: Links) -> BannerDoc | None:
    """Return the banner that an event makes or ends, None for any event but those of a tree's or a service's state."""
    data = event["data"]
    try:
        if type_.startswith("system."):
            return _of_service(type_, data, str(event["time"]), links)
        if not type_.startswith("hg.tree.") or type_.startswith("hg.tree.refused."):
            return None
        return banner(data["repo"], data["state"], data["reason"], event["time"], data["until"], links)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _of_service(type_: str, data: Mapping[str, Any], time: str, links: Links) -> BannerDoc | None:
    _, service, state, _ = type_.split(".")
    if state not in SERVICE_STATES:
        return None
    tag, look = SERVICE_STATES[state]
    parts = [Part("name", shown(service))]
    if data["message"]:
        parts += [plain(": "), *prose(data["message"], links)]
    if data["url"] and data["url"].startswith(("http://", "https://")):
        parts += [plain(" "), Part("text", shown(data["url"]), data["url"])]
    when = f"since {clock(time)}" + (f" · until {clock(data['until'])}" if data["until"] else "")
    return {"about": f"system:{service}", "look": look, "tag": tag, "parts": parts, "when": when}


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
