# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every test here runs at every broker, unchanged: only the URL differs.

`test_broken_brokers.py` runs the same tests at brokers that break one property each, and expects them to fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sourcepulse.brokers import open_publisher
from sourcepulse.brokers.url import BrokerUrl
from support.broker_under_test import BrokerUnderTest, FileBroker, RabbitBroker, RemoteBroker

REMOTE = ("amqp", "stomp-rabbitmq", "stomp-activemq")
ALL = ("file", *REMOTE)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what consumers remember in the test's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(params=ALL)
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerUnderTest]:
    """Each broker in turn."""
    made = _make(request.param, request)
    yield made
    made.close()


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest) -> Iterator[RemoteBroker]:
    """Each broker that has a network before it."""
    made = _make(request.param, request)
    assert isinstance(made, RemoteBroker)
    yield made
    made.close()


@pytest.fixture
def narrow(broker: BrokerUnderTest) -> Iterator[BrokerUnderTest]:
    """Each broker in turn, told to take no message of more than `message_max_bytes`."""
    if not isinstance(broker, RabbitBroker):
        yield broker
        return
    with broker.small_messages():
        yield broker
    broker.close()


def _make(name: str, request: pytest.FixtureRequest) -> BrokerUnderTest:
    match name:
        case "file":
            return FileBroker(request.getfixturevalue("tmp_path"))
        case "amqp":
            return RabbitBroker(request.getfixturevalue("rabbitmq"))
        case _ if "stomp" not in type(open_publisher(BrokerUrl.parse("stomp+rabbitmq://h/"), exchange="x")).__module__:
            pytest.skip("there is no STOMP yet")
    raise AssertionError(name)
