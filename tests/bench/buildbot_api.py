# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How long Buildbot's API takes to answer while builds log, with the reporter and without, in two masters in turn."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from bench.stats import AtMost, Figure, interleaved, row
from support.buildbot.masters import REPORTER, Master, make_template

BUILDS, STEPS = 10, 3
#: Each step writes so many lines, so many times, with a pause after each.
LINES, TIMES, PAUSE_SECONDS = 100, 4, 0.3
WORKERS = 4
PAIRS = 8
READERS, REQUESTS_PER_SECOND = 4, 40
PATH = "/api/v2/builds?limit=20&order=-buildid"
LIMIT_SECONDS = 300.0
#: The last events are stored by then.
SETTLE_SECONDS = 1.0
WRITER = "sourcepulse-writer"

STEP = f"for each in $(seq {TIMES}); do seq {LINES}; sleep {PAUSE_SECONDS}; done"
#: The import makes the probe known before Buildbot restores sys.path.
BUILDERS = f"""
from bench import buildbot_probe
for each in range({BUILDS}):
    builder(f"b{{each}}", *[{STEP!r}] * {STEPS})
"""


class Load(NamedTuple):
    """What the API and our thread showed while all builds ran once, in seconds."""

    p50: float
    p99: float
    events: int
    writer: float


class Site:
    """A master that builds on demand and serves its API."""

    def __init__(self, template: Path, folder: Path, reporter: str) -> None:
        self.master = Master(template, folder, reporter + BUILDERS, workers=WORKERS)
        self.master.start()
        self._port: int = self._call("serve_api")

    def _call(self, function: str) -> Any:
        return self.master.do("call", module="bench.buildbot_probe", function=function)

    def _events(self) -> int:
        if not self.master.outbox.exists():
            return 0
        with closing(sqlite3.connect(f"file:{self.master.outbox}?mode=ro", uri=True, timeout=30)) as db:
            (count,) = db.execute("SELECT count(*) FROM events").fetchone()
            return int(count)

    def load(self) -> Load:
        """Run all builds once, and read the API until they are done."""
        over = threading.Event()
        latencies: list[float] = []
        readers = [
            threading.Thread(target=_read, args=(self._port, number / REQUESTS_PER_SECOND, over, latencies))
            for number in range(READERS)
        ]
        cpu, events = self._call("threads_cpu"), self._events()
        for number in range(BUILDS):
            self.master.request(f"b{number}")
        for reader in readers:
            reader.start()
        try:
            self.master.wait_for(self._is_done, limit_s=LIMIT_SECONDS)
        finally:
            over.set()
            for reader in readers:
                reader.join()
        time.sleep(SETTLE_SECONDS)
        writer = self._call("threads_cpu").get(WRITER, 0.0) - cpu.get(WRITER, 0.0)
        latencies.sort()
        p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
        return Load(p50, p99, self._events() - events, writer)

    def _is_done(self) -> bool:
        return not self.master.query("SELECT 1 FROM buildsets WHERE NOT complete LIMIT 1")


def _read(port: int, offset_s: float, over: threading.Event, latencies: list[float]) -> None:
    period = READERS / REQUESTS_PER_SECOND
    due = time.monotonic() + offset_s
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        while not over.is_set():
            time.sleep(max(0.0, due - time.monotonic()))
            connection.request("GET", PATH)
            with connection.getresponse() as response:
                response.read()
            latencies.append(time.monotonic() - due)
            due = max(due + period, time.monotonic())


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        template = make_template(Path(folder) / "template")
        ways: list[Callable[[], Any]] = []
        for name, reporter in (("without", ""), ("with", REPORTER)):
            site = Site(template, Path(folder) / name, reporter)
            stack.callback(site.master.close)
            ways.append(site.load)
        taken: list[tuple[Load, ...]] = interleaved(ways, PAIRS)  # type: ignore[assignment]
    name = f"{BUILDS} builds that log"
    for place, way in enumerate(("none", "sourcepulse")):
        row(f"{name}, {way}: ms of /api/v2, 99 of 100", Figure.of([1_000 * each[place].p99 for each in taken]))
    row(f"{name}, sourcepulse / none: /api/v2, 50 of 100", Figure.of([ours.p50 / none.p50 for none, ours in taken]))
    ratio = Figure.of([ours.p99 / none.p99 for none, ours in taken])
    row(f"{name}, sourcepulse / none: /api/v2, 99 of 100", ratio, AtMost(1.1))
    spent = Figure.of([1_000 * ours.writer / ours.events for _, ours in taken])
    row(f"{name}: ms CPU of the writer's thread for an event", spent, AtMost(0.3))
