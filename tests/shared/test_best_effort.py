# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever looks at a relay or speaks of it may fail or hang: the relay delivers, and ends when it is asked to."""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import config
from sourcepulse.brokers import Message, Outcome, Publisher
from sourcepulse.brokers.management.queues import RabbitmqQueues
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerError, BrokerUnavailableError, OutboxWriteError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.announce import Announcer
from sourcepulse.relay.health.on_change import OnChange
from sourcepulse.relay.health.queues.watch import QueueWatch
from sourcepulse.relay.health.watch import Watch
from sourcepulse.relay.relay import Relay
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event
from support.brokers.embedded_log import wait_until

LIMIT_SECONDS = 30.0
#: What a management API may answer instead, by the end of the path that is asked for.
SHAPES: dict[str, dict[str, Any]] = {
    "bindings that are an object": {"source": {"error": "x"}},
    "bindings of numbers": {"source": [1]},
    "a binding without a destination": {"source": [{"destination_type": "queue"}]},
    "queues that are numbers": {"v": {"items": [1], "page_count": 1}},
    "a queue without a name": {"v": {"items": [{}], "page_count": 1}},
    "a count of pages that is a text": {"v": {"items": [], "page_count": "many"}},
    "a depth that is a text": {"v": {"items": [{"name": "q", "messages": "many"}], "page_count": 1}},
    "arguments that are a list": {"v": {"items": [{"name": "q", "arguments": ["x"]}], "page_count": 1}},
    "consumers that are an object": {"consumers/v": {"error": "x"}},
    "a consumer of no queue": {"consumers/v": [{"channel_details": {"user": "u"}}]},
    "a text": {"source": "x"},
    "nothing": {"source": None},
}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


@contextmanager
def management(changes: dict[str, Any]) -> Iterator[str]:
    """Yield the URL of a management API without queues, but for some answers."""
    sound = {"source": [], "consumers/v": [], "v": {"items": [], "page_count": 1}}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            value = next(answer for end, answer in {**changes, **sound, **changes}.items() if path.endswith(end))
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://m:p@127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def delivery_to(
    broker: MemoryBroker,
    own: Outbox,
    announcer: Announcer | None = None,
    open_publisher: Callable[[], Publisher] | None = None,
) -> Delivery:
    return Delivery(
        own,
        "public",
        open_publisher or broker.publisher,
        exchange="x",
        clock=time.time,
        announcer=announcer,
        jitter=lambda: 1.0,
    )


@contextmanager
def running(outbox: Outbox, broker: MemoryBroker, **monitors: Any) -> Iterator[threading.Thread]:
    stop = threading.Event()
    with Outbox.open(outbox.path) as house, Outbox.open(outbox.path) as own:
        keep = Keep(days=1, bytes=2**30)
        relay = Relay(house, [delivery_to(broker, own)], sweep=lambda: 0, keep=keep, stop=stop, **monitors)
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            yield thread
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)
            assert not thread.is_alive()


def failures(outbox: Outbox) -> dict[str, int]:
    found: dict[str, int] = figures(outbox)["streams"]["public"]["failures_by_reason"]
    return found


@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_an_answer_of_another_shape_is_an_error_with_a_sentence(changes: dict[str, Any]) -> None:
    with management(changes) as url:
        queues = RabbitmqQueues(
            BrokerUrl.parse("amqp://127.0.0.1/v"), {"public": "sourcepulse"}, BrokerUrl.parse_management(url)
        )
        with pytest.raises(BrokerError, match="answers with something else, not as RabbitMQ's management plugin does"):
            queues.read()


def test_a_relay_delivers_whatever_its_management_api_answers(
    outbox: Outbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with management({"source": {"error": "x"}}) as url:
        broker = tmp_path / "broker"
        broker.write_text("amqp://127.0.0.1:1/v")
        settings = config.load({"broker_file": str(broker), "management_url": url}, environ={})
        with open_relay(outbox.path, settings, stop := threading.Event()) as relay:
            thread = threading.Thread(target=relay.run)
            thread.start()
            try:
                wait_until(lambda: "the queues cannot be seen" in caplog.text, LIMIT_SECONDS)
                broker.write_text(f"file://{tmp_path}/log.db")
                outbox.append([system_event(1)])
                wait_until(lambda: not outbox.has_pending("public"), LIMIT_SECONDS)
            finally:
                stop.set()
                thread.join(LIMIT_SECONDS)


def test_a_look_at_the_queues_that_fails_is_logged_once_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    def read() -> list[Any]:
        raise AttributeError("no such thing")

    watch = QueueWatch(read, {})
    for now in range(3):
        watch.look(float(now))
    (record,) = caplog.records
    assert "AttributeError('no such thing')" in record.message
    assert record.exc_info


def test_a_job_that_only_looks_may_break_and_the_relay_delivers(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("it is broken")

    broker = MemoryBroker()
    with (
        Outbox.open(outbox.path) as watched,
        running(outbox, broker, queue_watch=broken, watch=Watch(watched, ["public"], {}, report=broken)) as thread,
    ):
        wait_until(lambda: caplog.text.count("ZeroDivisionError") >= 2, LIMIT_SECONDS)
        outbox.append([system_event(1)])
        wait_until(lambda: len(broker.messages) == 1, LIMIT_SECONDS)
        assert thread.is_alive()
    logged = [each.message for each in caplog.records if each.levelno == logging.ERROR]
    assert sorted(logged) == [
        "the condition of the streams cannot be watched",
        "the relay's thread for queues failed; it begins again",
    ]


def test_a_job_that_hangs_does_not_keep_the_relay_from_its_end(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sourcepulse.relay.relay.MONITOR_LIMIT_SECONDS", 0.2)
    answers, began = threading.Event(), threading.Event()

    class Hangs:
        def run(self, _: threading.Event) -> None:
            began.set()
            answers.wait(2 * LIMIT_SECONDS)

    try:
        with running(outbox, MemoryBroker(), queue_watch=Hangs):
            assert began.wait(LIMIT_SECONDS)
    finally:
        answers.set()


def test_a_command_that_no_signal_ends_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It stands for one that waits for a dead disk.
    killed: list[int] = []
    monkeypatch.setattr("os.killpg", lambda group, _: killed.append(group))
    monkeypatch.setattr("sourcepulse.relay.health.on_change.KILLED_LIMIT_SECONDS", 0.1)
    began = time.monotonic()
    OnChange("sleep 60", tmp_path, limit_s=0.1).run("degraded", "why", "public", stop=threading.Event())
    assert time.monotonic() - began < LIMIT_SECONDS
    os.kill(killed[0], signal.SIGKILL)


def test_an_announcement_that_cannot_be_encoded_is_dropped_and_the_next_one_is_sent(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    broker, announcer = MemoryBroker(), Announcer("public")
    delivery = delivery_to(broker, outbox, announcer)
    announcer.announce_data("system.queue.overgrown.v1", {"message": "x", "queue": "q\ud800"}, subject="queue/q\ud800")
    announcer.announce("up", "it works")
    delivery.announce()
    assert [message.type for message in broker.messages] == ["system.relay.up.v1"]
    assert "a system.queue.overgrown.v1 cannot be encoded and is dropped" in caplog.text
    assert failures(outbox) == {"announcement": 1}


def test_nothing_is_announced_while_the_broker_is_not_to_be_asked(outbox: Outbox) -> None:
    is_away = True

    def publisher() -> Publisher:
        if is_away:
            raise BrokerUnavailableError("it is away")
        return broker.publisher()

    broker, announcer = MemoryBroker(), Announcer("public")
    delivery = delivery_to(broker, outbox, announcer, publisher)
    outbox.append([system_event(1)])
    announcer.announce("up", "it works")
    assert delivery.is_due()
    delivery.attempt(lambda: False)
    assert delivery.next_attempt_in() > 0
    assert not delivery.is_due()
    is_away = False
    wait_until(lambda: delivery.next_attempt_in() == 0)
    assert delivery.is_due()


def test_an_announcement_that_is_not_stored_delays_no_event_and_the_next_waits(outbox: Outbox) -> None:
    def judge(message: Message) -> Outcome:
        if message.type.startswith("system.relay."):
            raise BrokerUnavailableError("a queue is full")
        return Outcome.DELIVERED

    broker, announcer = MemoryBroker(judge=judge), Announcer("public")
    delivery = delivery_to(broker, outbox, announcer)
    for _ in range(2):
        announcer.announce("up", "it works")
    delivery.announce()
    assert not delivery.is_due()
    assert delivery.next_attempt_in() == 0
    outbox.append([system_event(1)])
    assert delivery.attempt(lambda: False).delivered == 1
    assert not delivery.is_due()
    wait_until(delivery.is_due)
    delivery.announce()
    assert announcer.next() is None
    assert failures(outbox) == {"announcement": 2}


def test_a_failure_of_the_outbox_in_the_loop_of_a_relay_is_counted(outbox: Outbox) -> None:
    def full(_: Message) -> Outcome:
        raise OutboxWriteError("the disk is full")

    outbox.append([system_event(1)])
    with running(outbox, MemoryBroker(judge=full)):
        wait_until(lambda: failures(outbox) == {"outbox-unwritable": 1}, LIMIT_SECONDS)
