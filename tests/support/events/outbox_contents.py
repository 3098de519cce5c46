# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an outbox holds, as a test looks at it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, body, rows
from support.events.schema_check import check_data

#: A test that waits for an event reads all others again and again; each is checked once.
CHECKED_MAX = 10_000


def outbox_events(outbox: Path, *, stream: str = "public") -> list[Event]:
    """Return the events of an outbox in order, each checked by its schema; none if there is no such file."""
    if not outbox.exists():
        return []
    with Outbox.open(outbox, create=False) as opened:
        claimed = opened.claim(stream, limit=100_000)
    return [_checked(one.body, one.routing_key) for one in claimed]


def stored_events(outbox: Path) -> list[Event]:
    """Return the events of an outbox in order, delivered or not, each checked by its schema."""
    if not outbox.exists():
        return []
    with Outbox.open(outbox, create=False) as opened:
        stored = [(row["routing_key"], body(opened, row["position"])) for row in rows(opened, Selection())]
    return [_checked(content, key) for key, content in stored]


def _checked(content: bytes, key: str) -> Event:
    _check_once(content, key)
    return decode(content, routing_key=key)


@lru_cache(maxsize=CHECKED_MAX)
def _check_once(content: bytes, key: str) -> None:
    check_data(decode(content, routing_key=key))
