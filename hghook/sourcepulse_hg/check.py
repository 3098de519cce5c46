# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`hg sourcepulse-check`: whether what happens in this repository is published, and what keeps it from that."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sourcepulse.errors import SourcePulseError
from sourcepulse.event import PUBLIC, RESTRICTED
from sourcepulse.outbox import Outbox
from sourcepulse.relay import is_relayed
from sourcepulse_hg.relay_start import failure_of_last_start
from sourcepulse_hg.settings import DEFAULT_OUTBOX, Settings, read_settings, silence

#: How long a broker may take to accept a connection.
CONNECT_LIMIT_SECONDS = 5.0


class Finding(NamedTuple):
    """One line: what was looked at, what was found, whether that is well."""

    what: str
    found: str
    well: bool = True


def check(ui: Any, repo: Any) -> int:
    """Print what was found; 0 if events are published, 1 if something keeps them from it."""
    findings = list(_findings(read_settings(repo)))
    for what, found, well in findings:
        mark = "ok" if well else "no"
        ui.write(f"{mark:3}{what:12}{found}\n".encode("utf-8", "surrogateescape"))
    return 0 if all(finding.well for finding in findings) else 1


def _findings(settings: Settings) -> Iterator[Finding]:
    yield Finding("extension", "loaded")
    for problem in settings.problems:
        yield Finding("settings", problem, well=False)
    if settings.mirror:
        yield Finding("name", f"{os.fsdecode(settings.name)}, a mirror: what it pulls is published")
    elif settings.published:
        kind = "restricted" if settings.restricted else "public"
        yield Finding("name", f"{settings.source}/{os.fsdecode(settings.name)} ({kind})")
    else:
        yield Finding("name", f"nothing is published: {silence(settings)}", well=False)
    yield from _of_outbox(settings)
    yield from _of_broker(settings)


def _of_outbox(settings: Settings) -> Iterator[Finding]:
    path = Path(os.fsdecode(settings.outbox))
    if not path.exists():
        # The hook makes the folder in `.hg`, and no other.
        is_default = settings.outbox == os.path.join(settings.dot_hg, DEFAULT_OUTBOX)
        folder = path.parent.parent if is_default and not path.parent.exists() else path.parent
        writable = os.access(folder, os.W_OK)
        found = "the first push makes it" if writable else f"and {path.parent} is missing or not ours to write to"
        yield Finding("outbox", f"{path} is not there yet: {found}", well=writable)
        return
    try:
        with Outbox.open(path, create=False) as outbox:
            with outbox.writing(durable=False):
                pass
            yield Finding("outbox", f"{path} can be written to")
            trouble = outbox.trouble(RESTRICTED if settings.restricted else PUBLIC)
    except SourcePulseError as error:
        yield Finding("outbox", str(error), well=False)
        return
    if trouble is not None:
        yield Finding("events", f"{trouble.waiting} wait: {trouble.error}", well=False)
    if is_relayed(path):
        yield Finding("relay", "running")
    else:
        failure = failure_of_last_start(settings.outbox)
        said = "not running; a push starts it" if settings.start_relay else "not running, and relay = off"
        yield Finding("relay", failure or said, well=failure is None and settings.start_relay)


def _of_broker(settings: Settings) -> Iterator[Finding]:
    # As the relay reads it.
    from sourcepulse import config
    from sourcepulse.brokers.bounded_socket import resolve

    if settings.broker is None and settings.broker_file is None:
        yield Finding("broker", "none is set: events stay in the outbox", well=not settings.start_relay)
        return
    file = None if settings.broker_file is None else os.fsdecode(settings.broker_file)
    try:
        url = config.load({"broker_file": file} if file else {"broker": settings.broker}, environ={}).broker()
    except SourcePulseError as error:
        yield Finding("broker", str(error), well=False)
        return
    assert url is not None  # noqa: S101 - it is set
    if url.scheme == "file":
        well = os.access(Path(url.path).parent, os.W_OK)
        yield Finding("broker", f"{url}{'' if well else ': its folder is missing or not ours to write to'}", well=well)
        return
    for host, port in url.hosts:
        try:
            _, address = resolve(host, port, time.monotonic() + CONNECT_LIMIT_SECONDS)[0]
            socket.create_connection(address[:2], timeout=CONNECT_LIMIT_SECONDS).close()
        except OSError as error:
            yield Finding("broker", f"{url}: {host}:{port} cannot be reached: {error}", well=False)
        else:
            yield Finding("broker", f"{url}: {host}:{port} takes connections")
            return
