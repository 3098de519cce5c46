# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Pass on the standard error of a process, line by line, with a limit on the number of lines."""

from __future__ import annotations

from collections.abc import Callable

from sourcepulse.cli.lines import plain

LINE_MAX_BYTES = 500
#: Each period, at most LINES_PER_PERIOD lines are passed on; the rest is only counted.
PERIOD_SECONDS = 60.0
LINES_PER_PERIOD = 50
#: How many lines an error about the process quotes.
LAST_LINES = 2


class StderrLines:
    """Splits bytes into lines and calls `warn` with each; `clock` returns monotonic seconds."""

    def __init__(self, warn: Callable[[str], None], *, clock: Callable[[], float]) -> None:
        self._warn = warn
        self._clock = clock
        self._part = b""
        self._since = clock()
        self._passed = self._left_out = 0
        #: The last lines, whether or not they were passed on.
        self.last: list[str] = []

    def add(self, chunk: bytes) -> None:
        """Process a chunk that was read."""
        *lines, self._part = (self._part + chunk).split(b"\n")
        for line in lines:
            self._line(line)
        # The rest of an overlong line is dropped as it arrives.
        self._part = self._part[:LINE_MAX_BYTES]

    def end(self) -> None:
        """Pass on the last, unterminated line, and the number of lines left out."""
        self._line(self._part)
        self._part = b""
        self._report_left_out()

    def _line(self, line: bytes) -> None:
        text = plain(line[:LINE_MAX_BYTES].decode("utf-8", "replace").strip())
        if not text:
            return
        self.last = [*self.last, text][-LAST_LINES:]
        now = self._clock()
        if now - self._since > PERIOD_SECONDS:
            self._report_left_out()
            self._since, self._passed = now, 0
        if self._passed < LINES_PER_PERIOD:
            self._passed += 1
            self._warn(text)
        else:
            self._left_out += 1

    def _report_left_out(self) -> None:
        if self._left_out:
            self._warn(f"... and {self._left_out} more lines")
            self._left_out = 0
