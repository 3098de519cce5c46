# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A progress bar on the terminal of long work; without a terminal it writes nothing."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Self, TextIO

#: Work that ends sooner shows no bar.
FIRST_AFTER_SECONDS = 0.5
EVERY_SECONDS = 0.1
BAR_CHARACTERS = 30

_CLEAR = "\r\x1b[K"


class Progress:
    """A bar that shows how much is done, and is gone when the work ends; pass the object to what calls it.

    with Progress("copying") as progress:
        backup(outbox, target, progress=progress)
    """

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._shows = self._stream is not None and self._stream.isatty()
        self._next_at = time.monotonic() + FIRST_AFTER_SECONDS
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def __call__(self, done: int, total: int) -> None:
        """Draw the bar, at most ten times a second."""
        now = time.monotonic()
        if not self._shows or now < self._next_at:
            return
        self._next_at = now + EVERY_SECONDS
        # The size is asked for each time, because the terminal may be resized meanwhile.
        width = shutil.get_terminal_size().columns - 1
        self._stream.write(_CLEAR + self._line(done, max(done, total, 1))[:width])
        self._stream.flush()
        self._drawn = True

    def _line(self, done: int, total: int) -> str:
        filled = BAR_CHARACTERS * done // total
        bar = "#" * filled + "." * (BAR_CHARACTERS - filled)
        return f"{self._what} [{bar}] {100 * done // total} %"
