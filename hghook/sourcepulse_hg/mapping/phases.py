# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map phase changes to their event."""

from __future__ import annotations

from sourcepulse.events.event import Event
from sourcepulse_hg.facts.phases_values import PhaseChanges
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.make_event import Texts, make_event

CHANGED = "hg.phase.changed.v1"


def phase_events(act: Act, changes: PhaseChanges, emitter: Emitter) -> list[Event]:
    """Make the event, if there is a change."""
    if not changes.total:
        return []
    texts = Texts()
    listed = [change._asdict() for change in changes.changes]
    texts.note_cut("/changes", len(listed), changes.total)
    return [make_event(CHANGED, act, emitter, texts, {"count": changes.total, "changes": listed})]
