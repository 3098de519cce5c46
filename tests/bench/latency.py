# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Milliseconds from an append to a consumer's callback, at each broker, against publishing with kombu at once.

Open loop: each event is due at its time, however long the last one took. Writer, relay, broker and consumer are
processes of their own, as in use; the outbox and the consumer's memory are on a real disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kombu

from bench.stats import AtMost, Figure, row
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import Outbox
from support.brokers import activemq, rabbitmq

#: Events a second, and how many of them.
RATES = ((5, 100), (200, 2_000))
BACKLOG_EVENTS = 100_000
KEPT_ROWS = 1_000_000
WAIT_SECONDS = 120.0
#: What a fresh relay and consumer take until they are idle.
SETTLE_SECONDS = 2.0
IDLE_SECONDS = 20.0
IDLE_GOAL_PER_CENT = 0.3
#: At 5 events a second.
GOALS_P50_MS = {"file": 10, "AMQP": 10, "STOMP, RabbitMQ": 20, "STOMP, ActiveMQ": 20}
GOALS_P99_MS = {"file": 50, "AMQP": 50}

_TESTS = Path(__file__).parents[1]
_INSERT_KEPT = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
INSERT INTO events (id, stream, source, type, subject, time, routing_key, epoch, sequence, typesequence, state,
stored_at, settled_at) SELECT 'kept' || i, 'public', 'hg://kept/try', 'hg.push.v1', 'try', '2026-01-01T00:00:00Z',
'hg.push.kept', 'kept', i, i, 'delivered', {now}, {now} FROM n
"""


class Reader:
    """A consumer process; `at(key)` is when the message with that number reached its callback."""

    def __init__(
        self, kind: str, url: str, folder: Path, key: Callable[[dict[str, Any]], object], *, topic: str = "#"
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.latency_reader", kind, url, str(folder / "state.db"), topic],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(_TESTS)},
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "subscribed\n"
        self._key = key
        self.seen: dict[object, float] = {}
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            at, _, data = line.partition("\t")
            found = self._key(json.loads(data))
            if found is not None:
                self.seen.setdefault(found, float(at))

    def milliseconds(self, sent: dict[object, float]) -> list[float]:
        """Return how long each of the sent took, once all have arrived."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not sent.keys() <= self.seen.keys():
            assert time.monotonic() < deadline, f"{len(sent.keys() - self.seen.keys())} of {len(sent)} did not come"
            time.sleep(0.05)
        return sorted(1_000 * (self.seen[key] - at) for key, at in sent.items())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


@dataclass(frozen=True)
class Broker:
    """A broker that runs."""

    name: str
    url: str


@contextmanager
def brokers(folder: Path) -> Iterator[list[Broker]]:
    """Start each that is installed."""
    with ExitStack() as stack:
        found = [Broker("file", f"file://{folder}/log.db")]
        if rabbitmq.is_installed():
            rabbit = rabbitmq.RabbitNode(folder / "rabbitmq")
            stack.callback(rabbit.close)
            rabbit.start()
            rabbit.declare_exchange(DEFAULT_EXCHANGE)
            found += [Broker("AMQP", rabbit.url()), Broker("STOMP, RabbitMQ", rabbit.stomp_url())]
        if activemq.is_installed():
            active = activemq.ActiveMqNode(folder / "activemq")
            stack.callback(active.close)
            active.start()
            found.append(Broker("STOMP, ActiveMQ", active.url()))
        yield found


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our commands until the end of the block."""
    started = subprocess.Popen([sys.executable, "-m", "sourcepulse.cli", *command], stderr=subprocess.DEVNULL)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(WAIT_SECONDS)


def open_loop(send: Callable[[int], None], rate: float, numbers: range) -> dict[object, float]:
    """Send each number at its time and return the times."""
    sent: dict[object, float] = {}
    due = time.monotonic()
    for number in numbers:
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1 / rate
        sent[number] = time.time()
        send(number)
    return sent


def event(number: int, name: str = "live") -> Event:
    """Return an event that its reader knows by its number."""
    return Event.of(
        "hg.push.v1", source=f"hg://bench/{name}", key=[str(number)], subject=name, time=time.time(),
        data={"number": number, "padding": "x" * 600}, words=[name],
    )  # fmt: skip


def show(name: str, milliseconds: list[float], p50: float | None = None, p99: float | None = None) -> None:
    """Print the three rows of a sorted list; the 50th per cent has an interval, the others are what they are."""
    row(f"{name}: p50 ms", Figure.of(milliseconds), None if p50 is None else AtMost(p50))
    for per_cent, goal in ((90, None), (99, p99)):
        at = milliseconds[min(len(milliseconds) - 1, len(milliseconds) * per_cent // 100)]
        row(f"{name}: p{per_cent} ms", Figure(at, at, at), None if goal is None else AtMost(goal))


def appended(broker: Broker, folder: Path) -> None:
    """Measure a relay that has nothing else to do, and what it costs when it has nothing to do at all."""
    place = folder / "outbox.db"
    with Outbox.open(place) as outbox, process("relay", "--outbox", str(place), "--broker", broker.url) as relay:
        reader = Reader("ours", broker.url, folder, lambda data: data.get("number"))
        try:
            # The relay connects with its first event.
            reader.milliseconds(open_loop(lambda n: outbox.append([event(n)]) and None, 1, range(1)))
            begin = 1
            for rate, count in RATES:
                time.sleep(SETTLE_SECONDS)
                numbers = range(begin, begin := begin + count)
                taken = reader.milliseconds(open_loop(lambda n: outbox.append([event(n)]) and None, rate, numbers))
                name = f"append to callback, {broker.name}, {rate} events/s"
                goals = (GOALS_P50_MS.get(broker.name), GOALS_P99_MS.get(broker.name)) if rate == RATES[0][0] else ()
                show(name, taken, *goals)
            before = _cpu_seconds(relay.pid)
            time.sleep(IDLE_SECONDS)
            idle = 100 * (_cpu_seconds(relay.pid) - before) / IDLE_SECONDS
            row(f"idle relay, {broker.name}: per cent of a core", Figure(idle, idle, idle), AtMost(IDLE_GOAL_PER_CENT))
        finally:
            reader.close()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy(broker: Broker, folder: Path) -> None:
    """Measure while a backlog of another source drains, and with a million rows that were delivered."""
    place = folder / "outbox.db"
    rate, count = RATES[0]
    with Outbox.open(place) as outbox:
        with outbox.writing() as db:
            db.execute(_INSERT_KEPT.format(rows=KEPT_ROWS, now=time.time()))
        for start in range(0, BACKLOG_EVENTS, 1_000):
            outbox.append([event(number, "backlog") for number in range(start, start + 1_000)])
        # A consumer of everything would be as late as the backlog in its queue is long.
        reader = Reader("ours", broker.url, folder, lambda data: data.get("number"), topic="hg.push.live")
        try:
            with process("relay", "--outbox", str(place), "--broker", broker.url):
                send = lambda number: outbox.append([event(number)]) and None  # noqa: E731
                sent: dict[object, float] = {}
                number = 0
                while outbox.pending("public") > BACKLOG_EVENTS // 20 and number < count:
                    sent |= open_loop(send, rate, range(number, number := number + 1))
                    time.sleep(1 / rate)
                show(f"append to callback, {broker.name}, {BACKLOG_EVENTS} drain", reader.milliseconds(sent))
                deadline = time.monotonic() + WAIT_SECONDS
                while outbox.pending("public"):
                    assert time.monotonic() < deadline, "the backlog was not sent"
                    time.sleep(0.2)
                time.sleep(SETTLE_SECONDS)
                taken = reader.milliseconds(open_loop(send, rate, range(number, number + count)))
                show(f"append to callback, {broker.name}, {KEPT_ROWS} delivered rows kept", taken)
        finally:
            reader.close()


def peer(broker: Broker, folder: Path) -> None:
    """Measure kombu on both sides: a producer that waits for the confirm, and a bare consumer."""
    reader = Reader("kombu", broker.url, folder, lambda data: data["number"])
    try:
        with kombu.Connection(broker.url, transport_options={"confirm_publish": True}) as connection:
            producer = connection.Producer(exchange=kombu.Exchange(DEFAULT_EXCHANGE, "topic", durable=True))

            def send(number: int) -> None:
                body = json.dumps({"number": number, "padding": "x" * 900})
                producer.publish(body, routing_key="hg.push.live", content_type="application/json", delivery_mode=2)

            begin = 0
            for rate, count in RATES:
                time.sleep(SETTLE_SECONDS)
                numbers = range(begin, begin := begin + count)
                taken = reader.milliseconds(open_loop(send, rate, numbers))
                show(f"peer: kombu, confirmed, to a bare kombu consumer, {rate} events/s", taken)
    finally:
        reader.close()


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name, ExitStack() as stack:
        found = stack.enter_context(brokers(Path(name)))
        for number, broker in enumerate(found):
            folder = Path(name) / str(number)
            folder.mkdir()
            appended(broker, folder)
        for broker in found[:2]:
            folder = Path(name) / f"busy-{broker.name}"
            folder.mkdir()
            busy(broker, folder)
        for broker in found[1:2]:
            folder = Path(name) / "peer"
            folder.mkdir()
            peer(broker, folder)


if __name__ == "__main__":
    main()
