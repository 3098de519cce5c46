# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run the relay as a separate process, restarted when it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import defer, protocol
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.python.failure import Failure

from sourcepulse.config import ENVIRONMENT_PREFIX

RETRY_SECONDS = 10.0
#: A relay that was asked to end is killed after this time.
STOP_LIMIT_SECONDS = 5.0


class RelayProcess(protocol.ProcessProtocol):
    """Runs `sourcepulse relay` until stopped; its output goes to the log of the master.

    The URL of the broker is passed in the environment, where only the same user can see it.
    """

    def __init__(
        self, reactor: Any, outbox: Path, *, broker: str, exchange: str, format_: str, tell: Callable[[str], None]
    ) -> None:
        self._reactor = reactor
        self._arguments = [
            *(sys.executable, "-m", "sourcepulse.cli", "relay", "--outbox", str(outbox)),
            *("--exchange", exchange, "--format", format_),
        ]
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)
        } | {f"{ENVIRONMENT_PREFIX}BROKER": broker}
        self._tell = tell
        self._again: Any = None
        self._stopped: defer.Deferred[None] | None = None
        self._said = b""

    def start(self) -> None:
        """Start the relay."""
        self._again = None
        self._reactor.spawnProcess(self, sys.executable, self._arguments, env=self._environment, path=None)

    def stop(self) -> defer.Deferred[None]:
        """Stop the relay; the deferred fires when it has ended."""
        stopped: defer.Deferred[None] = defer.Deferred()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self.transport is None or self._transport().pid is None:
            stopped.callback(None)
            return stopped
        self._stopped = stopped
        self._signal("TERM")
        kill = self._reactor.callLater(STOP_LIMIT_SECONDS, self._signal, "KILL")

        def ended(_: object) -> None:
            if kill.active():
                kill.cancel()

        return stopped.addCallback(ended)

    def errReceived(self, data: bytes) -> None:  # noqa: N802 - the name that Twisted calls
        """Log what the relay writes to stderr, line by line."""
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            self._tell(line.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - the name that Twisted calls
        """Restart the relay after a while, unless it was asked to end."""
        if self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)
            return
        if not isinstance(reason.value, ProcessDone):
            self._tell(f"the relay ended: {reason.getErrorMessage()}")
        self._again = self._reactor.callLater(RETRY_SECONDS, self.start)

    def _transport(self) -> Any:
        # Twisted's interface of it is declared in a way that mypy cannot read.
        return self.transport

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            self._transport().signalProcess(name)
