# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an outbox holds, as a test looks at it."""

from __future__ import annotations

from pathlib import Path

from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, body, rows
from support.events.schema_check import check_data


def outbox_events(outbox: Path, *, stream: str = "public") -> list[Event]:
    """Return the events of an outbox in order, each checked by its schema; none if there is no such file."""
    if not outbox.exists():
        return []
    with Outbox.open(outbox, create=False) as opened:
        claimed = opened.claim(stream, limit=100_000)
    events = [decode(one.body, routing_key=one.routing_key) for one in claimed]
    for event in events:
        check_data(event)
    return events


def stored_events(outbox: Path) -> list[Event]:
    """Return the events of an outbox in order, delivered or not, each checked by its schema."""
    if not outbox.exists():
        return []
    with Outbox.open(outbox, create=False) as opened:
        stored = [(row["routing_key"], body(opened, row["position"])) for row in rows(opened, Selection())]
    events = [decode(content, routing_key=key) for key, content in stored]
    for event in events:
        check_data(event)
    return events
