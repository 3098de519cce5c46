# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Report the state of the service to systemd (sd_notify(3)); without systemd every call does nothing."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

#: How often the watchdog is notified within its own limit.
PINGS_PER_LIMIT = 3


class ServiceManager:
    """The socket at $NOTIFY_SOCKET, if there is one. While `is_well` returns False the watchdog is not notified."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        is_well: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_well = is_well
        self._clock = clock
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        limit_us = environ.get("WATCHDOG_USEC", "")
        is_for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._ping_s = int(limit_us) / 1e6 / PINGS_PER_LIMIT if limit_us.isdecimal() and is_for_us else None
        self._pinged_at = clock()
        self._is_ready = False
        self._sentence = ""

    @property
    def is_listening(self) -> bool:
        """Return whether a service manager started this process and waits for its reports."""
        return bool(self._address)

    def ready(self) -> None:
        """Report that the service works; once is enough."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1")

    def status(self, sentence: str) -> None:
        """Report the state in a line; `systemctl status` shows it."""
        if sentence != self._sentence:
            self._sentence = sentence
            self._send("STATUS=" + " ".join(sentence.split()))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Notify the watchdog if it is time to; cheap to call."""
        now = self._clock()
        if self._ping_s is not None and now - self._pinged_at >= self._ping_s and self._is_well():
            self._pinged_at = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen must not block us.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.setblocking(False)
            notify.sendto(text.encode(), self._address)
