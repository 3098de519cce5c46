# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the reporter costs a Buildbot master, beside other ways to report builds, in real masters."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from bench.stats import AtLeast, AtMost, Figure, interleaved, row
from support.buildbot.masters import REPORTER, Master, make_template

STEPS = 20
#: How many builds a round has, and how many the large run.
BUILDS, MANY_BUILDS = 8, 100
ROUNDS = 3
WORKERS = 4
LIMIT_SECONDS = 900.0
FED_STEPS = 20_000
CASES, FAILED_CASES = 50_000, 1_000
#: What the reactor of a master may be kept from its work at a time while so many cases are read, stored and published.
BLOCK_GOAL_MS = 50
#: Ten times what one master was measured to say in a second.
FEED_GOAL_PER_SECOND = 1_500

BUILDER = f'builder("b", *["echo %d" % number for number in range({STEPS})])\n'
PROBED = "from bench import buildbot_probe\nbuildbot_probe.probe_reporter()\n" + REPORTER
IDLE = 'from bench import buildbot_probe\nc["services"].append(buildbot_probe.Idle())\n'
HTTP = 'c["services"].append(reporters.HttpStatusPush(serverUrl="http://127.0.0.1:{port}"))\n'


class Cost(NamedTuple):
    """What so many builds took: wall and CPU seconds, and those of each call from the bus."""

    wall: float
    cpu: float
    spent: list[float]


def run(template: Path, reporter: str, builds: int) -> Cost:
    """Start a fresh master and make it build."""
    with tempfile.TemporaryDirectory() as folder:
        master = Master(template, Path(folder) / "master", reporter + BUILDER, workers=WORKERS)
        try:
            master.start()
            before = _measured(master)
            began = time.monotonic()
            for number in range(builds):
                # Requests that ask for the same are collapsed into one build.
                master.request("b", revision=str(number))
            master.wait_for(
                lambda: master.query("SELECT count(*) FROM buildsets WHERE complete")[0][0] == builds,
                limit_s=LIMIT_SECONDS,
            )
            wall = time.monotonic() - began
            after = _measured(master)
            return Cost(wall, after["cpu"] - before["cpu"], after["spent"])
        finally:
            master.close()


def _measured(master: Master) -> dict[str, Any]:
    result: dict[str, Any] = master.do("call", module="bench.buildbot_probe", function="measured")
    return result


@contextmanager
def receiver() -> Iterator[int]:
    """Serve HTTP on a port and forget what is posted there."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()


def peers(template: Path) -> None:
    """Compare masters with our reporter, with a consumer that does nothing, with HttpStatusPush and with none."""
    with receiver() as port:
        ways = [partial(run, template, reporter, BUILDS) for reporter in ("", IDLE, HTTP.format(port=port), PROBED)]
        taken = interleaved(ways, ROUNDS)  # type: ignore[arg-type]
    costs: list[tuple[Cost, ...]] = taken  # type: ignore[assignment]
    for name, place in (("a consumer that does nothing", 1), ("HttpStatusPush", 2), ("sourcepulse", 3)):
        cpu = Figure.of([each[place].cpu / each[0].cpu for each in costs])
        wall = Figure.of([each[place].wall / each[0].wall for each in costs])
        row(f"{BUILDS} builds of {STEPS} steps, {name} / none: CPU of the master", cpu)
        row(f"{BUILDS} builds of {STEPS} steps, {name} / none: wall", wall)


def reactor(template: Path) -> None:
    """Measure how long the reactor is held, in a long run."""
    cost = run(template, PROBED, MANY_BUILDS)
    spent = sorted(cost.spent)
    milliseconds = [1_000 * each for each in spent]
    slow = milliseconds[int(len(spent) * 0.999)]
    name = f"{MANY_BUILDS} builds of {STEPS} steps"
    row(f"{name}: ms of the reactor for an event, mean", _one(sum(milliseconds) / len(spent)), AtMost(0.1))
    row(f"{name}: ms of the reactor for an event, 99.9 of 100", _one(slow), AtMost(10))
    row(f"{name}: share of the wall time, per cent", _one(100 * sum(spent) / cost.wall), AtMost(1))
    row(f"{name}: events a second of the wall time", _one(len(spent) / cost.wall))


def feed(template: Path) -> None:
    """Measure how many events a second the reporter takes from a bus that has more to say than Buildbot."""
    with tempfile.TemporaryDirectory() as folder:
        master = Master(template, Path(folder) / "master", REPORTER + 'builder("b", "sleep 600")\n')
        try:
            master.start()
            master.request("b")
            master.wait_for(lambda: master.query("SELECT 1 FROM steps WHERE name = 'shell' AND started_at IS NOT NULL"))
            seconds = master.do("call", module="bench.buildbot_probe", function="feed", steps=FED_STEPS)
            row("synthetic feed: events stored a second", _one(FED_STEPS / seconds), AtLeast(FEED_GOAL_PER_SECOND))
        finally:
            master.close()


def reports(template: Path) -> None:
    """Measure how long a large report keeps the reactor from its turn, beside as many results that Buildbot stores."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.xml"
        path.write_text(_report(), encoding="utf-8")
        builders = (
            "from bench.buildbot_probe import AddResults\n"
            "from sourcepulse_buildbot.test_reports.step import PublishTestReport\n"
            f'builder("none", "cp {path} .")\n'
            f'builder("peer", "cp {path} .", AddResults({CASES}))\n'
            f'builder("report", "cp {path} .", PublishTestReport(path="report.xml"))\n'
        )
        master = Master(template, Path(folder) / "master", REPORTER + builders)
        try:
            master.start()
            master.do("call", module="bench.buildbot_probe", function="beat")
            taken = interleaved([partial(_longest, master, name) for name in ("none", "peer", "report")], ROUNDS)
        finally:
            master.close()
    name = f"{CASES} test cases"
    row(f"{name}: ms without a turn of the reactor, longest, no cases", Figure.of([each[0] for each in taken]))
    row(f"{name}: ms ..., Buildbot's addTestResult", Figure.of([each[1] for each in taken]))
    row(f"{name}: ms ..., PublishTestReport", Figure.of([each[2] for each in taken]), AtMost(BLOCK_GOAL_MS))
    row(f"{name}: PublishTestReport / addTestResult", Figure.of([each[2] / each[1] for each in taken]), AtMost(0.5))


def _longest(master: Master, builder: str) -> float:
    master.do("call", module="bench.buildbot_probe", function="longest_beat")
    asked = master.request(builder)
    master.wait_for(
        lambda: master.query("SELECT 1 FROM buildsets WHERE complete AND id = ?", asked["bsid"]), limit_s=LIMIT_SECONDS
    )
    (buildid,) = master.query("SELECT id FROM builds WHERE buildrequestid = ?", asked["requests"][builder])[0]
    master.wait_for(
        lambda: [each for each in master.events("build.finished") if each.data["buildid"] == buildid],
        limit_s=LIMIT_SECONDS,
    )
    seconds: float = master.do("call", module="bench.buildbot_probe", function="longest_beat")
    return 1_000 * seconds


def _report() -> str:
    cases = "".join(
        f'<testcase classname="tests.test_a" name="test_something[{number}]" file="tests/test_a.py" time="0.01">'
        + (f'<failure message="no {number}">{"x" * 300}</failure>' if number < FAILED_CASES else "")
        + "</testcase>"
        for number in range(CASES)
    )
    return f'<testsuite tests="{CASES}" failures="{FAILED_CASES}">{cases}</testsuite>'


def _one(value: float) -> Figure:
    return Figure(value, value, value)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        template = make_template(Path(folder) / "template")
        feed(template)
        peers(template)
        reactor(template)
        reports(template)
