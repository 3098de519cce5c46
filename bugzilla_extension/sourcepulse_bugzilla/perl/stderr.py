# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pass on what a process says on standard error, line by line, but not more than a log can bear."""

from __future__ import annotations

from collections.abc import Callable

from sourcepulse.cli.lines import plain

LINE_MAX_BYTES = 500
#: So many lines are passed on in a period; of the rest only the number is told.
PERIOD_SECONDS = 60.0
LINES_PER_PERIOD = 50
#: What an error of the process quotes.
LAST_LINES = 2


class StderrLines:
    """Gathers bytes to lines and gives each to `tell`; `clock` gives monotonic seconds."""

    def __init__(self, tell: Callable[[str], None], *, clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._part = b""
        self._since = clock()
        self._told = self._untold = 0
        #: The last lines, whether they were passed on or not.
        self.last: list[str] = []

    def add(self, chunk: bytes) -> None:
        """Take what was read."""
        *lines, self._part = (self._part + chunk).split(b"\n")
        for line in lines:
            self._line(line)
        # The rest of a line that has no end is dropped as it comes.
        self._part = self._part[:LINE_MAX_BYTES]

    def end(self) -> None:
        """Pass on what had no end of line, and the number of what was left out."""
        self._line(self._part)
        self._part = b""
        self._tell_untold()

    def _line(self, line: bytes) -> None:
        text = plain(line[:LINE_MAX_BYTES].decode("utf-8", "replace").strip())
        if not text:
            return
        self.last = [*self.last, text][-LAST_LINES:]
        now = self._clock()
        if now - self._since > PERIOD_SECONDS:
            self._tell_untold()
            self._since, self._told = now, 0
        if self._told < LINES_PER_PERIOD:
            self._told += 1
            self._tell(text)
        else:
            self._untold += 1

    def _tell_untold(self) -> None:
        if self._untold:
            self._tell(f"... and {self._untold} more lines")
            self._untold = 0
