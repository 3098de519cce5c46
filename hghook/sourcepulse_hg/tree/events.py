# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map changes of a tree's state, and pushes refused because of it, to events."""

from __future__ import annotations

from sourcepulse.events.event import Event, format_time
from sourcepulse.events.record import Record
from sourcepulse_hg.facts import Act, Emitter
from sourcepulse_hg.mapping.events import Texts, make_event
from sourcepulse_hg.tree.state import APPROVAL, CLOSED, OPEN, TreeChange

TYPES = {CLOSED: "hg.tree.closed.v1", OPEN: "hg.tree.opened.v1", APPROVAL: "hg.tree.approval.v1"}
REFUSED = "hg.tree.refused.v1"


class Refusal(Record):
    """A push that the gate refused, and the changesets that it would have added."""

    state: str
    reason: str
    total: int
    first: str | None
    last: str | None


def tree_event(act: Act, change: TreeChange, emitter: Emitter, *, key: tuple[str, ...] | None = None) -> Event:
    """Return the event of a new state; for a state reported by a service, `key` is its natural key."""
    texts = Texts()
    new = change.new
    members = {
        "state": new.state,
        "oldstate": change.old,
        "reason": None if new.reason is None else texts.read("/reason", new.reason.encode("utf-8", "surrogateescape")),
        "until": None if new.until is None else format_time(new.until),
    }
    return make_event(TYPES[new.state], act, emitter, texts, members, key=key)


def refused_event(act: Act, refusal: Refusal, emitter: Emitter) -> Event:
    texts = Texts()
    members = {
        "state": refusal.state,
        "reason": texts.read("/reason", refusal.reason.encode("utf-8", "surrogateescape")),
        "count": refusal.total,
        "first": refusal.first,
        "last": refusal.last,
    }
    return make_event(REFUSED, act, emitter, texts, members)
