# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The relays that hooks started, found and ended by their process ids."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_LIMIT_SECONDS = 30.0


def relays(outbox: Path) -> list[int]:
    """Return the processes whose arguments name this outbox, apart from hg."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"relay" in arguments and os.fsencode(outbox) in arguments and b"sh" not in arguments[:1]:
                found.append(int(folder.name))
    return found


@contextmanager
def relay_of(outbox: Path) -> Iterator[int]:
    """Wait for the relay of an outbox and end it afterwards."""
    limit = time.monotonic() + _START_LIMIT_SECONDS
    while not (found := relays(outbox)):
        assert time.monotonic() < limit, "no relay came"
        time.sleep(0.05)
    try:
        yield found[0]
    finally:
        for relay in relays(outbox):
            os.kill(relay, signal.SIGTERM)
        while relays(outbox) and time.monotonic() < limit:
            time.sleep(0.05)
