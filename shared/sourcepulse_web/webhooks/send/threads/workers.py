# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Threads that do one call after another, for what blocks: POSTs, and questions about visibility."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from sourcepulse.errors import SourcePulseError

logger = logging.getLogger(__name__)


class Workers:
    """At most `most` threads, each started when all others are busy. Calls are made in the order of `submit`.

    >>> posts = Workers("post", 64)
    >>> if posts.free:
    ...     posts.submit(lambda: results.put(poster.post(hook, secrets, webhook_id, body, now)))
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._busy = 0

    @property
    def free(self) -> int:
        """How many calls could begin at once."""
        with self._lock:
            return max(0, self._most - self._busy)

    def submit(self, call: Callable[[], None]) -> None:
        """Make a call in a thread, as soon as one is free."""
        with self._lock:
            self._busy += 1
            if self._busy > len(self._threads) and len(self._threads) < self._most:
                thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
                self._start(thread)
        self._calls.put(call)

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:
            if self._threads:
                # The call waits for one of those.
                return
            self._busy -= 1
            raise SourcePulseError(f"no thread can be started ({error}); allow the sender more processes") from None
        self._threads.append(thread)

    def stop(self, limit_s: float) -> bool:
        """End the threads after the calls that were submitted, and return whether they ended within the limit."""
        deadline = time.monotonic() + limit_s
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception:
                # The thread serves other hooks as well.
                logger.exception("a call of a %s thread failed", self._name)
            finally:
                with self._lock:
                    self._busy -= 1
