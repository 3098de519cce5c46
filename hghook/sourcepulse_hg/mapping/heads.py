# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map new branches, new heads and closed heads to their events."""

from __future__ import annotations

from sourcepulse.events.event import Event
from sourcepulse_hg.facts.heads_values import HeadChanges, Heads
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.make_event import Texts, make_event

BRANCH_CREATED = "hg.branch.created.v1"
HEAD_CREATED = "hg.head.created.v1"
HEAD_CLOSED = "hg.head.closed.v1"


def head_events(act: Act, changes: HeadChanges, emitter: Emitter) -> list[Event]:
    """Make an event for each kind of change that there is; the head of a new branch is a new head, too."""
    kinds = (
        (BRANCH_CREATED, changes.of_new_branches),
        (HEAD_CREATED, changes.gained),
        (HEAD_CLOSED, changes.closing),
    )
    return [_event(type_, act, heads, emitter) for type_, heads in kinds if heads.total]


def _event(type_: str, act: Act, heads: Heads, emitter: Emitter) -> Event:
    texts = Texts()
    listed = [
        {"node": head.node, "branch": texts.read(f"/heads/{place}/branch", head.branch)}
        for place, head in enumerate(heads.heads)
    ]
    texts.note_cut("/heads", len(listed), heads.total)
    return make_event(type_, act, emitter, texts, {"heads": listed})
