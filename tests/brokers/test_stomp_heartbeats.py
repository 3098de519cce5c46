# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Heartbeats over STOMP: a silent broker is noticed, an idle connection stays."""

from __future__ import annotations

import time

import pytest

from sourcepulse.brokers import Outcome, Publisher
from sourcepulse.errors import BrokerUnavailableError
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.impostor import recorder
from support.brokers.messages import bodies, message, outcomes, send_all
from support.brokers.proxy import Proxy
from support.brokers.stomp import BOUND_SECONDS, bounded, hasty, port_of, publisher, subscription, url_of


def test_a_silent_broker_is_noticed_by_its_missing_heartbeats(
    stomp: StompRabbitBroker | ActiveMqBroker, tls: bool
) -> None:
    stomp.prepare(stomp.exchange)
    with Proxy(port_of(stomp, tls=tls)) as proxy:
        url = url_of(stomp, tls=tls, port=proxy.port, heartbeat=1)
        source = subscription(url, stomp.spec("#", durable=False))
        source.open()
        assert source.receive(0.2) is None
        proxy.hold()
        with bounded(), pytest.raises(BrokerUnavailableError, match="silent"):
            source.receive(60)
        source.abandon()


def test_an_idle_publisher_notices_a_silent_broker_too(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    with Proxy(port_of(stomp, tls=False)) as proxy:
        sender = publisher(url_of(stomp, port=proxy.port, heartbeat=1))
        sender.open()
        proxy.hold()
        with bounded(), pytest.raises(BrokerUnavailableError, match="silent"):
            keep_idle(sender)
        sender.abandon()


def keep_idle(sender: Publisher) -> None:
    """Ask for news, as a relay with nothing to send does."""
    deadline = time.monotonic() + BOUND_SECONDS
    while time.monotonic() < deadline:
        assert list(sender.settle(0)) == []
        time.sleep(0.1)


def test_an_idle_connection_stays_as_long_as_it_is_asked(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    url = url_of(stomp, heartbeat=1)
    stomp.prepare(stomp.exchange)
    sender = publisher(url, exchange=stomp.exchange)
    source = subscription(url, stomp.spec("#", durable=False))
    sender.open()
    source.open()
    # Longer than the broker waits for a heartbeat, which is two or three seconds.
    for _ in range(14):
        assert source.receive(0.3) is None
        assert list(sender.settle(0)) == []
    assert outcomes(send_all(sender, [message(1)])) == {1: Outcome.DELIVERED}
    assert bodies(source, 1) == [b"1"]
    sender.close()
    source.close()


def test_heartbeats_are_on_whatever_the_url_says(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    for heartbeat, wish in (
        (None, "30000,30000"),
        (0, "30000,30000"),
        (7, "7000,7000"),
        (100_000, "65535000,65535000"),
    ):
        with recorder() as (port, heard):
            sender = hasty(url_of(stomp, port=port, heartbeat=heartbeat))
            with pytest.raises(BrokerUnavailableError):
                sender.open()
        assert f"heart-beat:{wish}\n".encode() in heard[0]
