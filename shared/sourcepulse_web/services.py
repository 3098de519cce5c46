# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the pages and streams of one gateway share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
class HookFigures:
    """One moment of all hooks together; times are seconds since 1970. No hook and no owner is named."""

    #: When a sender last turned; None if none ever did, or that could not be read.
    sender_seen_at: float | None = None
    #: How many hooks there are in each state, by the words of `desk.card.Look`.
    states: Mapping[str, int] = field(default_factory=dict)
    waiting: int = 0
    #: When the oldest event that waits was appended; None for none.
    oldest_at: float | None = None
    set_aside: int = 0
    #: Events that the log removed before they could be sent.
    lost: int = 0
    #: How many attempts there were since the gateway was started, by what came of them.
    attempts: Mapping[str, int] = field(default_factory=dict)
    #: Why the store or the queues cannot be read; "" if they can.
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HooksState:
    """What is known of the webhooks: for /ready and /metrics."""

    #: Whether the settings have them.
    is_on: bool = False
    #: Whether the sender runs and turns, and how often it was started.
    sender_up: bool = False
    sender_starts: int = 0
    #: Why it does not, as a sentence; "" if it does, or is being started.
    sender_problem: str = ""
    #: What works, but not as it should: events about hooks that do not reach the bus.
    sender_doubt: str = ""
    figures: HookFigures = field(default_factory=HookFigures)

    @property
    def warnings(self) -> list[str]:
        """Return what /ready warns of, as sentences."""
        return [each for each in (self.sender_problem, self.figures.problem, self.sender_doubt) if each]


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
    #: A `sourcepulse_web.process.hooks` Hooks: what is known of the sender, and all hooks together.
    webhooks: Any = None
