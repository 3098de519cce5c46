# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Map new obsolescence markers to their event."""

from __future__ import annotations

from typing import Any

from sourcepulse.events.event import Event
from sourcepulse_hg.facts.markers_values import Marker, Markers
from sourcepulse_hg.facts.values import Act, Emitter
from sourcepulse_hg.mapping.make_event import Texts, make_event

CREATED = "hg.obsolete.created.v1"


def obsolete_events(act: Act, markers: Markers, emitter: Emitter) -> list[Event]:
    """Make the event, if there is a marker."""
    if not markers.total:
        return []
    texts = Texts()
    listed = [_marker(texts, f"/markers/{place}", marker) for place, marker in enumerate(markers.markers)]
    texts.note_cut("/markers", len(listed), markers.total)
    return [make_event(CREATED, act, emitter, texts, {"count": markers.total, "markers": listed})]


def _marker(texts: Texts, pointer: str, marker: Marker) -> dict[str, Any]:
    return {
        "prednode": marker.prednode,
        "succnodes": list(marker.succnodes),
        "date": list(marker.date),
        "user": texts.read_or_none(f"{pointer}/user", marker.user),
        "operation": texts.read_or_none(f"{pointer}/operation", marker.operation),
    }
