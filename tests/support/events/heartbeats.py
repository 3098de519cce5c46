# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Heartbeats as a relay sends them, with the numbers that a test chooses."""

from __future__ import annotations

import time
import uuid

from sourcepulse.events.event import Event

RELAY = "system://hg1"


def heartbeat(
    *, source: str = RELAY, epoch: str = "one", age_s: float = 0.0, types: dict[str, int] | None = None, **last: int
) -> Event:
    """Make a heartbeat that names the last numbers of `hg://host/NAME`, each with those of its types."""
    return Event.of(
        "system.relay.heartbeat.v1",
        source=source,
        key=[str(uuid.uuid4()), "1"],
        subject="relay",
        time=time.time() - age_s,
        data={
            "interval_s": 30,
            "epoch": epoch,
            "pending": 0,
            "oldest_age_s": None,
            "buried": 0,
            "sources": [
                {
                    "source": f"hg://host/{name}",
                    "sequence": f"{number:020}",
                    "types": [{"type": each, "typesequence": f"{n:020}"} for each, n in (types or {}).items()],
                    "pending": 0,
                    "oldest_age_s": None,
                }
                for name, number in last.items()
            ],
            "truncated": [],
        },
    )
