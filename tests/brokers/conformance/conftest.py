# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every test here runs at every broker, unchanged: only the URL differs.

`test_broken_brokers.py` runs the same tests at brokers that break one property each, and expects them to fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.brokers.broker_activemq import ActiveMqBroker, NarrowActiveMqBroker, StrictActiveMqBroker
from support.brokers.broker_file import FileBroker
from support.brokers.broker_rabbitmq import RabbitBroker, StompRabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest, RemoteBroker
from support.brokers.rabbitmq import RabbitNode

REMOTE = ("amqp", "stomp-rabbitmq", "stomp-activemq")
ALL = ("file", *REMOTE)


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what consumers remember in the test's own folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(params=ALL)
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerUnderTest]:
    """Each broker in turn."""
    made = make_broker(request.param, request)
    yield made
    made.close()


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest) -> Iterator[RemoteBroker]:
    """Each broker that has a network before it."""
    made = make_broker(request.param, request)
    assert isinstance(made, RemoteBroker)
    yield made
    made.close()


@pytest.fixture(params=[name for name in ALL if name != "stomp-activemq"])
def limited(request: pytest.FixtureRequest) -> Iterator[BrokerUnderTest]:
    """Each broker at which a client may say how much its queue holds."""
    made = make_broker(request.param, request)
    assert made.sets_queue_limits
    yield made
    made.close()


@pytest.fixture(params=["stomp-activemq"])
def unlimited(request: pytest.FixtureRequest) -> Iterator[BrokerUnderTest]:
    """The broker at which only an admin may."""
    made = make_broker(request.param, request)
    assert not made.sets_queue_limits
    yield made
    made.close()


@pytest.fixture(params=[name for name in ALL if name != "stomp-activemq"])
def listed(request: pytest.FixtureRequest) -> Iterator[FileBroker | RabbitBroker]:
    """Each broker that keeps a queue for a temporary subscription, and lists its queues."""
    made = make_broker(request.param, request)
    assert isinstance(made, FileBroker | RabbitBroker)
    yield made
    made.close()


@pytest.fixture(params=ALL)
def narrow(request: pytest.FixtureRequest) -> Iterator[BrokerUnderTest]:
    """Each broker in turn, where it takes no message of more than `message_max_bytes`."""
    made: BrokerUnderTest
    match request.param:
        case "amqp":
            made = RabbitBroker(request.getfixturevalue("narrow_rabbitmq"))
        case "stomp-rabbitmq":
            made = StompRabbitBroker(request.getfixturevalue("narrow_rabbitmq"))
        case "stomp-activemq":
            made = NarrowActiveMqBroker(request.getfixturevalue("activemq"))
        case _:
            made = make_broker(request.param, request)
    yield made
    made.close()


@pytest.fixture(params=REMOTE)
def strict(request: pytest.FixtureRequest) -> Iterator[RemoteBroker]:
    """Each broker that has a network before it, where it wants a certificate of who comes over TLS."""
    made: RemoteBroker
    match request.param:
        case "stomp-activemq":
            made = StrictActiveMqBroker(request.getfixturevalue("activemq"))
        case "amqp":
            made = RabbitBroker(request.getfixturevalue("strict_rabbitmq"))
        case _:
            made = StompRabbitBroker(request.getfixturevalue("strict_rabbitmq"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def strict_rabbitmq(
    rabbitmq: RabbitNode,  # which skips if there is none
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RabbitNode]:
    """A node that wants certificates; whether it does cannot be changed while it runs."""
    with closing(RabbitNode(tmp_path_factory.mktemp("strict"), client_cert_required=True)) as node:
        node.start()
        yield node


def make_broker(name: str, request: pytest.FixtureRequest) -> BrokerUnderTest:
    """Return one of the brokers by its name in the parameters."""
    match name:
        case "file":
            return FileBroker(request.getfixturevalue("tmp_path"))
        case "amqp":
            return RabbitBroker(request.getfixturevalue("rabbitmq"))
        case "stomp-rabbitmq":
            return StompRabbitBroker(request.getfixturevalue("rabbitmq"))
        case "stomp-activemq":
            return ActiveMqBroker(request.getfixturevalue("activemq"))
    raise AssertionError(name)
