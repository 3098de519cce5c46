# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an update of a bug costs with the extension, and how fast its rows become events.

Bugzilla is the fake one of the tests, whose updates do far less than those of a real one; with BUGZILLA_HOME it is the
real one in that folder, which must be made for tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench.stats import AtLeast, AtMost, Figure, row
from sourcepulse import config
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse_bugzilla.lifecycle.session import Work, open_session
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.perl.requests import command_for
from support.bugzilla.tree import BugzillaTree, open_tree

ROUNDS = 100
ROWS = 600
LIMIT_SECONDS = 600.0
GOAL_MS = 1.0
#: Of an update of a real Bugzilla.
GOAL_PER_CENT = 5.0
GOAL_EVENTS_PER_SECOND = 150.0

_UPDATES = Path(__file__).with_name("bugzilla_updates.pl")


def updates(tree: BugzillaTree, where: str) -> None:
    """Compare updates with and without the extension."""
    done = subprocess.run(
        ["perl", str(_UPDATES), str(tree.home), str(ROUNDS)],
        capture_output=True, check=True, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    clocks: dict[str, dict[str, list[float]]] = json.loads(done.stdout)
    taken, cpu = clocks["wall"], clocks["cpu"]
    base = Figure.of([1_000 * seconds for seconds in taken["off"]])
    row(f"{where}: ms of an update, the extension off", base)
    for way in ("up", "dead", "hung"):
        # Both are of one round, in a random order.
        pairs = list(zip(taken[way], taken["off"], strict=True))
        added = Figure.of([1_000 * (on - off) for on, off in pairs])
        row(f"{where}: ms that the extension adds, sidecar {way}", added, AtMost(GOAL_MS))
        # Without the database's process, and without waiting for a disk or for a turn on a busy machine.
        used = Figure.of([1_000 * (on - off) for on, off in zip(cpu[way], cpu["off"], strict=True)])
        row(f"{where}: ms of CPU that the extension adds, sidecar {way}", used)
        if not is_real():
            continue
        share = Figure.of([100 * (on - off) / (base.median / 1_000) for on, off in pairs])
        row(f"{where}: the same in per cent of an update", share, AtMost(GOAL_PER_CENT))


def drained(tree: BugzillaTree, where: str, folder: Path) -> None:
    """Measure how many events a second come from the table into the outbox, and from there, checked, into a log."""
    tree.begin()
    subprocess.run(["perl", str(_UPDATES), "--fill", str(tree.home), str(ROWS)], check=True, timeout=LIMIT_SECONDS)
    outbox, stop = folder / "outbox.db", threading.Event()
    work = Work(command=command_for(tree.home), folder=tree.home, outbox=outbox, max_bytes=262_144)
    with Stop() as end, open_session(work, end, ServiceManager({})) as session:
        session.drainer.lock()
        began = time.monotonic()
        session.drain()
        seconds = time.monotonic() - began
    settings = config.load({"outbox": str(outbox), "broker": f"file://{folder}/log.db"}, environ={})
    with open_relay(outbox, settings, stop) as relay:
        began = time.monotonic()
        (report,) = relay.once()
        relay_seconds = time.monotonic() - began
    # Each update with a comment is two events in the public stream, and two in the restricted one.
    row(f"{where}: events a second from the table into the outbox", _one(4 * session.published / seconds))
    row(
        f"{where}: public events a second, table to log, each checked",
        _one(report.delivered / (seconds + relay_seconds)),
        AtLeast(GOAL_EVENTS_PER_SECOND),
    )


def _one(value: float) -> Figure:
    return Figure(value, value, value)


def is_real() -> bool:
    """Return whether a real Bugzilla is named."""
    return bool(os.environ.get("BUGZILLA_HOME"))


def main() -> None:
    """Print the figures."""
    where = "real Bugzilla" if is_real() else "fake Bugzilla"
    with tempfile.TemporaryDirectory() as folder:
        tree = open_tree(Path(folder))
        updates(tree, where)
        drained(tree, where, Path(folder))


if __name__ == "__main__":
    main()
