# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Any event as one human-readable line: time (UTC), type, source, summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sourcepulse.events.event import Event
from sourcepulse.events.safe_text import plain

__all__ = ["line", "plain", "shorten", "summary"]

#: A summary is cut here; the JSON form has everything.
SUMMARY_MAX_CHARACTERS = 100
NODE_DIGITS = 12
#: The lists of events about references and nodes -> the member that names an entry, and the one with its node.
_LISTED = {
    "heads": ("branch", "node"),
    "bookmarks": ("bookmark", "node"),
    "tags": ("tag", "node"),
    "changes": ("phase", "node"),
    "markers": ("operation", "prednode"),
}

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
    parts = [f"{event.time[:19].replace('T', ' ')}Z", type_, plain(event.source), shorten(summary(event))]
    if event.replayed:
        parts.append("(replayed)")
    if colour:
        shade = _OUTCOME_COLOURS.get(str(event.data.get("outcome")), _CYAN)
        parts[0] = f"{_DIM}{parts[0]}{_PLAIN}"
        parts[1] = f"{_BOLD}{shade}{parts[1]}{_PLAIN}"
    return "  ".join(parts)


def summary(event: Event) -> str:
    """Return a few words on what happened; the subject alone for data that is not as its schema says."""
    try:
        words = _words(event)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        words = ""
    return words or " ".join(filter(None, (event.subject, _text(event.data.get("outcome")))))


def shorten(text: str) -> str:
    """Return a text in printable characters, at most SUMMARY_MAX_CHARACTERS of them."""
    text = plain(text)
    return text if len(text) <= SUMMARY_MAX_CHARACTERS else text[: SUMMARY_MAX_CHARACTERS - 1] + "\u2026"


def _words(event: Event) -> str:
    """Return what the data of the common types says; empty for the others."""
    family, _, rest = event.type.partition(".")
    data = event.data
    if event.type.startswith("hg.push."):
        return _push(data)
    if family == "hg":
        return _hg(data)
    if family == "system":
        return _text(data.get("message"))
    if family in ("build", "test", "change"):
        return _build(f"{family}.{rest}", event.subject or "", data)
    if family == "bugzilla" and "bug" in data:
        who = data.get("who") or {}
        return f"bug {data['bug']['id']} {data['bug']['summary']}" + (f", by {who['name']}" if who.get("name") else "")
    return ""


def _hg(data: Mapping[str, Any]) -> str:
    """Return the first name and node that an event about references lists, and how many more there are."""
    if "state" in data:
        return _joined(data["state"], data["reason"])
    for member, (name, node) in _LISTED.items():
        if listed := data.get(member):
            first = _joined(listed[0][name], (listed[0][node] or "gone")[:NODE_DIGITS])
            return first + (f" and {len(listed) - 1} more" if len(listed) > 1 else "")
    return ""


def _build(type_: str, subject: str, data: Mapping[str, Any]) -> str:
    if type_.startswith("build.step."):
        return _joined(subject, f"step {data['name']}", *_end(data))
    if type_.startswith("build.log."):
        return _joined(subject, f"step {data['name']}", f"log {data['slug']}, {data['num_lines']} lines")
    if type_.startswith("build.started."):
        return _joined(subject, data["reason"])
    if type_.startswith("build.finished."):
        return _joined(subject, *_end(data))
    if type_.startswith("test.run."):
        counts = f"{data['tests_total']} tests, {data['tests_failed']} failed"
        return _joined(subject, f"{data['step_name']} {data['outcome']}", counts, *data["problems"][:1])
    if type_.startswith("test.case."):
        return _joined(subject, f"{data['test_name']} {data['outcome']}", _text(data["message"]).partition("\n")[0])
    if type_.startswith("change."):
        return f"{data['author']}: {data['comments'].partition(chr(10))[0]}"
    return ""


def _end(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield outcome, duration and reason of what ended; nothing of what began."""
    if "outcome" not in data:
        return
    duration = ""
    if data["started_at"] is not None:
        took = datetime.fromisoformat(data["complete_at"]) - datetime.fromisoformat(data["started_at"])
        duration = f" in {took.total_seconds():.0f} s"
    yield f"{data['outcome']}{duration}"
    if data["outcome"] != "success":
        yield data["state_string"]


def _joined(*parts: str | None) -> str:
    return ": ".join(part for part in parts if part)


def _text(value: object) -> str:
    return "" if value is None else str(value)


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
