# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""`hg sourcepulse-check`: check whether this repository publishes its events, and what prevents it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sourcepulse.cli.findings import Finding
from sourcepulse.errors import SourcePulseError
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.events.topics import routing_key
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.relay import is_relayed
from sourcepulse_hg.pending.collect import find_repository, is_committed
from sourcepulse_hg.pending.relay_start import failure_of_last_start, find_program, no_program, relay_environment
from sourcepulse_hg.pending.relayed import is_relayed_here
from sourcepulse_hg.settings import DEFAULT_OUTBOX, Settings, read_settings, silence

#: For the program that connects to the broker; each host of a URL may take ten seconds.
ASK_LIMIT_SECONDS = 60.0


def check(ui: Any, repo: Any) -> int:
    """Print the findings; returns 0 if events are published, 1 if something prevents it."""
    well = True
    for finding in _findings(read_settings(repo)):
        well = well and finding.well
        ui.write(f"{finding.line()}\n".encode("utf-8", "surrogateescape"))
    return 0 if well else 1


def _findings(settings: Settings) -> Iterator[Finding]:
    yield Finding("extension", "loaded")
    for problem in settings.problems:
        yield Finding("settings", problem, well=False)
    if settings.mirror:
        yield Finding("name", f"{os.fsdecode(settings.name)}, a mirror: it republishes the events of what it pulls")
    elif settings.published:
        kind = "restricted" if settings.restricted else "public"
        yield Finding("name", f"{settings.source}/{os.fsdecode(settings.name)} ({kind})")
    else:
        yield Finding("name", f"nothing is published: {silence(settings)}", well=False)
    yield from _of_first_copies(settings)
    yield from _of_outbox(settings)
    if settings.broker is not None or settings.broker_file is not None:
        yield from _of_broker(settings)
    elif settings.start_relay:
        yield Finding("broker", "neither broker nor broker_file is set: events stay in the outbox", well=False)
    else:
        yield Finding("broker", "none is set here; with relay = off the relay that you run publishes the events")


def _of_first_copies(settings: Settings) -> Iterator[Finding]:
    try:
        waiting = [first for first in find_repository(os.fsdecode(settings.dot_hg)).waiting() if is_committed(first)]
    except (OSError, SourcePulseError) as error:
        yield Finding("first copies", f"cannot be listed: {error}", well=False)
        return
    if waiting:
        way = "the next push brings them, or hg sourcepulse-recover"
        yield Finding("first copies", f"not in the outbox yet: {len(waiting)}; {way}", well=False)


def _of_outbox(settings: Settings) -> Iterator[Finding]:
    path = Path(os.fsdecode(settings.outbox))
    if not path.exists():
        # The hook creates the folder in `.hg`, but no other.
        is_default = settings.outbox == os.path.join(settings.dot_hg, DEFAULT_OUTBOX)
        folder = path.parent.parent if is_default and not path.parent.exists() else path.parent
        writable = os.access(folder, os.W_OK | os.X_OK)
        found = (
            "the first push creates it"
            if writable
            else f"the folder of the outbox {path} does not exist or is not writable for this user"
        )
        yield Finding("outbox", f"{path} does not exist yet: {found}", well=writable)
        if not settings.start_relay:
            yield Finding("relay", "with relay = off you run it; whether it does shows once the outbox exists")
        return
    try:
        with Outbox.open(path, create=False) as outbox:
            with outbox.writing(durable=False):
                pass
            yield Finding("outbox", f"{path} is writable")
            stream = RESTRICTED if settings.restricted else PUBLIC
            trouble, pending = outbox.trouble(stream), outbox.pending(stream)
    except SourcePulseError as error:
        if is_relayed_here(settings.outbox, settings.dot_hg):
            yield Finding(
                "outbox", f"{path} is not writable for this user, who needs no right: the relay collects here"
            )
            yield Finding("relay", "running")
        else:
            yield Finding("outbox", str(error), well=False)
        return
    if trouble is not None:
        yield Finding("events", f"{trouble.waiting} wait: {trouble.error}", well=False)
    yield _of_relay(path, settings, pending)


def _of_relay(path: Path, settings: Settings, pending: int) -> Finding:
    if is_relayed(path):
        return Finding("relay", "running")
    if (failure := failure_of_last_start(settings.outbox)) is not None:
        return Finding("relay", f"the last one started is not running: {failure}", well=False)
    if settings.start_relay:
        found = (
            f"not running, and {pending} events are pending: a push starts it"
            if pending
            else "not running; a push starts it"
        )
        return Finding("relay", found, well=not pending)
    found = "not running, and with relay = off pushes do not start one: run `sourcepulse relay`"
    return Finding("relay", found, well=False)


def _of_broker(settings: Settings) -> Iterator[Finding]:
    """Check the broker with the program `sourcepulse`, because only its Python has the libraries for that."""
    program = find_program()
    if program is None:
        yield Finding("program", no_program(), well=False)
        return
    key = routing_key("hg", "push", variable=settings.name.decode("utf-8", "surrogateescape").split("/"))
    ask = [program, "check", "--json", "--key", key]
    if os.path.exists(settings.outbox):
        ask += ["--outbox", os.fsdecode(settings.outbox)]
    try:
        done = subprocess.run(
            ask,
            env=relay_environment(broker=settings.broker, broker_file=settings.broker_file),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_LIMIT_SECONDS,
            check=False,
        )
        answers = [Finding(**json.loads(line)) for line in done.stdout.splitlines()]
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        yield Finding("program", f"{program} cannot be run: {error}", well=False)
        return
    brokers = [answer for answer in answers if answer.what.endswith("broker")]
    yield from brokers
    if settings.restricted and not any(answer.what == "restricted broker" for answer in brokers):
        missing = "none is set: events of this repository are restricted and stay in the outbox until a relay has one"
        yield Finding("restricted broker", missing, well=False)
    if not answers:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        last = said[-1].removeprefix("sourcepulse: ") if said else f"{program} exited with code {done.returncode}"
        yield Finding("broker", last, well=False)
