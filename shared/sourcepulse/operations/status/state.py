# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The state of an outbox and its relay, as `status --json` prints it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sourcepulse.events.event import format_time
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.health.liveness import last_loop_at
from sourcepulse.relay.on_demand import START_SECONDS, failed_start, is_on_demand
from sourcepulse.relay.relay import is_relayed


def read_state(outbox: Outbox) -> dict[str, Any]:
    """Return the figures of an outbox, and how its relay is."""
    state = figures(outbox)
    at = last_loop_at(outbox.path)
    is_running = is_relayed(outbox.path)
    now = outbox.now()
    failed = None if is_running else failed_start(str(outbox.path), older_than_s=START_SECONDS, now=now)
    return {
        **state,
        "now": format_time(now),
        "relay_running": is_running,
        "relay_last_loop_at": None if at is None else format_time(at),
        "relay_on_demand": is_on_demand(str(outbox.path)),
        "relay_failed_start": failed,
    }


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds between two moments of a state."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
