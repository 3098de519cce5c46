# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board of a tree with 40 builders: a page, an event, an update, and making all again from the log; CPU seconds."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bench.stats import AtMost, Figure, row
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.events.event import Event
from support.brokers.embedded_log import as_message
from support.web.board_events import REPO, Build, Site, node
from support.web.board_log import EXCHANGE, BoardLog

PUSHES = 500
ROUNDS = 7
EVENTS = 100
BUILDERS = [f"{platform}-opt-t{number}" for platform in ("linux64", "macos", "win32", "win64") for number in range(10)]
#: Every so many builds one fails.
FAILS_EVERY = 37


def main(pushes: int = PUSHES) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        log = BoardLog(Path(name, "log"))
        site = Site()
        count = fill(log, site, pushes)
        spent = cpu(log.board.rebuild)
        row(f"board: {count:,} events made again, s", _only(spent))
        row("board: one of them, ms", _only(spent / count * 1000), AtMost(2.0))
        pages = [cold_page(log) for _ in range(ROUNDS)]
        row("board: 50 pushes x 40 builds, nothing remembered, ms", Figure.of(pages), AtMost(100.0))
        follow(log, site, pushes)
        log.close()


def cold_page(log: BoardLog) -> float:
    with closing(log.open()) as board:
        return 1000 * cpu(lambda: board.page(REPO))


def follow(log: BoardLog, site: Site, pushes: int) -> None:
    """Measure events one by one, of builds of the newest ten pushes."""
    taken: dict[str, list[float]] = {"apply": [], "changed": [], "seen": [], "KiB": []}
    for event in builds(site, pushes):
        for name, value in _one(log, event):
            taken[name].append(value)
    row("board: one event reduced, ms", Figure.of(taken["apply"]), AtMost(2.0))
    row("board: what a live sentence needs, ms", Figure.of(taken["seen"]))
    row("board: one update, ms", Figure.of(taken["changed"]))
    row("board: one update, KiB", Figure.of(taken["KiB"]))


def _one(log: BoardLog, event: Event) -> Iterator[tuple[str, float]]:
    board = log.board
    before = log.page()["position"]
    document = json.loads(as_message(event).body)
    log.append(event)
    yield "apply", 1000 * cpu(lambda: board.apply([event]))
    yield "seen", 1000 * cpu(lambda: board.seen(document))
    yield "changed", 1000 * cpu(lambda: board.changed(REPO, before, before + 1))
    yield "KiB", len(b"".join(board.frames(REPO, before, before + 1))) / 1024


def builds(site: Site, pushes: int) -> Iterator[Event]:
    made = 0
    while made < EVENTS:
        build = Build(site, BUILDERS[made % len(BUILDERS)], node(pushes - 1 - made % 10))
        events = build.story("failure", "tests/z.py")
        made += len(events)
        yield from events


def fill(log: BoardLog, site: Site, pushes: int) -> int:
    """Append pushes with all their builds, and return how many events these are."""
    count = 0
    with closing(LocalPublisher(log.url, exchange=EXCHANGE)) as publisher:
        publisher.open()
        for number in range(pushes):
            events = [site.push(node(number), descs=["Bug 1234 - handle empty input"])]
            for place, builder in enumerate(BUILDERS):
                failed = [f"tests/a_{place % 5}.py"] if (number * 7 + place) % FAILS_EVERY == 0 else []
                events += Build(site, builder, node(number)).story("failure" if failed else "success", *failed)
            for event in events:
                publisher.send(as_message(event))
            publisher.settle(30)
            count += len(events)
    return count


def cpu(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _only(value: float) -> Figure:
    return Figure(value, value, value)


if __name__ == "__main__":
    main()
