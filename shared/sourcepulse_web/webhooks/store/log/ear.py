# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How the sender waits: for a wake of the log's publishers, for a call of `ring`, or until it is time to look again."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sourcepulse.wake.listener import Listener
from sourcepulse.wake.pace import Pace

#: The time between two looks at the log while its publishers send wakes, and while they do not.
POLL_ANNOUNCED_SECONDS = 0.25
POLL_SECONDS = 0.05


class Ear:
    """Waits for news of the log; `has_news` is asked at each end of a pause, and never raises."""

    def __init__(self, has_news: Callable[[], bool]) -> None:
        self._has_news = has_news
        self._pace = Pace()
        self._listener: Listener | None = None
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._ring.setblocking(False)
        self._deaf = Listener(Path("/nowhere"), without="")

    def listen(self, path: Path) -> None:
        """Listen for wakes at a path, in place of a former one."""
        self.forget()
        self._listener = Listener(path, without="the log is polled instead")
        self.renew()

    def renew(self) -> None:
        """Listen again if the socket was removed."""
        if self._listener is not None and self._listener.open():
            self._listener.share()

    def forget(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def wait(self, seconds: float) -> bool:
        """Wait until there is news or `ring` is called; return whether that was so."""
        deadline = time.monotonic() + seconds
        while True:
            listener = self._listener or self._deaf
            is_announced = listener.is_open and self._pace.is_announced
            pause = POLL_ANNOUNCED_SECONDS if is_announced else POLL_SECONDS
            woken = bool(listener.wait(max(0.0, min(pause, deadline - time.monotonic())), self._bell))
            rung = self._was_rung()
            self._pace.waited(woken=woken)
            if self._has_news():
                self._pace.found_work()
                return True
            if woken or rung:
                return True
            if time.monotonic() >= deadline:
                return False

    def ring(self) -> None:
        """End a wait that is going on, or else the next one; any thread may call it."""
        with suppress(OSError):
            self._ring.send(b"1")

    def close(self) -> None:
        """Stop listening for good."""
        self.forget()
        self._bell.close()
        self._ring.close()

    def _was_rung(self) -> bool:
        with suppress(OSError):
            return bool(self._bell.recv(1_000))
        return False
