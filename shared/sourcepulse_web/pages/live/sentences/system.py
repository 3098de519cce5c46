# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sentences for what services, relays and queues report of themselves, and a sender of its hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse_web.board.documents import Seen
from sourcepulse_web.pages.live.sentences.parts import Links, Part, clock, count, plain, prose, shown, took

#: The last word of a status -> what it says; others are said as they are.
_STATES = {
    "up": "is back",
    "down": "is down",
    "degraded": "works badly",
    "maintenance": "is under maintenance",
    "started": "started",
    "stopped": "stopped",
    "recovered": "works well again",
}
#: The last word of what is reported of a hook, and of its test, which no log has.
WEBHOOK_STATES = ("failing", "refused", "parked", "resumed", "disabled", "test")


def status(type_: str, data: Mapping[str, Any], links: Links) -> list[Part]:
    """Hg is back: the message."""
    _, service, state, *_ = type_.split(".")
    parts = [Part("name", shown(service)), Part("text", f" {_STATES.get(state, state)}")]
    if data["until"]:
        parts.append(plain(f" until {clock(data['until'])}"))
    return [*parts, plain(": "), *prose(data["message"], links)] if data["message"] else parts


def heartbeat(type_: str, data: Mapping[str, Any], source: str) -> list[Part]:
    """Relay of hg.example.org lives: 3 sources, nothing waits."""
    service = type_.split(".")[1]
    parts = [Part("name", shown(service)), Part("text", f" of {shown(source.partition('://')[2])} lives: ")]
    waits = "nothing waits"
    if data["pending"]:
        waits = f"{count(data['pending'], 'event')} on the way for {took(data['oldest_age_s'] or 0)}"
    return [*parts, plain(f"{count(len(data['sources']), 'source')}, {waits}")]


def queue(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """The queue dashboard.builds is filled to 85 %."""
    return prose(data["message"], links)


def probe(data: Mapping[str, Any], _: Seen, __: Links) -> list[Part]:
    """A probe came from hg.example.org."""
    return [plain("a probe came from "), Part("name", shown(data["host"]))]


def withheld(_: Mapping[str, Any], __: Seen, ___: Links) -> list[Part]:
    """1 event that is not public."""
    return [plain("1 event that is not public; its number is kept so that nothing seems lost")]


def webhook(data: Mapping[str, Any], _: Seen, links: Links) -> list[Part]:
    """Chat-room of alice@example.org is parked: chat.example.org has not answered."""
    parts = [Part("name", shown(data["hook"]))]
    if data["owner"]:
        parts += [plain(" of "), Part("name", shown(data["owner"]))]
    # The message begins with the same names, for those who read nothing else.
    known = f"the webhook {data['hook']}" + (f" of {data['owner']}" if data["owner"] else "")
    message = str(data["message"])
    if message.startswith(f"{known} "):
        return [*parts, plain(" "), *prose(message.removeprefix(f"{known} "), links)]
    return [*parts, plain(": "), *prose(message, links)]


SENTENCES = {
    "system.queue.overgrown": ("Queue", queue),
    "system.queue.dropped": ("Queue", queue),
    **{f"system.webhook.{state}": ("Webhook", webhook) for state in WEBHOOK_STATES},
    "system.probe": ("Probe", probe),
    "system.event.withheld": ("Withheld", withheld),
}
