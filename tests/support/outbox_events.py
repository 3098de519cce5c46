# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an outbox holds, as a test looks at it."""

from __future__ import annotations

from pathlib import Path

from sourcepulse.event import Event
from sourcepulse.outbox import Outbox
from sourcepulse.serialize import decode
from support.event_schema import check_data


def outbox_events(outbox: Path, *, stream: str = "public") -> list[Event]:
    """Give the events of an outbox in order, each checked by its schema; none if there is no such file."""
    if not outbox.exists():
        return []
    with Outbox.open(outbox, create=False) as opened:
        claimed = opened.claim(stream, limit=100_000)
    events = [decode(one.body, routing_key=one.routing_key) for one in claimed]
    for event in events:
        check_data(event)
    return events
