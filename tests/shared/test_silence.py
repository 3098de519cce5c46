# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When an expected source is silent: by the clock, by what waits, and by what a busy program could not hear."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.silence.watch import PAUSE_SECONDS, Watch, Way
from sourcepulse.errors import ConfigError
from sourcepulse.gaps import Silence
from support.brokers.embedded_log import log_url, publish_events, push_event
from support.events.heartbeats import RELAY, heartbeat

LIMIT_SECONDS = 30.0
STEP_SECONDS = 1.0


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BrokerUrl:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return log_url(tmp_path)


class World:
    """A watch with one source, its way, and a clock that a test moves; the wall clock is an hour ahead of it."""

    def __init__(self, seconds: float) -> None:
        self.now = 1_000.0
        self.way = Way(connected=True, generation=1)
        self.watch = Watch({RELAY: (seconds, self.way)}, clock=lambda: self.now, wall=lambda: self.now + 3600)

    def serve(self, seconds: float, *, backlog: bool = False) -> list[Silence]:
        """Read for a while, and find nothing more each time unless there is a backlog."""
        found = []
        end = self.now + seconds
        while self.now < end:
            self.now += STEP_SECONDS
            self.watch.begin()
            if not backlog and self.way.connected:
                self.way.empty_at = self.now
            found += list(self.watch.fallen_silent())
        return found

    def hear(self, age_s: float = 0.0, *, redelivered: bool = False) -> Silence | None:
        return self.watch.heard(RELAY, self.now + 3600 - age_s, redelivered=redelivered)


def test_a_source_is_silent_once_after_its_time_and_heard_again() -> None:
    world = World(90)
    assert world.serve(60) == []
    assert world.hear() is None
    assert world.serve(89) == []
    (silence,) = world.serve(5)
    assert silence == Silence(source=RELAY, expected_s=90, heard_at=1_000 + 60 + 3600, connected=True)
    assert world.serve(500) == []
    assert world.watch.silent == (RELAY,)
    assert world.hear() == silence
    assert world.watch.silent == ()


def test_a_source_that_was_never_heard_is_silent_too() -> None:
    world = World(30)
    (silence,) = world.serve(60)
    assert silence.heard_at is None
    assert "nothing came within 30 s" in str(silence)


def test_nothing_is_silent_while_a_backlog_may_hold_its_message() -> None:
    world = World(30)
    assert world.serve(300, backlog=True) == []
    assert len(world.serve(2)) == 1


def test_an_old_message_out_of_a_backlog_neither_delays_a_silence_nor_ends_it() -> None:
    world = World(30)
    world.serve(20, backlog=True)
    assert world.hear(age_s=7200) is None
    (silence,) = world.serve(15)
    assert silence.heard_at is not None
    world.way.connected = False
    world.serve(10)
    assert world.hear(age_s=7200, redelivered=True) is None
    assert world.watch.silent == (RELAY,)


def test_a_wrong_clock_of_the_source_does_no_harm_once_the_backlog_is_done() -> None:
    world = World(30)
    world.serve(5)
    for _ in range(20):
        # Its clock is two hours slow.
        assert world.hear(age_s=7200) is None
        assert world.serve(20) == []
    assert len(world.serve(20)) == 1


def test_a_lost_connection_of_our_own_is_a_silence_that_names_it() -> None:
    world = World(30)
    world.serve(10)
    world.way.connected = False
    (silence,) = world.serve(60)
    assert not silence.connected
    assert "this consumer is not connected" in str(silence)


def test_a_program_that_was_busy_so_long_that_its_connection_broke_waits_again() -> None:
    world = World(30)
    world.serve(10)
    world.hear()
    world.now += 600
    # It finds the connection broken, and has another one a moment later.
    world.way.connected = False
    assert world.serve(3) == []
    world.way.connected, world.way.generation = True, 2
    assert world.serve(25) == []
    assert len(world.serve(10)) == 1


def test_a_program_that_is_often_busy_notices_a_silence_all_the_same() -> None:
    world = World(90)
    found = []
    for _ in range(20):
        world.now += PAUSE_SECONDS + 5
        found += world.serve(1)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("expect", "options", "complaint"),
    [
        ({"hg1": 90}, {}, "is not a source"),
        ({"gopher://hg1": 90}, {}, "sources begin with"),
        ({"system://": 90}, {}, "is not a source"),
        ({RELAY: 0}, {}, "a number of seconds from 1"),
        ({RELAY: True}, {}, "a number of seconds from 1"),
        ({RELAY: float("nan")}, {}, "a number of seconds from 1"),
        ({RELAY: "90"}, {}, "a number of seconds from 1"),
        ({"system://hg1?restricted": 90}, {}, "pass the restricted one"),
        ({"buildbot://ci": 90}, {}, "no topic matches its events; add 'change.#'"),
        ({"hg://h/r": 90}, {"queue": "q", "durable": True, "shared": True}, "expect the relay's heartbeats"),
    ],
)
def test_what_can_never_be_heard_is_refused(
    url: BrokerUrl, expect: dict[str, Any], options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Consumer(url, ["hg.#"], expect=expect, **options)


def test_a_relay_is_heard_by_heartbeats_others_by_events_and_what_has_no_callback_is_logged(
    url: BrokerUrl, caplog: pytest.LogCaptureFixture
) -> None:
    source = "hg://host/repo"
    with Consumer(url, ["hg.#"], expect={RELAY: 1, source: 1}) as consumer:
        while len(consumer.silent) < 2:
            assert consumer.receive(0.1) is None
        publish_events(url, heartbeat(), push_event(1)._replace(time=heartbeat().time))
        assert consumer.receive(LIMIT_SECONDS) is not None
        consumer.acknowledge()
        while consumer.silent:
            assert consumer.receive(0.1) is None
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert sorted(texts[:2]) == [f"{each} is silent: nothing came within 1 s" for each in (source, RELAY)]
    assert sorted(texts[2:]) == [f"{each} is heard again" for each in (source, RELAY)]


def test_consumers_that_share_a_queue_all_hear_the_relay(url: BrokerUrl) -> None:
    options: dict[str, Any] = {"queue": "q", "durable": True, "shared": True, "expect": {RELAY: 1}}
    with Consumer(url, ["#"], **options) as one, Consumer(url, ["#"], **options) as two:
        publish_events(url, heartbeat())
        for each in (one, two):
            while each.receive(0.4) is not None:
                each.acknowledge()
            assert each.silent == ()


def test_a_callback_that_is_busy_does_not_delay_the_report(url: BrokerUrl) -> None:
    silent: list[Silence] = []

    def handle(_event: object) -> None:
        while not silent:
            pass

    with Consumer(url, ["hg.#"], expect={RELAY: 1}, on_silent=silent.append, timeout=0.1) as consumer:
        publish_events(url, push_event(1))
        consumer.run(handle)
    assert [each.source for each in silent] == [RELAY]


def test_asyncio_hears_the_report_while_it_waits_for_an_event(url: BrokerUrl) -> None:
    silent: list[Silence] = []

    async def main() -> None:
        async with Consumer(url, ["hg.#"], expect={RELAY: 1}, on_silent=silent.append, timeout=1.2) as events:
            async for event in events:
                raise AssertionError(event)

    asyncio.run(main())
    assert [each.source for each in silent] == [RELAY]


def test_an_old_heartbeat_out_of_the_backlog_is_no_sign_of_life(url: BrokerUrl) -> None:
    silent: list[Silence] = []
    heard: list[Silence] = []
    options: dict[str, Any] = {"queue": "q", "durable": True}
    Consumer(url, ["#"], **options).open()
    publish_events(url, push_event(1), heartbeat(age_s=3600), push_event(2))
    with Consumer(url, ["#"], expect={RELAY: 1}, on_silent=silent.append, on_heard=heard.append, **options) as consumer:
        for _ in range(3):
            assert consumer.receive(LIMIT_SECONDS) is not None
            assert silent == []
            consumer.acknowledge()
        while not silent:
            assert consumer.receive(0.1) is None
    assert silent[0].heard_at is not None
    assert time.time() - silent[0].heard_at > 3000
    assert heard == []
