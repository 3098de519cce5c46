# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A relay that is a service says at each interval that it lives and how far it has come."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer, Event, config
from sourcepulse.brokers import Publisher
from sourcepulse.catalogue import check
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.events.event import EVENT_MAX_BYTES
from sourcepulse.events.wire import encode
from sourcepulse.outbox.delivery_state import next_attempt_in
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import figures
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.announce import Announcer
from sourcepulse.relay.health.confirmed import WAITING_MAX
from sourcepulse.relay.health.heartbeat import JITTER_SHARE, SOURCES_MAX, TYPE, Heartbeat
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event
from support.brokers.embedded_log import log_url

LIMIT_SECONDS = 30.0


def made(outbox: Outbox, stream: str = "public") -> Event:
    event = Heartbeat(outbox, stream, 30).next()
    assert event is not None
    check(TYPE, event.data)
    return event


def test_a_heartbeat_has_the_figures_of_its_own_stream(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(number, source=f"system://{number % 2}") for number in range(6)])
        outbox.append([system_event(9, source="system://s?restricted")])
        assert [(each["source"], each["sequence"], each["pending"]) for each in made(outbox).data["sources"]] == [
            ("system://0", None, 3),
            ("system://1", None, 3),
        ]
        outbox.acknowledge("public", [1, 2, 3])
        outbox.bury(6, "because")
        event = made(outbox)
        assert event.numbers is None
        zero, one = event.data["sources"]
        assert zero == {
            "source": "system://0",
            "sequence": f"{2:020}",
            "types": [{"type": "system.test.degraded.v1", "typesequence": f"{2:020}"}],
            "pending": 1,
            "oldest_age_s": zero["oldest_age_s"],
        }
        assert (one["sequence"], one["pending"]) == (f"{1:020}", 1)
        assert 0 <= zero["oldest_age_s"] <= event.data["oldest_age_s"] < LIMIT_SECONDS
        assert (event.data["pending"], event.data["buried"], event.data["interval_s"]) == (2, 1, 30)
        restricted = made(outbox, "restricted")
        assert restricted.stream == "restricted"
        assert [each["source"] for each in restricted.data["sources"]] == ["system://s?restricted"]


def test_a_source_that_has_nothing_pending_is_at_its_last_number(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(number) for number in range(3)])
        outbox.acknowledge("public", [1, 2, 3])
        (state,) = made(outbox).data["sources"]
    assert (state["sequence"], state["pending"], state["oldest_age_s"]) == (f"{3:020}", 0, None)


def test_heartbeats_of_many_sources_are_bounded_and_carry_all_of_them_in_turn(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1, source=f"system://{number:04}") for number in range(SOURCES_MAX + 3)])
        heartbeat = Heartbeat(outbox, "public", 0)
        first, second = heartbeat.next(), heartbeat.next()
    assert first is not None
    assert second is not None
    assert len(first.data["sources"]) == len(second.data["sources"]) == SOURCES_MAX
    assert first.data["truncated"] == [{"field": "/sources", "kept": SOURCES_MAX, "total": SOURCES_MAX + 3}]
    both = {each["source"] for event in (first, second) for each in event.data["sources"]}
    assert len(both) == SOURCES_MAX + 3


def test_a_heartbeat_of_sources_with_long_names_fits_into_an_event(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        long = "x" * 900
        outbox.append([system_event(1, source=f"system://{number:04}{long}") for number in range(300)])
        event = made(outbox)
    assert 100 < len(event.data["sources"]) < 300
    assert len(encode(event)) < EVENT_MAX_BYTES


def test_only_numbers_that_the_broker_confirmed_are_named(tmp_path: Path) -> None:
    kinds = ("up", "down", "up", "down", "up", "down")

    def state(outbox: Outbox) -> tuple[int, dict[str, int]]:
        (each,) = made(outbox).data["sources"]
        return int(each["sequence"] or 0), {it["type"][12:-3]: int(it["typesequence"] or 0) for it in each["types"]}

    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(number, state=kind) for number, kind in enumerate(kinds)])
        assert made(outbox).data["epoch"] is not None
        assert state(outbox) == (0, {"up": 0, "down": 0})
        outbox.acknowledge("public", [1, 2, 4])
        # What comes after one that waits is not named, though it was confirmed.
        assert state(outbox) == (2, {"up": 1, "down": 2})
        outbox.acknowledge("public", [3, 5])
        assert state(outbox) == (5, {"up": 3, "down": 2})
        # A buried event is a gap when a later one comes, and not before.
        outbox.bury(6, "too large")
        assert state(outbox) == (5, {"up": 3, "down": 2})
        outbox.append([system_event(7, state="up")])
        outbox.acknowledge("public", [7])
        assert state(outbox) == (7, {"up": 4, "down": 2})
        outbox.retry(6)
        assert state(outbox) == (5, {"up": 4, "down": 2})


def test_behind_a_long_backlog_a_type_that_was_not_looked_at_is_left_out(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        kinds = ["up", "down", *["up"] * WAITING_MAX, "down"]
        outbox.append([system_event(number, state=kind) for number, kind in enumerate(kinds)])
        outbox.acknowledge("public", [1, 2])
        (state,) = made(outbox).data["sources"]
        assert (state["sequence"], state["pending"]) == (f"{2:020}", WAITING_MAX + 1)
        assert state["types"] == [{"type": "system.test.up.v1", "typesequence": f"{1:020}"}]
        outbox.acknowledge("public", range(3, 10))
        (state,) = made(outbox).data["sources"]
        assert [each["typesequence"] for each in state["types"]] == [f"{1:020}", f"{8:020}"]


def test_no_number_of_a_type_is_named_while_a_withheld_event_waits(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(number) for number in range(2)])
        outbox.acknowledge("public", [1])
        outbox.withhold(2, b"{}", None, routing_key="system.test.degraded")
        (state,) = made(outbox).data["sources"]
    assert (state["sequence"], state["types"]) == (f"{1:020}", [])


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_an_interval_is_shortened_by_chance_and_never_lengthened(tmp_path: Path, chance: float) -> None:
    now = 0.0
    with Outbox.open(tmp_path / "o.db") as outbox:
        heartbeat = Heartbeat(outbox, "public", 30, clock=lambda: now, jitter=lambda: chance)
        assert heartbeat.next() is not None
        now = 30 * (1 - JITTER_SHARE * chance) - 0.1
        assert heartbeat.next() is None
        now += 0.2
        assert heartbeat.next() is not None


@pytest.mark.parametrize("form", ["cloudevents", "pulse"])
def test_a_service_beats_and_stores_none_of_it(tmp_path: Path, form: str) -> None:
    settings = config.load({"broker": str(log_url(tmp_path)), "heartbeat_s": 1, "format": form}, environ={})
    with (
        Consumer(log_url(tmp_path), ["#"], state=":memory:", timeout=LIMIT_SECONDS) as consumer,
        Outbox.open(tmp_path / "o.db") as outbox,
        open_relay(outbox.path, settings, stop := threading.Event()) as relay,
    ):
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            got = [event for event, _ in zip(consumer, range(3), strict=False)]
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)
        assert [event.type for event in got] == ["system.relay.started.v1", TYPE, TYPE]
        assert len({event.id for event in got}) == 3
        assert (consumer.stats.gaps, consumer.stats.bad) == (0, 0)
        stream = figures(outbox)["streams"]["public"]
        assert (stream["pending"], stream["delivered"], stream["broker"]) == (0, 0, None)


def test_a_relay_that_ends_when_idle_has_no_heartbeat(tmp_path: Path) -> None:
    settings = config.load({"broker": str(log_url(tmp_path)), "heartbeat_s": 1}, environ={})
    with (
        Consumer(log_url(tmp_path), ["#"], state=":memory:") as consumer,
        Outbox.open(tmp_path / "o.db") as outbox,
        open_relay(outbox.path, settings, threading.Event()) as relay,
    ):
        relay.run(idle_exit_s=0.3)
        assert consumer.receive(0.2) is None


def test_a_broker_that_is_away_is_a_failure_until_it_takes_a_heartbeat(tmp_path: Path) -> None:
    is_away = True

    broker = MemoryBroker()

    def publisher() -> Publisher:
        if is_away:
            raise BrokerUnavailableError("it is away")
        return broker.publisher()

    def state(outbox: Outbox) -> dict[str, Any]:
        Delivery(
            outbox,
            "public",
            publisher,
            exchange="x",
            clock=lambda: 0.0,
            announcer=Announcer("public", Heartbeat(outbox, "public", 1)),
        ).announce()
        found: dict[str, Any] = figures(outbox)["streams"]["public"]
        return found

    with Outbox.open(tmp_path / "o.db") as outbox:
        away = state(outbox)
        assert (away["failures"], away["last_error"]) == (1, "it is away")
        assert next_attempt_in(outbox, "public") == 0, "an event that comes now is tried at once"
        is_away = False
        assert state(outbox)["failures"] == 0
    (sent,) = broker.messages
    assert (sent.routing_key, json.loads(sent.body)["type"]) == ("system.relay.heartbeat", TYPE)


@pytest.mark.parametrize("before", range(12))
def test_no_number_that_is_assigned_while_a_heartbeat_is_made_counts_as_confirmed(tmp_path: Path, before: int) -> None:
    statements: list[str] = []
    with Outbox.open(tmp_path / "o.db") as outbox, Outbox.open(tmp_path / "o.db") as writer:
        writer.append([system_event(0)])
        outbox.acknowledge("public", [1])

        def store_in_between(statement: str) -> None:
            if len(statements) == before:
                writer.append([system_event(1)])
            statements.append(statement)

        with outbox.reading() as db:
            db.set_trace_callback(store_in_between)
        (source,) = made(outbox).data["sources"]
    assert source["sequence"] == f"{1:020}"
    assert [each["typesequence"] for each in source["types"]] == [f"{1:020}"]


def test_the_statements_of_a_heartbeat_are_those_that_were_tried(tmp_path: Path) -> None:
    statements: list[str] = []
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(0)])
        with outbox.reading() as db:
            db.set_trace_callback(statements.append)
        made(outbox)
    assert len(statements) <= 12
