# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The consumer under kill -9, signals and lost connections."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits
from sourcepulse.brokers.file.admin import queue_statistics
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.batch import BATCH_EVENTS
from support.brokers.embedded_log import log_url, publish_events, push_event, wait_until

#: Prints each event when it begins to handle it; `slow` handles for ever at the number given.
LOOP = """
import sys, time
from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits
with Consumer(sys.argv[1], ["hg.#"], queue="me", durable=True) as consumer:
    print("ready", flush=True)
    for event in consumer:
        print(event.data["number"], flush=True)
        if event.data["number"] == int(sys.argv[2]):
            time.sleep(1000)
print("left", flush=True)
"""

RUN = """
import sys, time
from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits
def handle(event):
    print("begin", event.data["number"], flush=True)
    time.sleep(0.5)
    print("end", event.data["number"], flush=True)
with Consumer(sys.argv[1], ["hg.#"], queue="me", durable=True) as consumer:
    print("ready", flush=True)
    consumer.run(handle)
print("left", flush=True)
"""


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def run(processes: list[subprocess.Popen[str]], program: str, *arguments: str) -> subprocess.Popen[str]:
    shared = Path(__file__).parents[2] / "shared"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(shared)},
    )
    processes.append(process)
    assert lines(process, 1) == ["ready"]
    return process


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(count)]


def durable(url: BrokerUrl, **options: object) -> Consumer:
    consumer = Consumer(url, ["hg.#"], queue="me", durable=True, **options)  # type: ignore[arg-type]  # passed through
    consumer.open()
    return consumer


def test_a_killed_consumer_s_event_comes_again_and_what_it_handled_does_not(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    victim = run(processes, LOOP, str(url), "5")
    publish_events(url, *(push_event(number) for number in range(1, 9)))
    assert lines(victim, 5) == ["1", "2", "3", "4", "5"]
    victim.kill()
    victim.wait(10)
    consumer = durable(url, timeout=0.5)
    assert [event.data["number"] for event in consumer] == [5, 6, 7, 8]
    assert consumer.stats.gaps == 0


def test_consumers_killed_at_random_handle_everything_in_order(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    total = 300
    durable(url).close()
    publish_events(url, *(push_event(number) for number in range(1, total + 1)))
    got: list[int] = []
    for round_ in range(5):
        process = run(processes, LOOP, str(url), "0")
        mine = [int(line) for line in lines(process, 20 + 5 * round_)]
        process.kill()
        assert process.stdout is not None
        mine += [int(line) for line in process.stdout.read().rpartition("\n")[0].splitlines()]
        process.wait(10)
        # Only the batch at hand when the one before was killed is handled again, from its beginning.
        assert len(got) - BATCH_EVENTS < mine[0] <= len(got) + 1
        assert mine == list(range(mine[0], mine[-1] + 1))
        got += range(len(got) + 1, mine[-1] + 1)
    consumer = durable(url, timeout=0.5)
    mine = [event.data["number"] for event in consumer]
    assert consumer.stats.gaps == 0
    assert len(got) - BATCH_EVENTS < mine[0] <= len(got) + 1
    assert mine == list(range(mine[0], total + 1))


def test_the_waiting_consumer_goes_on_where_the_killed_one_was_without_a_gap(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    victim = run(processes, LOOP, str(url), "3")
    reported: list[object] = []
    waiting = durable(url, on_gap=reported.append, hold_seconds=0.1)
    publish_events(url, *(push_event(number) for number in range(1, 6)))
    assert lines(victim, 3) == ["1", "2", "3"]
    assert waiting.receive(0.3) is None
    victim.kill()
    victim.wait(10)
    got: list[int] = []
    while (event := waiting.receive(5 if len(got) < 3 else 0.2)) is not None:
        got.append(event.data["number"])
        waiting.acknowledge()
    assert got == [3, 4, 5]
    assert reported == []


def test_ctrl_c_leaves_the_loop_and_the_event_comes_again(
    url: BrokerUrl, processes: list[subprocess.Popen[str]]
) -> None:
    process = run(processes, LOOP, str(url), "2")
    publish_events(url, push_event(1), push_event(2), push_event(3))
    assert lines(process, 2) == ["1", "2"]
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in talk
    consumer = durable(url, timeout=0.5)
    assert [event.data["number"] for event in consumer] == [2, 3]


def test_sigterm_ends_run_after_the_event_in_progress(url: BrokerUrl, processes: list[subprocess.Popen[str]]) -> None:
    process = run(processes, RUN, str(url))
    publish_events(url, push_event(1), push_event(2))
    assert lines(process, 1) == ["begin 1"]
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said.splitlines() == ["end 1", "left"]
    consumer = durable(url, timeout=0.5)
    assert [event.data["number"] for event in consumer] == [2]


def take_for_dead(url: BrokerUrl) -> None:
    """Do what another consumer does to one that hangs."""
    with sqlite3.connect(url.path, timeout=10) as db:
        db.execute("UPDATE leases SET consumer = NULL")
        db.execute("DELETE FROM consumers")
    db.close()


def test_an_event_whose_connection_is_lost_while_it_is_handled_is_handled_once(url: BrokerUrl) -> None:
    consumer = durable(url, timeout=3)
    publish_events(url, *(push_event(number) for number in range(1, 5)))
    got: list[int] = []
    for event in consumer:
        got.append(event.data["number"])
        if got == [1]:
            time.sleep(0.05)
        if got == [1, 2]:
            time.sleep(0.05)
            take_for_dead(url)
        if len(got) == 4:
            break
    assert got == [1, 2, 3, 4]
    assert consumer.stats.reconnects == 1
    assert consumer.stats.repeats >= 1
    assert consumer.stats.gaps == 0


def test_what_was_held_back_when_the_connection_was_lost_comes_again_in_order(url: BrokerUrl) -> None:
    consumer = durable(url, hold_seconds=10)
    publish_events(url, push_event(1), push_event(3))
    first = consumer.receive(5)
    assert first is not None
    consumer.acknowledge()
    assert consumer.receive(0.3) is None
    take_for_dead(url)
    publish_events(url, push_event(2), push_event(4))
    got: list[int] = []
    while len(got) < 3:
        event = consumer.receive(10)
        assert event is not None
        got.append(event.data["number"])
        consumer.acknowledge()
    assert got == [2, 3, 4]
    # What came again took the place of what was held back, instead of being dropped as its repeat.
    assert consumer.stats.repeats == 0
    consumer.close()
    assert queue_statistics(url)[0].pending == 0


def test_a_temporary_subscription_keeps_its_queue_when_it_reconnects(url: BrokerUrl) -> None:
    with Consumer(url, ["hg.#"]) as consumer:
        publish_events(url, push_event(1))
        assert consumer.receive(5) is not None
        take_for_dead(url)
        publish_events(url, push_event(2))
        consumer.acknowledge()
        event = consumer.receive(10)
        assert event is not None
        assert event.data["number"] == 2
        assert consumer.stats.interruptions == 0


def test_a_queue_that_expired_meanwhile_is_reported(url: BrokerUrl) -> None:
    reported: list[bool] = []
    limits = QueueLimits(expires_s=0)
    durable(url, limits=limits, on_interrupted=lambda: reported.append(True)).close()
    assert reported == []
    time.sleep(0.01)
    consumer = durable(url, limits=limits, on_interrupted=lambda: reported.append(True))
    assert reported == [True]
    assert consumer.stats.interruptions == 1


def test_a_consumer_that_is_no_longer_referenced_leaves_its_queue_at_once(url: BrokerUrl) -> None:
    gc.disable()
    try:
        publish_events(url, push_event(1), push_event(2))
        for _ in range(2):
            for event in Consumer(url, ["hg.#"], queue="me", durable=True, from_start=True, timeout=10):
                assert event.data["number"] == 1
                break
            else:
                pytest.fail("the queue was still taken")
    finally:
        gc.enable()


def test_a_log_that_is_not_there_yet_is_waited_for(url: BrokerUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    from sourcepulse.brokers.file import tables as local_schema

    monkeypatch.setattr(local_schema, "LOCK_WAIT_SECONDS", 0.2)
    durable(url).close()
    publish_events(url, push_event(1))
    blocker = sqlite3.connect(url.path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    consumer = durable(url)
    assert not consumer.connected
    timer = threading.Timer(1.0, lambda: blocker.execute("ROLLBACK"))
    timer.start()
    event = consumer.receive(20)
    timer.join()
    blocker.close()
    assert event is not None
    assert event.data["number"] == 1


def test_silence_is_bounded_while_the_broker_is_away(url: BrokerUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    from sourcepulse.brokers.file import tables as local_schema

    monkeypatch.setattr(local_schema, "LOCK_WAIT_SECONDS", 0.1)
    durable(url).close()
    blocker = sqlite3.connect(url.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    consumer = durable(url)
    begun = time.monotonic()
    assert consumer.receive(0.7) is None
    assert 0.6 < time.monotonic() - begun < 10
    blocker.close()


def test_a_closed_consumer_leaves_a_durable_queue_with_what_waits(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, push_event(1))
    assert consumer.receive(5) is not None
    consumer.close()
    consumer.close()
    wait_until(lambda: queue_statistics(url)[0].pending == 1)
    assert queue_statistics(url)[0].consumers == 0
