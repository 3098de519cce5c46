# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the bridge reports of itself, read by other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeState:
    """One moment of a bridge; times are seconds since 1970."""

    connected: bool = False
    #: Since when it is connected, or not.
    since: float
    #: Why it is not connected; "" if it is, or has not tried yet.
    reason: str = ""
    #: Why the log cannot be written; nothing is acknowledged meanwhile.
    log_problem: str = ""
    #: A sentence about something that works, but not as it should.
    doubt: str = ""
    appended: int = 0
    #: Messages that the log had already, by source and id.
    repeats: int = 0
    #: Messages that are not events of sourcepulse, which were set aside.
    rejected: int = 0
    #: The reason of the last one.
    rejection: str = ""
    connections: int = 0
    #: Failed attempts to connect or lost connections, and failed attempts to write the log.
    broker_failures: int = 0
    log_failures: int = 0
    #: How often the broker reported that the queue may have lost messages.
    interruptions: int = 0
    #: When it did so last.
    interrupted_at: float = 0.0


class StateBoard:
    """The state of a bridge, which its thread replaces as a whole."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._state = BridgeState(since=clock())

    @property
    def now(self) -> BridgeState:
        """Return the state of this moment."""
        with self._lock:
            return self._state

    def set(self, **changes: Any) -> None:
        """Replace members; `since` follows `connected`."""
        with self._lock:
            if changes.get("connected", self._state.connected) != self._state.connected:
                changes["since"] = self._clock()
            self._state = replace(self._state, **changes)

    def count(self, **more: int) -> None:
        """Add to members."""
        with self._lock:
            self._state = replace(self._state, **{name: getattr(self._state, name) + n for name, n in more.items()})
