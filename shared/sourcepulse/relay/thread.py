# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Run the relay in a thread of another program, such as the Buildbot master."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from sourcepulse.config import Config
from sourcepulse.errors import RelayRunningError, SourcePulseError
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.liveness import LOOP_MAX_SECONDS
from sourcepulse.relay.health.second_relay import note_second_relay

#: The wait after a relay ended or failed to start.
RETRY_SECONDS = 10.0
#: How long the process waits for the relay at exit; the next relay sends what the broker has not confirmed by then.
STOP_LIMIT_SECONDS = 5.0


class RelayThread:
    """Relays until stopped; if another relay serves the outbox, waits until that one ends.

    The thread calls `warn` with sentences for the log of the process. With `rebind` a stream may move to another
    broker.
    """

    def __init__(
        self,
        outbox: Path,
        config: Config,
        *,
        warn: Callable[[str], None],
        rebind: bool = False,
        loop_max_s: float = LOOP_MAX_SECONDS,
    ) -> None:
        self._loop_max_s = loop_max_s
        self._outbox = outbox
        self._config = config
        self._rebind = rebind
        self._warn = warn
        self._stopping = threading.Event()
        #: When the loops of the relay turned, None while it does not run.
        self._turned_at: float | None = None
        # A relay sets its own when it fails.
        self._stop_relay = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sourcepulse-relay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the relay; blocks for at most STOP_LIMIT_SECONDS."""
        self._stopping.set()
        self._stop_relay.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_LIMIT_SECONDS)

    def hangs(self) -> bool:
        """Return whether the relay runs, but its delivering loops have not turned for longer than they may need."""
        turned_at = self._turned_at
        return turned_at is not None and time.monotonic() - turned_at > self._loop_max_s

    def _turn(self) -> None:
        self._turned_at = time.monotonic()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stop_relay.clear()
            if self._stopping.is_set():
                return
            try:
                with open_relay(
                    self._outbox, self._config, self._stop_relay, rebind=self._rebind, turned=self._turn
                ) as relay:
                    self._turn()
                    relay.run()
            except RelayRunningError:
                note_second_relay(self._outbox)
            except SourcePulseError as error:
                self._warn(f"the relay does not run: {error}")
            except Exception as error:  # noqa: BLE001 - a relay that ends silently would go unnoticed
                self._warn(f"the relay failed: {type(error).__name__}")
            finally:
                self._turned_at = None
            self._stopping.wait(RETRY_SECONDS)
