# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Warn when the broker's host name cannot be resolved: the relay would wait for a silent name server without limit."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

#: A lookup that takes longer is logged.
ANSWER_SECONDS = 15.0
#: How long the thread waits between two lookups.
AGAIN_SECONDS = 300.0


class NameWatch:
    """Resolves the hosts of a broker in a thread of its own, and reports once which of them has no answer.

    `warn` is called from a thread. A lookup that fails at once is reported by the relay, which tries the same.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        warn: Callable[[str], None],
        resolve: Callable[[str], object] = lambda host: socket.getaddrinfo(host, None),
        answer_s: float = ANSWER_SECONDS,
    ) -> None:
        self._hosts = hosts
        self._warn = warn
        self._resolve = resolve
        self._answer_s = answer_s
        self._stopping = threading.Event()

    def start(self) -> None:
        if self._hosts:
            threading.Thread(target=self._run, name="sourcepulse-names", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread; a lookup that hangs is abandoned."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for host in self._hosts:
                self._look(host)
            self._stopping.wait(AGAIN_SECONDS)

    def _look(self, host: str) -> None:
        answered = threading.Event()

        def resolve() -> None:
            with suppress(OSError, UnicodeError):
                self._resolve(host)
            answered.set()

        threading.Thread(target=resolve, name="sourcepulse-name", daemon=True).start()
        if answered.wait(self._answer_s) or self._stopping.is_set():
            return
        self._warn(
            f"no name server has answered for {host}, the host of the broker, for {self._answer_s:.0f} s; "
            "events wait in the outbox until the name is resolved"
        )
        while not self._stopping.is_set() and not answered.wait(1.0):
            pass
