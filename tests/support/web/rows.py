# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Rows of a log, for what reads them without one."""

from __future__ import annotations

import json

from sourcepulse.events.event import Event
from sourcepulse_web.stream.ports import Row

SOURCE = "hg://hg.example.org/inbound"


def row(
    position: int = 1,
    *,
    key: str = "hg.push.inbound",
    type_: str = "hg.push.v1",
    source: str = SOURCE,
    body: bytes | None = None,
) -> Row:
    """Make a row; its body is that of an event as far as a filter looks at it."""
    id_ = f"event-{position}"
    made = json.dumps({"specversion": "1.0", "id": id_, "source": source, "type": type_, "data": {}}).encode()
    return Row(
        position=position,
        at=float(position),
        routing_key=key,
        type=type_,
        source=source,
        subject=None,
        id=id_,
        content_type="application/cloudevents+json",
        body=made if body is None else body,
        withdrawn=False,
    )


def push(number: int, *, repo: str = "inbound", padding: int = 0) -> Event:
    """Make an event of a push, with a number to know it by."""
    return Event.of(
        "hg.push.v1",
        source=SOURCE,
        key=[repo, str(number)],
        subject=repo,
        time=1_796_000_000 + number,
        data={"number": number, "padding": "x" * padding},
        words=[repo],
    )
