# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whether events arrive: measured at the log, the bridge and the settings, at most twice a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.errors import SourcePulseError
from sourcepulse.events.event import format_time
from sourcepulse_web.bridge.bridge import Bridge
from sourcepulse_web.bridge.state import BridgeState
from sourcepulse_web.services import Condition

#: How long a measurement holds; pages and streams ask often.
HOLDS_SECONDS = 0.5


class Measure:
    """Measures the condition; called in the reactor's thread.

    `position` returns how far the gateway has read, `unread` why it cannot read on, `problem` why the settings of the
    file are not in effect, `board` how much of the log the board has read if that is not all.
    """

    def __init__(
        self,
        log: LogReader,
        bridge: Bridge | None,
        *,
        position: Callable[[], int],
        unread: Callable[[], str],
        problem: Callable[[], str],
        board: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._bridge = bridge
        self._position = position
        self._unread = unread
        self._problem = problem
        self._board = board
        self._clock = clock
        self._measured_at = -HOLDS_SECONDS
        self._condition = Condition()

    def __call__(self) -> Condition:
        """Return the condition of this moment."""
        now = time.monotonic()
        if now >= self._measured_at + HOLDS_SECONDS:
            self._condition = self._measure()
            self._measured_at = now
        return self._condition

    def _measure(self) -> Condition:
        late_s, log_problem, board_behind = 0.0, self._unread(), ""
        try:
            late_s = self._late_s()
            board_behind = self._board()
        except SourcePulseError as error:
            # Who follows the log closes it then, and opens the new one where it was replaced.
            log_problem = str(error)
        if self._bridge is None:
            return Condition(
                late_s=late_s, log_problem=log_problem, settings_problem=self._problem(), board_behind=board_behind
            )
        state = self._bridge.state.now
        return Condition(
            connected=state.connected,
            since=None if state.connected else state.since,
            reason=state.reason,
            doubt="; ".join(each for each in (state.doubt, _set_aside(state), _interrupted(state)) if each),
            late_s=late_s,
            log_problem=log_problem or state.log_problem,
            settings_problem=self._problem(),
            board_behind=board_behind,
        )

    def _late_s(self) -> float:
        """Return for how long the oldest event that was not read yet has been in the log."""
        position = self._position()
        if self._log.bounds().end <= position:
            return 0.0
        rows = self._log.read(position, limit=1)
        return max(0.0, self._clock() - rows[0].at) if rows else 0.0


def _set_aside(state: BridgeState) -> str:
    if not state.rejected:
        return ""
    found = "messages that are not events went to the dead letters of the queue"
    return f"{found}: {state.rejected}, the last one: {state.rejection}"


def _interrupted(state: BridgeState) -> str:
    if not state.interruptions:
        return ""
    return (
        f"the broker's queue was removed or trimmed, the last time noticed at {format_time(state.interrupted_at)}; "
        "events before that may be missing here"
    )
