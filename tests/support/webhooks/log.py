# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Shorthands for tests at the queues of hooks."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from sourcepulse.events.event import Event
from sourcepulse_web.webhooks.hook import Hook
from sourcepulse_web.webhooks.store.log.redelivery import Meant
from sourcepulse_web.webhooks.store.queues import HookQueues
from sourcepulse_web.webhooks.store.records import Held
from support.brokers.embedded_log import log_url, publish_events, push_event

EXCHANGE = "sourcepulse"
LOOKS_MAX = 1_000

#: Leases events of a hook in a process of its own, prints their positions, and waits to be killed.
HOLDER = """
import sys, time
from pathlib import Path
from sourcepulse_web.webhooks.store.queues import HookQueues
log, name, room = sys.argv[1:]
queues = HookQueues(Path(log), "sourcepulse")
print(*[each.position for each in queues.look(name, int(room))], flush=True)
queues.settle(name, [1])
print("settled", flush=True)
time.sleep(1000)
"""


def hook(name: str = "chat-room", *topics: str, owner: str = "alice@example.org") -> Hook:
    return Hook(name=name, url=f"https://{name}.example.org/", topics=topics or ("hg.push.#",), owner=owner)


def send(folder: Path, *events: Event) -> None:
    """Publish in one commit to the log of a folder."""
    publish_events(log_url(folder), *events, exchange=EXCHANGE)


def send_pushes(folder: Path, numbers: Iterable[int], *, repo: str = "repo") -> None:
    """Publish pushes in one commit, each with its number."""
    send(folder, *[push_event(number, source=f"hg://host/{repo}", words=(repo,)) for number in numbers])


def all_of(queues: HookQueues, name: str, room: int = 10_000) -> list[Held]:
    """Look until nothing more is leased."""
    found: list[Held] = []
    for _ in range(LOOKS_MAX):
        leased = queues.look(name, room - len(found))
        found += leased
        if not leased and not queues.look(name, room - len(found)):
            break
    return found


def positions(held: Sequence[Held]) -> list[int]:
    return [each.position for each in held]


def again(queues: HookQueues, name: str, asked: Iterable[int]) -> int:
    """Send events again that the log has at some positions, and return how many are."""
    with closing(sqlite3.connect(queues.path)) as db:
        rows = db.execute("SELECT source, id, position FROM envelopes").fetchall()
    known = {row[2]: Meant(*row) for row in rows}
    return sum(
        queues.again_event(name, known.get(each, Meant("hg://host/none", "none", each))).events for each in asked
    )


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a script in a process of its own, which the caller kills."""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True, env=environ)
