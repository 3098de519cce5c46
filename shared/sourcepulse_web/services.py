# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the pages and streams of one gateway share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sourcepulse.brokers.file.reader import LogReader
from sourcepulse_web.bridge.state import StateBoard
from sourcepulse_web.settings import WebSettings

#: A gateway that reads its log later than this is behind.
BEHIND_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Whether events arrive: what `/ready`, the state word of the pages and the streams go by."""

    #: Whether the bridge is connected; always so where the log is the broker.
    connected: bool = True
    #: Since when it is not, in seconds since 1970, and why.
    since: float | None = None
    reason: str = ""
    #: A sentence about something that works, but not as it should.
    doubt: str = ""
    #: How late the gateway reads what was appended.
    late_s: float = 0.0
    #: Why the log cannot be read, or the bridge cannot write it; "" if both work.
    log_problem: str = ""
    #: Why the settings of the file are not in effect; "" if they are.
    settings_problem: str = ""
    #: How much of a long log the board has read, as a sentence; "" if all of it.
    board_behind: str = ""

    @property
    def behind(self) -> bool:
        """Return whether the gateway reads the log too late for a page to be called live."""
        return self.late_s > BEHIND_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Passed to each page module, whose `resource(services)` returns what is served.

    `settings` returns those of now: corrections of the file take effect without a restart.
    """

    settings: Callable[[], WebSettings]
    log: LogReader
    #: A `sourcepulse_web.stream` Hub.
    hub: Any
    #: A `sourcepulse_web.board` Board.
    board: Any
    #: Seconds since 1970.
    clock: Callable[[], float]
    version: str
    condition: Callable[[], Condition] = Condition
    #: What the bridge reports of itself; None where the broker is a log.
    bridge: StateBoard | None = None
    #: A `sourcepulse_web.pages.live.watch` Watch: what relays and services reported of themselves.
    watch: Any = None
