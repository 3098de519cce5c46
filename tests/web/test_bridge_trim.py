# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The bridge trims its log by the settings of now: each minute, connected or not, and with each append."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.testing import system_event
from sourcepulse_web.bridge import bridge
from sourcepulse_web.bridge.bridge import Bridge, Source
from sourcepulse_web.bridge.own_log import Keep, OwnLog
from support.brokers.embedded_log import wait_until
from support.brokers.messages import unique
from support.brokers.rabbitmq import ADMIN, RabbitNode
from support.web.bus import message_of, positions_of, publish_to, rows_of

DAY_SECONDS = 86_400.0
TRIM_SECONDS = 0.2
STOP_LIMIT_SECONDS = 30.0


class Keeping:
    """What the settings say; a test corrects it."""

    seconds = DAY_SECONDS
    size = 1 << 30

    def __call__(self) -> Keep:
        return Keep(self.seconds, self.size)


@contextmanager
def running(source: Source, log: Path, keeping: Keeping) -> Iterator[Bridge]:
    made = Bridge(lambda: source, OwnLog(log, source.exchange, keeping))
    made.start()
    try:
        yield made
    finally:
        assert made.stop(STOP_LIMIT_SECONDS)


def test_a_shorter_time_takes_effect_with_the_next_trim_while_the_bridge_is_connected(
    rabbitmq: RabbitNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "TRIM_SECONDS", TRIM_SECONDS)
    exchange, log, keeping = unique("bus"), tmp_path / "log.db", Keeping()
    rabbitmq.declare_exchange(exchange)
    source = Source(BrokerUrl.parse(rabbitmq.url()), exchange, f"{ADMIN[0]}.{unique('web')}")
    with running(source, log, keeping) as made:
        wait_until(lambda: made.state.now.connected)
        publish_to(rabbitmq.url(), exchange, [message_of(system_event(number)) for number in range(3)])
        wait_until(lambda: made.state.now.appended == 3)
        assert len(rows_of(log, exchange)) == 3
        keeping.seconds = 0.0
        wait_until(lambda: rows_of(log, exchange) == [])
        assert positions_of(log, exchange) == 3


def test_a_bridge_whose_broker_is_away_goes_on_trimming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "TRIM_SECONDS", TRIM_SECONDS)
    log, keeping = tmp_path / "log.db", Keeping()
    with closing(OwnLog(log, "bus", keeping)) as own:
        own.append([message_of(system_event(1))])
    with running(Source(BrokerUrl.parse("amqp://127.0.0.1:1/"), "bus", "web"), log, keeping) as made:
        wait_until(lambda: made.state.now.broker_failures)
        assert len(rows_of(log, "bus")) == 1
        keeping.seconds = 0.0
        wait_until(lambda: rows_of(log, "bus") == [])


def test_an_append_trims_by_the_corrected_time(tmp_path: Path) -> None:
    log, keeping = tmp_path / "log.db", Keeping()
    with closing(OwnLog(log, "bus", keeping)) as own:
        keeping.seconds = 0.001
        own.append([message_of(system_event(1))])
        time.sleep(0.01)
        keeping.seconds = DAY_SECONDS
        own.append([message_of(system_event(2))])
        assert len(rows_of(log, "bus")) == 2
        keeping.seconds = 0.001
        time.sleep(0.01)
        own.append([message_of(system_event(3))])
        assert len(rows_of(log, "bus")) == 1


def test_a_size_that_webhooks_set_takes_effect_as_well(tmp_path: Path) -> None:
    log, keeping = tmp_path / "log.db", Keeping()
    with closing(OwnLog(log, "bus", keeping)) as own:
        own.append([message_of(system_event(number)) for number in range(50)])
        own.trim()
        assert len(rows_of(log, "bus")) == 50
        keeping.size = 10_000
        own.trim()
        assert 0 < len(rows_of(log, "bus")) < 50
