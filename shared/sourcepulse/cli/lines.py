# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Any event as one human-readable line: time, type, source, summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse.events.text import plain

__all__ = ["line", "plain", "shorten", "summary"]

#: A summary is cut here; the JSON form has everything.
SUMMARY_MAX_CHARACTERS = 100
NODE_DIGITS = 12

_DIM = "\x1b[2m"
_BOLD = "\x1b[1m"
_CYAN = "\x1b[36m"
_RED = "\x1b[31m"
_GREEN = "\x1b[32m"
_PLAIN = "\x1b[0m"
_OUTCOME_COLOURS = {"success": _GREEN, "failure": _RED, "exception": _RED}


def line(event: Event, *, colour: bool = False) -> str:
    """Write an event as one line."""
    type_, _, _ = event.type.rpartition(".v")
    parts = [event.time[:19].replace("T", " "), type_, plain(event.source), shorten(summary(event))]
    if event.replayed:
        parts.append("(replayed)")
    if colour:
        shade = _OUTCOME_COLOURS.get(str(event.data.get("outcome")), _CYAN)
        parts[0] = f"{_DIM}{parts[0]}{_PLAIN}"
        parts[1] = f"{_BOLD}{shade}{parts[1]}{_PLAIN}"
    return "  ".join(parts)


def summary(event: Event) -> str:
    """Return a few words on what happened."""
    if event.type.startswith("hg.push."):
        return _push(event.data)
    if event.type.startswith("system.") and event.data.get("message"):
        return str(event.data["message"])
    words = [event.subject or "", str(event.data.get("outcome") or "")]
    return " ".join(word for word in words if word)


def shorten(text: str) -> str:
    """Return a text in printable characters, at most SUMMARY_MAX_CHARACTERS of them."""
    text = plain(text)
    return text if len(text) <= SUMMARY_MAX_CHARACTERS else text[: SUMMARY_MAX_CHARACTERS - 1] + "\u2026"


def _push(data: Mapping[str, Any]) -> str:
    count = data["count"]
    who = data["user"] or "an unknown user"
    text = f"{who} pushed {count} changeset{'' if count == 1 else 's'}"
    if data["changesets"]:
        tip = data["changesets"][-1]
        title = tip["desc"].partition("\n")[0]
        text += f", {tip['node'][:NODE_DIGITS]} {title}" if count == 1 else f" up to {data['last'][:NODE_DIGITS]}"
        text += f" ({title})" if count > 1 and tip["node"] == data["last"] else ""
    return text
