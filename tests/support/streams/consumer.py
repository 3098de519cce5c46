# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A consumer program for tests that kill it: writes one line for each event that it handles, and for each report.

Run with the file that holds the broker's URL, exchange, queue, state file and the file to write to as arguments.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from sourcepulse import Consumer
from sourcepulse.events.wire import encode

#: Before and after an event is written down, so that a kill falls into the handling of one, on either side.
HANDLING_SECONDS = 0.00015


def work() -> None:
    """Be busy for a moment; a sleep would last as long as others are busy."""
    done_at = time.perf_counter() + HANDLING_SECONDS
    while time.perf_counter() < done_at:
        pass


def main() -> None:
    """Consume until SIGTERM, and write the counts at the end."""
    url, exchange, queue, state, written = sys.argv[1:]
    lines = os.open(written, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(**fact: object) -> None:
        # In one write, so that a kill leaves a line or none; a torn one is found by the line break before the next.
        os.write(lines, b"\n" + json.dumps(fact).encode() + b"\n")

    consumer = Consumer(
        Path(url).read_text(encoding="utf-8"),
        topics=["#"],
        queue=queue,
        durable=True,
        exchange=exchange,
        state=state,
        on_gap=lambda gap: write(report="gap", text=str(gap), **dataclasses.asdict(gap)),
        on_reset=lambda reset: write(report="reset", text=str(reset)),
        on_bad=lambda error: write(report="bad", text=str(error)),
        on_interrupted=lambda: write(report="interrupted", text=""),
    )
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    with consumer:
        write(ready=consumer.connected)
        for event in consumer:
            work()
            write(
                id=event.id,
                source=event.source,
                # What a stranger publishes has none.
                sequence=event.numbers.sequence if event.numbers is not None else 0,
                digest=hashlib.sha256(encode(event)).hexdigest(),
            )
            work()
    write(stats=dataclasses.asdict(consumer.stats))


if __name__ == "__main__":
    main()
