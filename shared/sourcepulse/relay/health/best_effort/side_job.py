# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A job at intervals, in a thread that the relay never waits for without a limit: it may hang for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

#: From then on a job hangs.
HANGS_SECONDS = 20.0
#: How long the relay waits for the last run when it ends.
FINISH_LIMIT_SECONDS = 3.0

logger = logging.getLogger(__name__)


class SideJob:
    """Runs `run` each `every_s` seconds and when the relay ends, one run at a time; both callables log what fails.

    `hangs` is called once, in another thread as well, for a run that takes longer than `hangs_s`.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], None],
        *,
        every_s: float,
        hangs: Callable[[], None],
        hangs_s: float = HANGS_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._run = run
        self._every_s = every_s
        self.hangs = hangs
        self._hangs_s = hangs_s
        self._clock = clock
        self._began_at = self._due_at = clock()
        self._is_reported = False
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin a run if it is time to; returns at once."""
        now = self._clock()
        if self.is_running():
            if not self._is_reported and now - self._began_at > self._hangs_s:
                self._is_reported = True
                self._in_thread(self.hangs)
        elif now >= self._due_at:
            self._begin(now)

    def finish(self, limit_s: float = FINISH_LIMIT_SECONDS) -> None:
        """Run once more; after the limit the run goes on alone."""
        until = time.monotonic() + limit_s
        self._wait(until)
        if not self.is_running():
            self._begin(self._clock())
            self._wait(until)
        if self.is_running():
            logger.warning("the relay does not wait any longer for its thread for %s", self._name)

    def is_running(self) -> bool:
        """Return whether a run has not ended yet."""
        return self._thread is not None and self._thread.is_alive()

    def _begin(self, now: float) -> None:
        self._began_at, self._due_at = now, now + self._every_s
        self._is_reported = False
        self._thread = self._in_thread(self._run)

    def _wait(self, until: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, until - time.monotonic()))

    def _in_thread(self, call: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - delivery goes on whatever it is
                logger.warning("the relay's thread for %s failed: %r", self._name, error)

        thread = threading.Thread(target=guarded, name=self._name, daemon=True)
        thread.start()
        return thread
