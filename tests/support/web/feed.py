# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a test waits for while pages and programs listen to a gateway."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from support.web.gateway import Gateway

WAIT_SECONDS = 30.0
AGAIN_SECONDS = 0.05


def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it does not hold"
        time.sleep(AGAIN_SECONDS)


def streams(gateway: Gateway) -> int:
    """Return how many streams the gateway serves."""
    found = re.findall(r"^sourcepulse_web_clients\{[^}]*\} (\d+)$", gateway.get("/metrics").text, re.MULTILINE)
    return sum(map(int, found))
