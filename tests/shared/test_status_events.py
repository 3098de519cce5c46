# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A relay that is a service reports when it starts, is degraded, has recovered and ends; by a second way as well."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer, Event, config
from sourcepulse.brokers import Message, Outcome
from sourcepulse.catalogue import check
from sourcepulse.errors import ConfigError, VisibilityUnknownError
from sourcepulse.outbox.delivery_state import reported_reasons
from sourcepulse.outbox.outbox import Claimed, Outbox
from sourcepulse.outbox.outgoing.visibility import Gate, Verdict
from sourcepulse.outbox.queries import figures
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.announce import WAITING_MAX, Announcer
from sourcepulse.relay.health.condition import Rules
from sourcepulse.relay.health.heartbeat import TYPE, Heartbeat
from sourcepulse.relay.health.on_change import OnChange
from sourcepulse.relay.relay import Relay
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event
from support.brokers.embedded_log import wait_until
from support.brokers.rabbitmq import RabbitNode

#: The real ones take minutes.
HASTY = Rules(failures=2, settled_s=0.3, interval_s=0.4, look_s=0.05)
LIMIT_SECONDS = 30.0
STARTED, DEGRADED, RECOVERED, STOPPED = (
    f"system.relay.{state}.v1" for state in ("started", "degraded", "recovered", "stopped")
)
SMALL_BYTES = 16_384


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


@contextmanager
def service(outbox: Outbox, values: Mapping[str, Any]) -> Iterator[Relay]:
    stop = threading.Event()
    with open_relay(outbox.path, config.load(values, environ={}), stop, rules=HASTY) as relay:
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            yield relay
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)


def states(consumer: Consumer) -> Iterator[Event]:
    """Yield the status events of relays, each checked against its schema."""
    for event in consumer:
        if event.type.startswith("system.relay.") and event.type != TYPE:
            check(event.type, event.data)
            yield event


def bury_one(outbox: Outbox, source: str = "system://s") -> None:
    """Store an event that is larger than what is sent."""
    outbox.append([system_event(1, source=source, message="x" * 2 * SMALL_BYTES)], max_bytes=SMALL_BYTES)


def test_a_consumer_learns_that_a_relay_starts_is_degraded_recovers_and_ends(
    rabbitmq: RabbitNode, outbox: Outbox
) -> None:
    exchange = "status-events"
    url = rabbitmq.url()
    with Consumer(url, ["system.#"], exchange=exchange, state=":memory:", timeout=LIMIT_SECONDS) as consumer:
        seen = states(consumer)
        with service(outbox, {"broker": url, "exchange": exchange}):
            started = next(seen)
            bury_one(outbox)
            degraded = next(seen)
            outbox.retry(1)
            recovered = next(seen)
        stopped = next(seen)
        assert [event.type for event in (started, degraded, recovered, stopped)] == [
            STARTED,
            DEGRADED,
            RECOVERED,
            STOPPED,
        ]
        assert (consumer.stats.gaps, consumer.stats.bad) == (0, 0)
    assert degraded.subject == "relay"
    assert degraded.data["message"] == "1 event is buried"
    assert degraded.data["figures"] == {"pending": 0, "oldest_age_s": None, "failures": 0, "buried": 1}
    assert recovered.data["figures"]["buried"] == 0
    assert stopped.data["message"] == "the relay ends as it was asked to"
    assert {event.numbers for event in (started, degraded, recovered, stopped)} == {None}
    assert figures(outbox)["streams"]["public"]["delivered"] == 1, "none of them is stored"


def test_readers_of_the_public_stream_learn_nothing_of_the_restricted_one(tmp_path: Path, outbox: Outbox) -> None:
    public, restricted = f"file://{tmp_path}/public.db", f"file://{tmp_path}/restricted.db"
    with (
        Consumer(public, ["#"], state=":memory:", timeout=LIMIT_SECONDS) as ours,
        Consumer(
            restricted, ["#"], exchange="sourcepulse-restricted", state=":memory:", timeout=LIMIT_SECONDS
        ) as theirs,
    ):
        with service(outbox, {"broker": public, "restricted_broker": restricted}):
            bury_one(outbox, "system://secret?restricted")
            seen = states(theirs)
            events = [next(seen), next(seen)]
        assert [event.type for event in events] == [STARTED, DEGRADED]
        assert all(event.source.endswith("?restricted") for event in events)
        public_ones = []
        while (event := ours.receive(0.2)) is not None:
            public_ones.append(event)
            ours.acknowledge()
    assert [event.type for event in public_ones if event.type != TYPE] == [STARTED, STOPPED]
    assert {event.data["figures"]["buried"] for event in public_ones if event.type != TYPE} == {0}
    assert "secret" not in str(public_ones)


def test_the_command_hears_of_a_broker_that_is_away_and_the_bus_once_it_is_back(tmp_path: Path, outbox: Outbox) -> None:
    url, heard = f"file://{tmp_path}/log.db", tmp_path / "heard"
    broker_file = tmp_path / "broker"
    broker_file.write_text("amqp://127.0.0.1:1", encoding="utf-8")
    script = tmp_path / "page somebody"
    script.write_text(
        f'#!/bin/sh\necho "$RELAY_STATE $RELAY_STREAM $RELAY_OUTBOX $1: $RELAY_REASON" >> {heard}\n', encoding="utf-8"
    )
    script.chmod(0o755)

    def lines() -> list[str]:
        return heard.read_text(encoding="utf-8").splitlines() if heard.exists() else []

    with service(outbox, {"broker_file": str(broker_file), "on_change": f"'{script}' '$(id);#'"}):
        wait_until(lambda: len(lines()) == 1, LIMIT_SECONDS)
        assert lines()[0].startswith(f"degraded public {outbox.path} $(id);#: ")
        assert "attempts in a row failed, the last time: unreachable" in lines()[0]
        with Consumer(url, ["#"], state=":memory:", timeout=LIMIT_SECONDS) as consumer:
            broker_file.write_text(url, encoding="utf-8")
            seen = states(consumer)
            assert [next(seen).type for _ in range(3)] == [STARTED, DEGRADED, RECOVERED]
        wait_until(lambda: len(lines()) == 2, LIMIT_SECONDS)
    assert lines()[1].startswith(f"recovered public {outbox.path} ")


def test_the_next_relay_reports_that_a_stream_has_recovered(tmp_path: Path, outbox: Outbox) -> None:
    url, heard = f"file://{tmp_path}/log.db", tmp_path / "heard"
    script = tmp_path / "page"
    script.write_text(f'#!/bin/sh\necho "$RELAY_STATE" >> {heard}\n', encoding="utf-8")
    script.chmod(0o755)
    values = {"broker": url, "on_change": str(script)}
    with Consumer(url, ["#"], state=":memory:", timeout=LIMIT_SECONDS) as consumer:
        seen = states(consumer)
        bury_one(outbox)
        with service(outbox, values):
            assert [next(seen).type for _ in range(2)] == [STARTED, DEGRADED]
            wait_until(lambda: reported_reasons(outbox, "public") == ["buried"], LIMIT_SECONDS)
        outbox.retry(1)
        with service(outbox, values):
            assert [next(seen).type for _ in range(3)] == [STOPPED, STARTED, RECOVERED]
            wait_until(lambda: reported_reasons(outbox, "public") is None, LIMIT_SECONDS)
    assert heard.read_text(encoding="utf-8").split() == ["degraded", "recovered"]


def test_without_heartbeats_there_are_no_status_events_and_the_command_still_runs(
    tmp_path: Path, outbox: Outbox
) -> None:
    url, heard = f"file://{tmp_path}/log.db", tmp_path / "heard"
    with Consumer(url, ["#"], state=":memory:") as consumer:
        with service(outbox, {"broker": url, "heartbeat_s": 0, "on_change": f"touch {heard}"}):
            bury_one(outbox)
            wait_until(heard.exists, LIMIT_SECONDS)
        assert consumer.receive(0.2) is None


def relay_to(
    broker: MemoryBroker, outbox: Outbox, own: Outbox, stop: threading.Event, gate: Gate | None = None
) -> Relay:
    announcer = Announcer("public", Heartbeat(own, "public", 1, jitter=lambda: 0.0))
    delivery = Delivery(own, "public", broker.publisher, exchange="x", clock=time.time, gate=gate, announcer=announcer)
    return Relay(
        outbox,
        [delivery],
        sweep=lambda: 0,
        keep=Keep(days=1, bytes=2**30),
        stop=stop,
        announcers={"public": announcer},
    )


@contextmanager
def running(relay: Relay, stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LIMIT_SECONDS)


def test_a_relay_that_always_has_an_event_to_send_beats_as_well(outbox: Outbox) -> None:
    stop = threading.Event()
    numbers = iter(range(1, 10**9))

    def one_more(message: Message) -> Outcome:
        if not message.type.startswith("system.relay."):
            outbox.append([system_event(next(numbers))])
        return Outcome.DELIVERED

    broker = MemoryBroker(judge=one_more)
    with Outbox.open(outbox.path) as own, Outbox.open(outbox.path) as other:
        relay = relay_to(broker, other, own, stop)
        outbox.append([system_event(0)])
        with running(relay, stop):
            wait_until(lambda: sum(message.type == TYPE for message in list(broker.messages)) >= 2, LIMIT_SECONDS)
        assert outbox.has_pending("public"), "there was always one more"


def test_events_that_wait_for_their_visibility_do_not_silence_the_relay(outbox: Outbox) -> None:
    class Unknown:
        def ask(self, events: Sequence[Claimed]) -> list[Verdict]:
            raise VisibilityUnknownError("Bugzilla does not answer")

        def close(self) -> None:
            """Nothing was opened."""

    broker, stop = MemoryBroker(), threading.Event()
    outbox.append([system_event(1, source="bugzilla://b")])
    with Outbox.open(outbox.path) as own, Outbox.open(outbox.path) as other:
        relay = relay_to(broker, other, own, stop, Gate(own, {"bugzilla": lambda _: Unknown()}))
        with running(relay, stop):
            wait_until(lambda: figures(outbox)["streams"]["public"]["failures"] >= 2, LIMIT_SECONDS)
            failures = figures(outbox)["streams"]["public"]["failures"]
            beats = len(broker.messages)
            wait_until(lambda: len(broker.messages) > beats, LIMIT_SECONDS)
        assert {message.type for message in broker.messages} == {TYPE, STOPPED}
        assert figures(outbox)["streams"]["public"]["failures"] >= failures, "a heartbeat is no proof that they can go"


def test_an_event_about_the_system_is_published_by_any_thread_and_not_stored(outbox: Outbox) -> None:
    broker, stop = MemoryBroker(), threading.Event()
    with Outbox.open(outbox.path) as own, Outbox.open(outbox.path) as other:
        relay = relay_to(broker, other, own, stop)
        with running(relay, stop):
            relay.announcers["public"].announce(
                "overgrown", "the queue of ci has 8 of 10", service="queue", subject="ci", figures={"events": 8}
            )
            wait_until(lambda: "system.queue.overgrown" in [each.routing_key for each in list(broker.messages)])
        assert not outbox.has_pending("public")


def test_of_many_announcements_the_newest_are_kept() -> None:
    announcer = Announcer("public")
    for number in range(WAITING_MAX + 5):
        announcer.announce("up", f"number {number}")
    first = announcer.next()
    assert first is not None
    assert first.data["message"] == "number 5"


def test_a_command_that_fails_or_never_ends_is_logged_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for command in ("/does/not/exist", "false", "sh -c 'sleep 1000 & wait'"):
        began = time.monotonic()
        OnChange(command, tmp_path, limit_s=0.2).run("degraded", "why", "public", stop=threading.Event())
        assert time.monotonic() - began < LIMIT_SECONDS
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert "/does/not/exist cannot be run: No such file" in caplog.text
    assert "false ended with code 1" in caplog.text
    assert "sh did not end and was killed" in caplog.text


@pytest.mark.parametrize("command", ["'unfinished", "   "])
def test_a_command_that_cannot_be_read_is_refused_at_the_start(tmp_path: Path, command: str) -> None:
    with pytest.raises(ConfigError, match="on_change"):
        OnChange(command, tmp_path)


def test_the_command_gets_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in config.URLS:
        monkeypatch.setenv(f"SOURCEPULSE_{key.upper()}", "amqp://u:secret@h")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    out = tmp_path / "env"
    OnChange(f"sh -c 'env > {out}'", tmp_path).run("degraded", "why", "public", stop=threading.Event())
    text = out.read_text(encoding="utf-8")
    assert "secret" not in text
    assert "NOTIFY_SOCKET" not in text
    assert "RELAY_STATE=degraded" in text
