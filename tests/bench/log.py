# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Appends to the embedded log: of this format beside format 1, and while a reader goes through the whole log."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from bench.sample import PLAIN_BODY, ROUTING_KEY, sample
from bench.stats import AtLeast, Figure, interleaved, row
from sourcepulse.brokers import Message
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.wire import CONTENT_TYPE, encode
from support.old_version import OldVersion, in_history, take_out

EXCHANGE = "sourcepulse"
ROUNDS = 11
#: Events of one figure, by how many are in a commit.
COUNTS = {500: 10_000, 1: 300}
READ_ROWS = 100_000

#: Answers each line, `events in a commit, events`, with events per second; runs in any version.
APPENDER = """
import sys, time, uuid
from sourcepulse.brokers import Message
from sourcepulse.brokers.url import BrokerUrl
try:
    from sourcepulse.brokers.file.publisher import LocalPublisher
    more = {"source": "hg://bench/try", "subject": "try"}
except ImportError:
    from sourcepulse.brokers.local_publisher import LocalPublisher
    more = {}
publisher = LocalPublisher(BrokerUrl(scheme="file", path=sys.argv[1]), exchange="sourcepulse")
publisher.open()
body = sys.argv[2].encode()
for line in sys.stdin:
    batch, count = map(int, line.split())
    ids = [str(uuid.uuid4()) for _ in range(count)]
    begun = time.perf_counter()
    for start in range(0, count, batch):
        for id in ids[start : start + batch]:
            publisher.send(Message(tag=0, id=id, type="hg.push.v1", time="2026-11-22T10:59:21.482913Z",
                routing_key=sys.argv[3], content_type="application/cloudevents+json", body=body, **more))
        publisher.settle(5)
    print(count / (time.perf_counter() - begun), flush=True)
"""


@dataclass
class Appender:
    """A process that appends to a log of its own."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, log: Path, old: OldVersion | None) -> Self:
        arguments = [sys.executable, "-c", APPENDER, str(log), PLAIN_BODY.decode(), ROUTING_KEY]
        environ = None if old is None else old.environ
        return cls(subprocess.Popen(arguments, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def rate(self, batch: int) -> float:
        """Return events per second."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(batch, COUNTS[batch], file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def close(self) -> None:
        with suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=10)
        self.process.kill()


def main() -> None:
    """Print the table."""
    with TemporaryDirectory() as folder:
        if in_history():
            _beside_format_1(Path(folder))
        _beside_a_reader(Path(folder))


def _beside_format_1(folder: Path) -> None:
    old = take_out(folder / "old")
    with (
        closing(Appender.start(folder / "new.db", None)) as new,
        closing(Appender.start(folder / "1.db", old)) as first,
    ):
        for batch in COUNTS:
            figures = interleaved([partial(new.rate, batch), partial(first.rate, batch)], ROUNDS)
            _rows(f"appends to the log, {batch} a commit, with its index", "without, format 1", figures)


def _beside_a_reader(folder: Path) -> None:
    log = folder / "read.db"
    with closing(LocalPublisher(BrokerUrl(scheme="file", path=str(log)), exchange=EXCHANGE)) as publisher:
        publisher.open()
        for number in range(READ_ROWS):
            publisher.send(_message(number))
            if number % 500 == 499:
                publisher.settle(5)
    with closing(Appender.start(log, None)) as appender:
        figures = interleaved([lambda: _read_meanwhile(log, appender), lambda: appender.rate(500)], ROUNDS)
    _rows("appends to the log while another process reads all of it", "without a reader", figures)
    with closing(LogReader(log, EXCHANGE)) as reader:
        rates = [_reading(reader) for _ in range(ROUNDS)]
    row("events read from the log a second", Figure.of(rates))


def _read_meanwhile(log: Path, appender: Appender) -> float:
    over = threading.Event()

    def read() -> None:
        with closing(LogReader(log, EXCHANGE)) as reader:
            while not over.is_set():
                _all(reader, over)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        return appender.rate(500)
    finally:
        over.set()
        thread.join()


def _all(reader: LogReader, over: threading.Event) -> int:
    count = position = 0
    while not over.is_set() and (rows := reader.read(position)):
        count, position = count + len(rows), rows[-1].position
    return count


def _reading(reader: LogReader) -> float:
    begun = time.perf_counter()
    return _all(reader, threading.Event()) / (time.perf_counter() - begun)


def _message(number: int) -> Message:
    event = sample(number)
    return Message(
        tag=0, id=event.id, type=event.type, time=event.time, routing_key=ROUTING_KEY,
        content_type=CONTENT_TYPE, body=encode(event), source=event.source, subject=event.subject,
    )  # fmt: skip


def _rows(name: str, other: str, figures: list[tuple[float, ...]]) -> None:
    row(f"{name}, a second", Figure.of([figure for figure, _ in figures]))
    row(f"  {other}", Figure.of([figure for _, figure in figures]))
    row("  ratio", Figure.of([figure / beside for figure, beside in figures]), AtLeast(0.4))
