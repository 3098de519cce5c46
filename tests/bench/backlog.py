# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A relay with a backlog: rate and memory at few and at very many pending events, and how long another source waits.

Each relay runs in a process of its own (`python -m bench.backlog OUTBOX`), because its memory is measured.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench.relay import QUEUE, Site
from bench.stats import AtLeast, AtMost, Figure, interleaved, row
from sourcepulse.brokers.amqp.publisher import AmqpPublisher
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import PUBLIC, Event
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import system_event
from support.brokers.rabbitmq import is_installed

ROUNDS = 7
FEW, MANY = 1_000, 1_000_000
#: How many of the pending events are delivered in a round.
DELIVERED = 10_000
#: The backlog of one source behind which another source's event waits.
BACKLOG = 20_000
BUSY, QUIET = "system://busy", "system://quiet"
LIMIT_SECONDS = 600.0

_COLUMNS = "stream, source, type, subject, time, routing_key, epoch, sequence, typesequence, state, stored_at"


def fill(path: Path, count: int) -> None:
    """Make an outbox with that many pending events of one source."""
    with Outbox.open(path) as outbox:
        outbox.append([system_event(0, source=BUSY)])
        with outbox.writing() as db:
            db.execute(
                "WITH RECURSIVE n (k) AS (SELECT 2 UNION ALL SELECT k + 1 FROM n WHERE k < ?) "
                f"INSERT INTO events (id, {_COLUMNS}) "
                f"SELECT 'copy ' || k, {_COLUMNS} FROM events, n WHERE position = 1",
                (count,),
            )
            db.execute("INSERT INTO bodies SELECT position, (SELECT body FROM bodies) FROM events WHERE position > 1")


def _events(count: int) -> list[Event]:
    """Make events that no earlier call made."""
    first = time.time_ns() // 1_000_000 % 10**8 * FEW
    return [system_event(first + number, source=BUSY) for number in range(count)]


def relay(path: Path, url: str) -> dict[str, float]:
    """Deliver DELIVERED events and return the rate, the CPU time of one event, and the memory of this process."""
    parsed = BrokerUrl.parse(url)
    # Events come from other processes, so those that are sent are not in the cache of this connection.
    with Outbox.open(path) as outbox, Outbox.open(path) as writer:
        delivery = Delivery(
            outbox,
            PUBLIC,
            lambda: AmqpPublisher(parsed, exchange=DEFAULT_EXCHANGE),
            exchange=DEFAULT_EXCHANGE,
            clock=time.time,
        )
        delivered, spent, used = 0, 0.0, 0.0
        sent = 0

        def stops() -> bool:
            # Asked about twice for each lot of half a window.
            nonlocal sent
            sent += AmqpPublisher.window // 4
            return delivered + sent > DELIVERED

        while delivered < DELIVERED:
            if not outbox.has_pending(PUBLIC):
                writer.append(_events(FEW))
            sent = 0
            begun, used_before = time.perf_counter(), time.process_time()
            report = delivery.attempt(stops)
            spent += time.perf_counter() - begun
            used += time.process_time() - used_before
            delivered += report.delivered
        delivery.close()
    # The largest so far; getrusage counts the memory of the process that forked this one.
    (kibibytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return {"rate": delivered / spent, "cpu": used / delivered * 1e6, "memory": int(kibibytes) / 1024}


def _in_a_process(path: Path, url: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.backlog", str(path)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, timeout=LIMIT_SECONDS, env={**os.environ, "BROKER_URL": url}
    )
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def _wait_of_another(site: Site) -> float:
    """Return the seconds that an event waits which is stored while BACKLOG events of another source are sent."""
    arrived = threading.Event()
    with Outbox.open(site.outbox.path) as writer:
        writer.append(_events(BACKLOG))
        sender = threading.Thread(target=site.delivery.attempt, args=(lambda: False,))

        def on_message(message: Any) -> None:
            if QUIET in str(message.body):
                arrived.set()

        tag = site.channel.basic_consume(QUEUE, no_ack=True, callback=on_message)
        sender.start()
        site.raw.drain_events(timeout=LIMIT_SECONDS)
        begun = time.perf_counter()
        writer.append([_events(1)[0]._replace(source=QUIET)])
        while not arrived.is_set():
            site.raw.drain_events(timeout=LIMIT_SECONDS)
        spent = time.perf_counter() - begun
        sender.join()
        site.channel.basic_cancel(tag)
        site.channel.queue_purge(QUEUE)
    return spent


def main(rounds: int = ROUNDS) -> None:
    """Print the table."""
    if not is_installed():
        print("backlog: RabbitMQ is not installed")
        return
    with tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name:
        site = Site(Path(name))
        few, many = Path(name, "few.db"), Path(name, "many.db")
        fill(few, FEW)
        fill(many, MANY)
        figures: dict[Path, list[dict[str, float]]] = {few: [], many: []}

        def rate(path: Path) -> float:
            figures[path].append(_in_a_process(path, site.node.url()))
            site.channel.queue_purge(QUEUE)
            return figures[path][-1]["rate"]

        try:
            taken = interleaved((lambda: rate(few), lambda: rate(many)), rounds)
            waits = [_wait_of_another(site) for _ in range(rounds)]
        finally:
            site.close()
    row(f"AMQP: relay at {FEW:,} pending, events/s", Figure.of([low for low, _ in taken]))
    row(f"AMQP: relay at {MANY:,} pending, events/s", Figure.of([high for _, high in taken]))
    row("AMQP: relay, rate at many / at few pending", Figure.of([high / low for low, high in taken]), AtLeast(0.9))
    for path, pending in ((few, FEW), (many, MANY)):
        row(f"relay at {pending:,} pending, CPU us/event", Figure.of([each["cpu"] for each in figures[path]]))
        row(f"relay at {pending:,} pending, memory MiB", Figure.of([each["memory"] for each in figures[path]]))
    row(f"AMQP: an event behind {BACKLOG:,} of another source, s", Figure.of(waits), AtMost(1.0))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(relay(Path(sys.argv[1]), os.environ["BROKER_URL"])))
    else:
        main()
