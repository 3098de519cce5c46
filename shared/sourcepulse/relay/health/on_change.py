# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run the operator's command when the condition of a stream changes: it works while the broker is away."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sourcepulse.config import ENVIRONMENT_PREFIX, URLS
from sourcepulse.errors import ConfigError

#: How long the command may run; then it is killed with all that it started.
LIMIT_SECONDS = 30.0
#: The same once the relay is to end.
STOP_LIMIT_SECONDS = 2.0
POLL_SECONDS = 0.05
#: A killed process that waits for a dead disk or mount does not end.
KILLED_LIMIT_SECONDS = 2.0
#: What is not passed on: it may contain a password, or is between us and systemd.
_OURS = {
    *(ENVIRONMENT_PREFIX + name.upper() for name in URLS),
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
}

logger = logging.getLogger(__name__)


class OnChange:
    """Runs one command, without a shell, with RELAY_STATE, RELAY_REASON, RELAY_STREAM and RELAY_OUTBOX."""

    def __init__(self, command: str, outbox: Path, *, limit_s: float = LIMIT_SECONDS) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"on_change cannot be read: {error}") from None
        if not self._words:
            raise ConfigError("on_change is empty; name a program and its arguments")
        self._outbox = outbox
        self._limit_s = limit_s

    def run(self, state: str, reason: str, stream: str, *, stop: threading.Event) -> None:
        """Run the command and wait for it, within a limit; log what fails, never raise."""
        try:
            process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                # Its output goes where the relay logs, for example to the journal.
                env=self._environment(os.environ, state, reason, stream),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            logger.error("on_change: %s cannot be run: %s", self._words[0], why)
            return
        code = _wait(process, self._limit_s, stop)
        if code is None:
            logger.error("on_change: %s did not end and was killed", self._words[0])
        elif code:
            logger.error("on_change: %s ended with code %d", self._words[0], code)

    def _environment(self, environ: Mapping[str, str], state: str, reason: str, stream: str) -> dict[str, str]:
        kept = {name: value for name, value in environ.items() if name not in _OURS}
        return kept | {
            "RELAY_STATE": state,
            "RELAY_REASON": reason,
            "RELAY_STREAM": stream,
            "RELAY_OUTBOX": str(self._outbox),
        }


def _wait(process: subprocess.Popen[bytes], limit_s: float, stop: threading.Event) -> int | None:
    """Return the exit code, or None after the process was killed."""
    until = time.monotonic() + limit_s
    while (code := process.poll()) is None:
        if stop.is_set():
            until = min(until, time.monotonic() + STOP_LIMIT_SECONDS)
        if time.monotonic() >= until:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(KILLED_LIMIT_SECONDS)
            return None
        time.sleep(POLL_SECONDS)
    return code
