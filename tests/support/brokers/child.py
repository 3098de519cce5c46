# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer in a process of its own, which a test can kill."""

from __future__ import annotations

import signal
import subprocess

from support.brokers.messages import WAIT_SECONDS

#: A consumer in a process of its own: prints each event that it begins to handle, and ends as the test asks.
CHILD = """
import json, os, sys, time
from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits
options = json.loads(sys.argv[1])
dies_at, hangs_at = options.pop("dies_at"), options.pop("hangs_at")
limits = QueueLimits(**options.pop("limits"))
with Consumer(os.environ["BROKER_URL"], limits=limits, **options) as consumer:
    print("ready", flush=True)
    for event in consumer:
        number = event.data["number"]
        print(number, flush=True)
        if number == dies_at:
            os._exit(1)
        if number == hangs_at:
            time.sleep(1000)
print("left", flush=True)
"""


class Child:
    """A consumer in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def lines(self, count: int) -> list[str]:
        """Read so many lines of what it prints; pytest's own timeout bounds the wait."""
        assert self._process.stdout is not None
        return [self._process.stdout.readline().strip() for _ in range(count)]

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(WAIT_SECONDS)

    def end(self) -> tuple[int, list[str]]:
        """Wait until it ends by itself; give its exit code and the rest of what it printed."""
        assert self._process.stdout is not None
        said = self._process.stdout.read().split()
        return self._process.wait(WAIT_SECONDS), said

    def close(self) -> None:
        """End it for good."""
        self._process.kill()
        self._process.wait(WAIT_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
