# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer in a process of its own, which a test can kill."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from support.brokers.messages import WAIT_SECONDS
from support.forked_module import module_server


class Child:
    """A consumer in a process of its own, see `consumer_child.py`."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        try:
            process = module_server().start(
                "support.brokers.consumer_child",
                [json.dumps(options)],
                fds=(null, writer, 2),
                environ={**os.environ, "BROKER_URL": url},
            )
        finally:
            os.close(null)
            os.close(writer)
        assert process is not None, "a variable that Python reads at its start was changed"
        self._process = process
        self._printed = os.fdopen(reader, encoding="utf-8")

    def lines(self, count: int) -> list[str]:
        """Read so many lines of what it prints; pytest's own timeout bounds the wait."""
        return [self._printed.readline().strip() for _ in range(count)]

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._process.kill()
        self._process.wait(WAIT_SECONDS)

    def end(self) -> tuple[int, list[str]]:
        """Wait until it ends by itself; give its exit code and the rest of what it printed."""
        said = self._printed.read().split()
        return self._process.wait(WAIT_SECONDS), said

    def close(self) -> None:
        """End it for good."""
        self._process.kill()
        self._process.wait(WAIT_SECONDS)
        self._printed.close()
