# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The time of a relay's lock file shows whether its delivering loops turn."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest

from sourcepulse import config
from sourcepulse.brokers import Message, Outcome
from sourcepulse.catalogue import schema_for
from sourcepulse.cli.main import main
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.liveness import LOOP_MAX_SECONDS, TOUCH_SECONDS, Touch, Turns, last_loop_at, lock_path
from sourcepulse.relay.relay import Relay, relay_lock
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event
from support.brokers.embedded_log import log_url, wait_until

LONG_AGO_SECONDS = 1_000_000_000.0
LIMIT_SECONDS = 30.0


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


@contextmanager
def running(relay: Relay, stop: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LIMIT_SECONDS)


def test_an_outbox_that_was_never_relayed_has_no_last_loop(tmp_path: Path) -> None:
    assert last_loop_at(tmp_path / "o.db") is None


def test_all_loops_must_turn_before_it_counts() -> None:
    counted: list[None] = []
    turns = Turns(["public", "restricted"], [lambda: counted.append(None)])
    for loop in ("public", "public", "public"):
        turns.report(loop)
    assert counted == []
    turns.report("restricted")
    turns.report("restricted")
    assert len(counted) == 1


def test_the_lock_file_is_touched_at_intervals(outbox: Outbox) -> None:
    now = 0.0
    lock = lock_path(outbox.path)
    with relay_lock(outbox.path) as fd:
        touch = Touch(fd, clock=lambda: now)
        touch()
        os.utime(lock, (LONG_AGO_SECONDS, LONG_AGO_SECONDS))
        now = TOUCH_SECONDS - 0.1
        touch()
        assert last_loop_at(outbox.path) == LONG_AGO_SECONDS
        now = TOUCH_SECONDS
        touch()
    assert abs((last_loop_at(outbox.path) or 0) - time.time()) < LIMIT_SECONDS


def test_an_idle_relay_keeps_the_time_of_its_lock_file_fresh(tmp_path: Path, outbox: Outbox) -> None:
    settings = config.load({"broker": str(log_url(tmp_path))}, environ={})
    with open_relay(outbox.path, settings, stop := threading.Event()) as relay:
        os.utime(lock_path(outbox.path), (LONG_AGO_SECONDS, LONG_AGO_SECONDS))
        with running(relay, stop):
            wait_until(lambda: last_loop_at(outbox.path) != LONG_AGO_SECONDS)


def test_one_delivery_that_hangs_stops_the_count_though_another_goes_on(outbox: Outbox) -> None:
    is_free = threading.Event()
    turned: list[float] = []
    stop = threading.Event()

    def hang(_: Message) -> Outcome:
        is_free.wait(LIMIT_SECONDS)
        return Outcome.DELIVERED

    brokers = {"public": MemoryBroker(judge=hang), "restricted": MemoryBroker()}
    with Outbox.open(outbox.path) as one, Outbox.open(outbox.path) as other:
        relay = Relay(
            outbox,
            [
                Delivery(own, stream, brokers[stream].publisher, exchange="x", clock=time.time)
                for own, stream in ((one, "public"), (other, "restricted"))
            ],
            sweep=lambda: 0,
            keep=Keep(days=1, bytes=1),
            stop=stop,
            turned=[lambda: turned.append(time.monotonic())],
        )
        with running(relay, stop):
            wait_until(lambda: len(turned) > 2)
            outbox.append([system_event(1)])
            wait_until(lambda: brokers["public"].connections > 0)
            before = len(turned)
            outbox.append([system_event(number, source="system://s?restricted") for number in range(3)])
            wait_until(lambda: len(brokers["restricted"].messages) == 3)
            assert len(turned) - before <= 1
            is_free.set()
            wait_until(lambda: len(turned) - before > 2)


def test_status_names_a_relay_that_holds_its_lock_and_does_not_turn(
    outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    with relay_lock(outbox.path):
        assert main(["status", "--outbox", str(outbox.path)]) == 0
        assert "has not turned" not in capsys.readouterr().out
        still_since = time.time() - LOOP_MAX_SECONDS - 10
        os.utime(lock_path(outbox.path), (still_since, still_since))
        assert main(["status", "--outbox", str(outbox.path)]) == 0
        assert "a relay runs, but its loop has not turned for 10" in capsys.readouterr().out
        assert main(["status", "--json", "--outbox", str(outbox.path)]) == 0
    state = json.loads(capsys.readouterr().out)
    jsonschema.validate(state, schema_for("status.v1"))
    assert state["relay_running"] is True
    assert datetime.fromisoformat(state["relay_last_loop_at"]).timestamp() == pytest.approx(still_since, abs=0.001)
    assert main(["status", "--outbox", str(outbox.path)]) == 0
    assert "has not turned" not in capsys.readouterr().out
