# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The callback form of a consumer with several workers, at the embedded log."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse import Consumer, Event
from sourcepulse.brokers.file.admin import dead_letters, queue_statistics
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import ConfigError, StateError
from sourcepulse.gaps import Gap
from support.brokers.embedded_log import log_url, publish_events, push_event, wait_until

LIMIT_SECONDS = 20.0


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def durable(url: BrokerUrl, **options: object) -> Consumer:
    consumer = Consumer(url, ["hg.#"], queue="me", durable=True, **options)  # type: ignore[arg-type]  # passed through
    consumer.open()
    return consumer


def pushes(source: str, *numbers: int) -> list[Event]:
    return [push_event(number, source=f"hg://{source}/repo") for number in numbers]


def name(event: Event) -> str:
    return f"{event.source.split('/')[2]}{event.data['number']}"


def unsettled(url: BrokerUrl) -> int:
    """Return how many events the queue holds, with a consumer or not."""
    (queue,) = queue_statistics(url)
    return queue.pending + queue.leased


def take_for_dead(url: BrokerUrl) -> None:
    """Do what another consumer does to one that hangs."""
    with closing(sqlite3.connect(url.path, timeout=10)) as db, db:
        db.execute("UPDATE leases SET consumer = NULL")
        db.execute("DELETE FROM consumers")


class Workplace:
    """A callback that names what is in progress, and holds the events that a test wants it to hold."""

    def __init__(self, *held: str) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self.threads: set[str] = set()
        self.may_go_on = {each: threading.Event() for each in held}
        self._at_work: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._lock:
            assert event.source not in self._at_work, "two workers at one source"
            self._at_work.add(event.source)
            self.begun.append(name(event))
            self.threads.add(threading.current_thread().name)
        if name(event) in self.may_go_on:
            assert self.may_go_on[name(event)].wait(LIMIT_SECONDS)
        with self._lock:
            self._at_work.discard(event.source)
            self.done.append(name(event))

    def let_go(self) -> None:
        for each in self.may_go_on.values():
            each.set()


class Running:
    """`run` in a thread of its own, with its error."""

    def __init__(self, consumer: Consumer, callback: object, **options: object) -> None:
        self.error: BaseException | None = None
        self._consumer = consumer

        def run() -> None:
            try:
                consumer.run(callback, **options)  # type: ignore[arg-type]  # passed through
            except BaseException as error:  # noqa: BLE001 - looked at by the test
                self.error = error

        # A daemon, so that a test that fails ends.
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._thread.join(LIMIT_SECONDS)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        self._consumer.stop()
        self.end()


def test_sources_go_on_beside_each_other_and_each_stays_in_order(url: BrokerUrl) -> None:
    consumer = durable(url, timeout=0.5)
    events = [push_event(number, source=f"hg://{source}/repo") for number in range(1, 31) for source in "abcdef"]
    publish_events(url, *events)
    place = Workplace()

    def callback(event: Event) -> None:
        place(event)
        time.sleep(0.001)

    consumer.run(callback, workers=4)
    per_source = defaultdict(list)
    for each in place.done:
        per_source[each[0]].append(int(each[1:]))
    assert per_source == {source: list(range(1, 31)) for source in "abcdef"}
    assert len(place.threads) == 4
    assert consumer.stats.received == 180
    consumer.close()
    assert unsettled(url) == 0


def test_one_worker_is_the_calling_thread_and_sees_the_order_of_arrival(url: BrokerUrl) -> None:
    place = Workplace()
    with durable(url, timeout=0.3) as consumer:
        publish_events(url, *pushes("a", 1), *pushes("b", 1), *pushes("a", 2, 3), *pushes("b", 2))
        consumer.run(place)
    assert place.done == ["a1", "b1", "a2", "a3", "b2"]
    assert place.threads == {threading.current_thread().name}


def test_events_are_acknowledged_in_any_order_across_sources(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", 1, 2), *pushes("b", 1, 2))
    place = Workplace("a1")
    running = Running(consumer, place, workers=2)
    wait_until(lambda: place.done == ["b1", "b2"] and unsettled(url) == 2)
    assert place.begun.count("a2") == 0
    place.let_go()
    wait_until(lambda: unsettled(url) == 0)
    running.stop()
    consumer.close()
    assert place.done == ["b1", "b2", "a1", "a2"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_callback_that_fails_blocks_its_own_source_only(url: BrokerUrl, workers: int) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("bad", 1, 2), *pushes("good", 1, 2, 3))
    done: list[str] = []
    heal = threading.Event()

    def callback(event: Event) -> None:
        if name(event) == "bad1" and not heal.is_set():
            raise ValueError("not yet")
        done.append(name(event))

    running = Running(consumer, callback, workers=workers, attempts=1000, retry_seconds=0.02)
    wait_until(lambda: len(done) == 3)
    assert done == ["good1", "good2", "good3"]
    heal.set()
    wait_until(lambda: len(done) == 5)
    running.stop()
    assert done[3:] == ["bad1", "bad2"]
    consumer.close()


def test_an_event_that_fails_too_often_is_set_aside_and_its_source_goes_on(url: BrokerUrl) -> None:
    tries: list[str] = []

    def callback(event: Event) -> None:
        tries.append(name(event))
        if name(event) == "a1":
            raise ValueError("a secret detail")

    with durable(url, timeout=0.3) as consumer:
        publish_events(url, *pushes("a", 1, 2))
        consumer.run(callback, workers=2, attempts=3, retry_seconds=0.01)
        assert consumer.stats.rejected == 1
    assert tries == ["a1", "a1", "a1", "a2"]
    (letter,) = dead_letters(url, "me")
    assert letter.reason == "the callback failed 3 times, the last time with ValueError"


@pytest.mark.parametrize("workers", [1, 2])
def test_stop_finishes_what_is_in_progress_and_returns_the_rest(url: BrokerUrl, workers: int) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", 1, 2, 3))
    place = Workplace("a1")
    running = Running(consumer, place, workers=workers)
    wait_until(lambda: place.begun == ["a1"])
    consumer.stop()
    time.sleep(0.3)
    place.let_go()
    running.end()
    assert (place.done, running.error) == (["a1"], None)
    other = Consumer(url, ["hg.#"], queue="me", durable=True, timeout=0.5)
    assert [name(event) for event in other] == ["a2", "a3"], "given back at once, though the first was not closed"
    assert other.stats.gaps == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_after_stop_no_worker_begins_another_event(url: BrokerUrl, workers: int) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", *range(1, 51)))
    begun: list[str] = []

    def callback(event: Event) -> None:
        begun.append(name(event))
        if name(event) == "a20":
            consumer.stop()

    consumer.run(callback, workers=workers)
    assert begun[-1] == "a20"
    consumer.close()


def test_an_event_that_waits_for_its_next_attempt_is_given_back_by_stop(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", 1))
    tried = threading.Event()

    def callback(event: Event) -> None:
        tried.set()
        raise ValueError

    running = Running(consumer, callback, workers=2, retry_seconds=1000)
    assert tried.wait(LIMIT_SECONDS)
    running.stop()
    consumer.close()
    assert [name(event) for event in durable(url, timeout=0.3)] == ["a1"]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_event_in_progress_when_the_connection_is_lost_is_handled_and_acknowledged_once(
    url: BrokerUrl, workers: int
) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", 1, 2, 3), *pushes("b", 1))
    place = Workplace("a1")
    running = Running(consumer, place, workers=workers)
    wait_until(lambda: place.begun[:1] == ["a1"] and (workers == 1 or place.done == ["b1"]))
    take_for_dead(url)
    wait_until(lambda: consumer.stats.reconnects == 1 and consumer.stats.repeats >= 1)
    # It came again, was known, and is neither handed to another worker nor acknowledged before it is done.
    assert place.begun.count("a1") == 1
    assert unsettled(url) >= 3
    place.let_go()
    wait_until(lambda: unsettled(url) == 0)
    running.stop()
    consumer.close()
    assert sorted(place.begun) == ["a1", "a2", "a3", "b1"]
    assert [each for each in place.done if each[0] == "a"] == ["a1", "a2", "a3"]
    assert (consumer.stats.gaps, consumer.stats.late) == (0, 0)


def test_a_process_that_dies_after_a_reconnection_has_acknowledged_nothing_in_progress(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", 1, 2))
    place = Workplace("a1")
    running = Running(consumer, place, workers=2)
    wait_until(lambda: place.begun == ["a1"])
    take_for_dead(url)
    wait_until(lambda: consumer.stats.repeats == 1)
    # What another process would get if this one were killed now: all of it.
    assert unsettled(url) == 2
    place.let_go()
    running.stop()
    consumer.close()


def test_a_long_callback_keeps_its_connection_and_others_get_on(url: BrokerUrl) -> None:
    consumer = durable(url, on_gap=print)
    publish_events(url, *pushes("slow", 1))
    place = Workplace("slow1")
    running = Running(consumer, place, workers=2)
    wait_until(lambda: place.begun == ["slow1"])
    publish_events(url, *pushes("b", 1, 2))
    wait_until(lambda: place.done == ["b1", "b2"])
    place.let_go()
    wait_until(lambda: unsettled(url) == 0)
    running.stop()
    assert consumer.stats.reconnects == 0
    consumer.close()


def test_no_more_than_the_prefetch_is_in_hand(url: BrokerUrl) -> None:
    consumer = durable(url, prefetch=4)
    publish_events(url, *pushes("a", *range(1, 21)))
    place = Workplace("a1")
    running = Running(consumer, place, workers=2)
    wait_until(lambda: place.begun == ["a1"])
    time.sleep(0.3)
    assert queue_statistics(url)[0].leased == 4
    place.let_go()
    wait_until(lambda: len(place.done) == 20)
    running.stop()
    consumer.close()


def test_a_full_prefetch_is_not_a_gap(url: BrokerUrl) -> None:
    reported: list[Gap] = []
    consumer = durable(url, prefetch=4, hold_seconds=0.05, on_gap=reported.append)
    publish_events(url, *pushes("a", 1, 2, 4), *pushes("b", 1), *pushes("a", 3))
    place = Workplace("a1", "b1")
    running = Running(consumer, place, workers=2)
    wait_until(lambda: sorted(place.begun) == ["a1", "b1"])
    # The broker may not send the third event before something is acknowledged.
    time.sleep(0.3)
    place.let_go()
    wait_until(lambda: len(place.done) == 5)
    running.stop()
    consumer.close()
    assert [each for each in place.done if each[0] == "a"] == ["a1", "a2", "a3", "a4"]
    assert reported == []


def test_an_attempt_that_cannot_be_counted_ends_run_with_the_reason(url: BrokerUrl, tmp_path: Path) -> None:
    def consumer() -> Consumer:
        path = tmp_path / "memory.db"
        return Consumer(url, ["hg.push.repo"], queue="me", durable=True, state=path, timeout=0.5)

    consumer().__enter__().close()
    publish_events(url, *pushes("a", 1))
    with consumer() as first:
        assert first.receive(5) is not None
    second = consumer()
    second.open()
    for path in tmp_path.glob("memory.db*"):
        path.unlink()
    begun: list[Event] = []
    running = Running(second, begun.append, workers=2)
    running.end()
    assert isinstance(running.error, StateError)
    assert begun == []
    second.close()
    assert unsettled(url) == 1


def test_an_exception_that_is_not_an_error_ends_run_and_the_event_comes_again(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", 1), *pushes("b", 1))

    def callback(event: Event) -> None:
        if name(event) == "a1":
            raise SystemExit(7)

    for workers in (1, 2):
        with pytest.raises(SystemExit, match="7"):
            consumer.run(callback, workers=workers)
    got: list[str] = []
    while (event := consumer.receive(0.5)) is not None:
        got.append(name(event))
        consumer.acknowledge()
    assert got[0] == "a1"
    consumer.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_gap_callback_raises_ends_run(url: BrokerUrl, workers: int) -> None:
    def on_gap(gap: Gap) -> None:
        raise LookupError(f"{gap.first_missing}")

    consumer = durable(url, on_gap=on_gap, hold_seconds=0.05)
    publish_events(url, *pushes("a", 1, 3))
    place = Workplace()
    with pytest.raises(LookupError, match="2"):
        consumer.run(place, workers=workers)
    assert place.done == ["a1"]
    assert [name(event) for event in durable(url, timeout=0.5, hold_seconds=0.05)] == ["a3"], (
        "the event behind the gap is not lost"
    )


def test_the_event_that_receive_gave_is_the_first_that_run_handles(url: BrokerUrl) -> None:
    consumer = durable(url, timeout=0.3)
    publish_events(url, *pushes("a", 1, 2))
    assert consumer.receive(5) is not None
    place = Workplace()
    consumer.run(place)
    assert place.done == ["a1", "a2"]
    assert consumer.receive(0) is None
    consumer.close()


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_is_a_mistake(url: BrokerUrl, workers: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"), durable(url) as consumer:
        consumer.run(print, workers=workers)


def test_a_consumer_in_use_cannot_be_asked_for_events_besides(url: BrokerUrl) -> None:
    consumer = durable(url)
    publish_events(url, *pushes("a", 1))
    place = Workplace("a1")
    running = Running(consumer, place)
    wait_until(lambda: place.begun)
    with pytest.raises(RuntimeError, match="this consumer is in use"):
        consumer.receive(0)
    place.let_go()
    running.stop()
    consumer.close()


def test_a_single_busy_source_is_not_slowed_by_idle_workers(url: BrokerUrl) -> None:
    # Each wait of the feed's slice per event would take forty seconds and more.
    consumer = durable(url, timeout=0.3, prefetch=2)
    publish_events(url, *pushes("a", *range(1, 2001)))
    place = Workplace()
    running = Running(consumer, place, workers=4)
    running.end()
    assert len(place.done) == 2000
    consumer.close()


def test_a_shared_queue_is_served_one_at_a_time_without_a_wait_between(url: BrokerUrl) -> None:
    consumer = durable(url, timeout=0.3, prefetch=1, shared=True)
    publish_events(url, *pushes("a", *range(1, 501)))
    place = Workplace()
    running = Running(consumer, place, workers=1)
    running.end()
    assert len(place.done) == 500
    consumer.close()
