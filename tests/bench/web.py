# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""EventSource clients on one gateway process: from the append of an event to each client, and memory for each client.

The clients are in processes of their own on this machine, with ten filters that all pass every event, 50 events/s of
1 KiB. Each client that reads must get every event once.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.sample import BODY_BYTES, ENVELOPE_BYTES, ROUTING_KEY
from bench.stats import AtLeast, AtMost, Figure, row
from sourcepulse.brokers import Message
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event
from sourcepulse.events.wire import CONTENT_TYPE, encode
from support.web.gateway import EXCHANGE, Gateway

EVENTS_PER_SECOND = 50
SECONDS = 30
MANY, STALLED, FEW = 5_000, 1_000, 100
#: Clients in one process, so that it is not the clients that are measured.
CLIENTS_PER_PROCESS = 2_000
SPARE_FILES = 500
SETTLE_SECONDS = 30.0
CONFIGURATION = f"[web]\nclients_max = {MANY + STALLED + SPARE_FILES}\n"
KIB = 1024


@dataclass
class Run:
    """What one number of clients got."""

    whole: int = 0
    cut: int = 0
    rss_kib: float = 0.0
    cpu: float = 0.0
    spent_ms: Counter[int] = field(default_factory=Counter)

    def quantile(self, part: float) -> float:
        """Return the milliseconds within which this part of all events arrived at their clients."""
        left = part * self.spent_ms.total()
        for spent in sorted(self.spent_ms):
            left -= self.spent_ms[spent]
            if left <= 0:
                return float(spent)
        return float("inf")


def main(seconds: int = SECONDS) -> None:
    """Print the table."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MANY + SPARE_FILES)), hard))
    for clients, stalled, p99_ms in ((FEW, 0, 100.0), (MANY - STALLED, STALLED, 1_000.0)):
        run = measure(clients, stalled, seconds)
        at = f"/events, {clients + stalled:,} clients" + (f", {stalled:,} stalled" if stalled else "")
        row(f"{at}: clients that got each event once", _only(run.whole), AtLeast(clients))
        row(f"{at}: p50 append to client, ms", _only(run.quantile(0.5)))
        row(f"{at}: p99 append to client, ms", _only(run.quantile(0.99)), AtMost(p99_ms))
        row(f"{at}: worst, ms", _only(run.quantile(1.0)))
        row(f"{at}: memory a client, KiB", _only(run.rss_kib / (clients + stalled)), AtMost(32.0) if stalled else None)
        row(f"{at}: cores of the gateway", _only(run.cpu))
        if stalled:
            row(f"{at}: cut because they did not read", _only(run.cut))


def measure(clients: int, stalled: int, seconds: int) -> Run:
    """Connect the clients, publish for so many seconds, and count what they got."""
    count = seconds * EVENTS_PER_SECOND
    run = Run()
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        sent_path = folder / "sent"
        sent_path.write_bytes(bytes(8 * count))
        with closing(Gateway(folder / "gateway", configuration=CONFIGURATION)) as gateway:
            gateway.start()
            before = _rss_kib(gateway.pid)
            with _clients(gateway.port, clients, stalled, sent_path) as processes:
                cpu = _cpu_seconds(gateway.pid)
                begun = time.monotonic()
                _publish(gateway.log, sent_path, count)
                run.cpu = (_cpu_seconds(gateway.pid) - cpu) / (time.monotonic() - begun)
                run.rss_kib = _rss_kib(gateway.pid) - before
                for process in processes:
                    out, _ = process.communicate(f"{count}\n", timeout=SETTLE_SECONDS * 4)
                    assert process.returncode == 0, "the clients failed"
                    result = json.loads(out)
                    run.whole += result.get("whole", 0)
                    run.cut += result.get("cut", 0)
                    for spent, times in result.get("spent_ms", {}).items():
                        run.spent_ms[int(spent)] += times
    return run


@contextmanager
def _clients(port: int, clients: int, stalled: int, sent_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes = []
    try:
        while clients > 0 or stalled > 0:
            way = "reading" if clients > 0 else "stalled"
            many = min(CLIENTS_PER_PROCESS, clients if clients > 0 else stalled)
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.web_clients", str(port), str(many), way, str(sent_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            processes.append(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "connected\n"
            if clients > 0:
                clients -= many
            else:
                stalled -= many
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _publish(log: Path, sent_path: Path, count: int) -> None:
    with (
        closing(LocalPublisher(BrokerUrl.parse(f"file://{log}"), exchange=EXCHANGE)) as publisher,
        sent_path.open("r+b") as file,
        mmap.mmap(file.fileno(), 0) as shared,
    ):
        publisher.open()
        begun = time.monotonic()
        with memoryview(shared).cast("d") as sent:
            for number in range(count):
                time.sleep(max(0.0, begun + number / EVENTS_PER_SECOND - time.monotonic()))
                message = _message(number)
                sent[number] = time.monotonic()
                publisher.send(message)
                publisher.settle(SETTLE_SECONDS)


def _message(number: int) -> Message:
    event = Event.of(
        "hg.push.v1",
        source="hg://bench/try",
        key=[str(number)],
        subject="try",
        time=time.time(),
        data={"n": f"{number:08}", "padding": "x" * (BODY_BYTES - ENVELOPE_BYTES)},
        words=[ROUTING_KEY.rpartition(".")[2]],
    )
    return Message(
        tag=number,
        id=event.id,
        type=event.type,
        time=event.time,
        routing_key=event.routing_key,
        content_type=CONTENT_TYPE,
        body=encode(event),
        source=event.source,
        subject=event.subject,
    )


def _rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _only(value: float) -> Figure:
    return Figure(value, value, value)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS)
