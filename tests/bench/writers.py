# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How long an append takes beside seven other processes that append as fast as they can, and how many go through."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from bench.stats import Figure, row
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.testing import system_event

ROUNDS = 9
WRITERS = 8
EVENTS = 200
PADDING = "x" * 600
MILLISECONDS = 1000


def _write(path: Path, number: int, begin: Barrier, spent: Queue[list[float]]) -> None:
    with Outbox.open(path) as outbox:
        begin.wait()
        taken = []
        for each in range(EVENTS):
            event = system_event(each, source=f"system://host-{number}", message=PADDING)
            begun = time.perf_counter()
            outbox.append([event])
            taken.append(time.perf_counter() - begun)
        spent.put(taken)


def _round(path: Path) -> tuple[float, float, float]:
    """Return median and 99th percentile in milliseconds, and events a second."""
    Outbox.open(path).close()
    context = multiprocessing.get_context("fork")
    spent: Queue[list[float]] = context.Queue()
    begin = context.Barrier(WRITERS + 1)
    writers = [context.Process(target=_write, args=(path, number, begin, spent)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    begin.wait()
    begun = time.perf_counter()
    taken = sorted(each for _ in writers for each in spent.get())
    seconds = time.perf_counter() - begun
    for writer in writers:
        writer.join()
    return (
        MILLISECONDS * taken[len(taken) // 2],
        MILLISECONDS * taken[len(taken) * 99 // 100],
        len(taken) / seconds,
    )


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    # On the disk of the working directory: the system's folder for such files may be in memory.
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        taken = [_round(Path(name) / f"{number}.db") for number in range(rounds)]
    medians, tails, rates = zip(*taken, strict=True)
    row(f"append beside {WRITERS - 1} others, median, ms", Figure.of(medians))
    row(f"append beside {WRITERS - 1} others, 99th percentile, ms", Figure.of(tails))
    row(f"append by {WRITERS} processes, events/s", Figure.of(rates))


if __name__ == "__main__":
    main()
