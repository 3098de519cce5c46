# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Reads a long log for the board, slice by slice between everything else that the reactor does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from sourcepulse.brokers.file.tables import LogBusyError
from sourcepulse.errors import SourcePulseError
from sourcepulse_web.board.board import Board

#: How often a board that is level is looked at, and the pause after a log that could not be read.
LOOK_SECONDS, TROUBLE_SECONDS = 0.05, 1.0
#: The pause after a log that another program had locked.
BUSY_SECONDS = 0.25

logger = logging.getLogger(__name__)


class Reading:
    """Has the board read on while something is left; `level` is called when nothing is any more."""

    def __init__(self, board: Board, reactor: Any, level: Callable[[], None]) -> None:
        self._board = board
        self._reactor = reactor
        self._level = level
        self._problem = ""
        self._pauses = 0

    def turn(self) -> None:
        """Read one slice if there is something to read, and come back."""
        began = time.perf_counter()
        pause = LOOK_SECONDS
        try:
            if not self._board.is_level():
                self._board.read_on()
                # For so long the streams have the reactor.
                pause = time.perf_counter() - began
            # A page that asks may have read the rest.
            if self._board.is_level() and self._pauses != self._board.pauses:
                self._pauses = self._board.pauses
                self._level()
            self._problem = ""
        except LogBusyError:
            # Pages say so, and the streams go on.
            pause = BUSY_SECONDS
        except SourcePulseError as error:
            if str(error) != self._problem:
                logger.error("the board cannot read the log: %s", error)
            self._problem = str(error)
            pause = TROUBLE_SECONDS
        self._reactor.callLater(pause, self.turn)
