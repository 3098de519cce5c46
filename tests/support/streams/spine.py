# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The whole way, for tests: a server repository with a broker in its hgrc, a consumer, and the relay in between."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sourcepulse.consumer.consumer import Consumer
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, rows
from sourcepulse.relay.health.liveness import lock_path
from sourcepulse.relay.relay import is_relayed
from support.hg.sites import Repository, Site

ARRIVAL_LIMIT_SECONDS = 90.0
KILL_LIMIT_SECONDS = 30.0


def publishing_server(site: Site, url: str, name: str = "server") -> Repository:
    """Make a repository whose hook starts a relay to this broker; the URL is in a private file."""
    secret = site.folder / "broker-url"
    secret.write_text(url, encoding="utf-8")
    secret.chmod(0o600)
    return site.server(name, keys=f"broker_file = {secret}\nsource = hg://host")


@contextmanager
def relay_ended(outbox: Path) -> Iterator[None]:
    """End the relay of an outbox when the test is over, even if the test did not start it itself."""
    try:
        yield
    finally:
        deadline = time.monotonic() + 30
        while is_relayed(outbox) and time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                os.kill(int(lock_path(outbox).read_text()), signal.SIGKILL)
            time.sleep(0.05)


def kill_relay(outbox: Path) -> None:
    """Kill the relay of an outbox, if one runs, and wait until the next push can start another."""
    deadline = time.monotonic() + KILL_LIMIT_SECONDS
    with suppress(OSError, ValueError):
        killed = lock_path(outbox).read_text()
        while is_relayed(outbox) and lock_path(outbox).read_text() == killed and time.monotonic() < deadline:
            os.kill(int(killed), signal.SIGKILL)
            time.sleep(0.01)


def receive(consumer: Consumer, count: int, limit_s: float = ARRIVAL_LIMIT_SECONDS) -> list[Event]:
    """Receive `count` events, or as many as come in time."""
    deadline = time.monotonic() + limit_s
    events: list[Event] = []
    while len(events) < count and (event := consumer.receive(max(0.0, deadline - time.monotonic()))) is not None:
        consumer.acknowledge()
        events.append(event)
    return events


def wait_until_delivered(outbox: Path, limit_s: float = ARRIVAL_LIMIT_SECONDS) -> None:
    """Wait until the relay has nothing left."""
    deadline = time.monotonic() + limit_s
    with Outbox.open(outbox, create=False) as opened:
        while opened.claim("public", limit=1):
            assert time.monotonic() < deadline, rows(opened, Selection(state="pending"))[:3]
            time.sleep(0.1)
