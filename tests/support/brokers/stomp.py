# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the tests of the STOMP brokers share: pieces with limits of a test's own, frozen brokers, bounded calls."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sourcepulse.brokers import SubscriptionSpec, open_publisher, open_subscription
from sourcepulse.brokers.stomp.publisher import StompPublisher
from sourcepulse.brokers.stomp.subscription import StompSubscription
from sourcepulse.brokers.url import BrokerUrl
from support.brokers.activemq import ActiveMqNode
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.broker_under_test import RemoteBroker
from support.brokers.embedded_log import wait_until
from support.brokers.messages import WAIT_SECONDS
from support.brokers.rabbitmq import RabbitNode

#: Every limit of a hasty piece.
LIMIT_SECONDS = 1.0
#: Far above what a call may take with these limits, far below what it takes without any.
BOUND_SECONDS = 8.0


def broker_at(node: RabbitNode | ActiveMqNode) -> StompRabbitBroker | ActiveMqBroker:
    """A broker over STOMP."""
    return StompRabbitBroker(node) if isinstance(node, RabbitNode) else ActiveMqBroker(node)


def port_of(broker: RemoteBroker, *, tls: bool) -> int:
    """Where it listens for STOMP."""
    return (broker.encrypted if tls else broker.plain).hosts[0][1]


def url_of(broker: RemoteBroker, *, tls: bool = False, port: int | None = None, heartbeat: int | None = None) -> str:
    """The broker's URL, with its CA; with a `port` the way goes through a proxy there."""
    options = [f"ca={broker.ca_file}"] * tls + [f"heartbeat={heartbeat}"] * (heartbeat is not None)
    return broker.url_of(
        tls=tls,
        hosts=f"{'localhost' if tls else '127.0.0.1'}:{port or port_of(broker, tls=tls)}",
        options=f"?{'&'.join(options)}" if options else "",
    )


@contextmanager
def frozen(broker: StompRabbitBroker | ActiveMqBroker) -> Iterator[None]:
    """Freeze the broker's process meanwhile; its kernel still takes connections and some bytes."""
    broker.node.freeze()
    try:
        # A thread may run on for a moment after the signal.
        wait_until(lambda: _stands_still(broker.node.pid), WAIT_SECONDS)
        yield
    finally:
        broker.node.thaw()


def _stands_still(pid: int) -> bool:
    # The state of a thread follows its name, which is in brackets.
    states = (stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(state in "Tt" for state in states)


@contextmanager
def bounded(what: str = "") -> Iterator[None]:
    """Check that what is done inside ends in time."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < BOUND_SECONDS, what


def publisher(url: str, *, exchange: str = "sourcepulse", **limits: float) -> StompPublisher:
    """A publisher, not yet opened, by default with small limits."""
    parsed = BrokerUrl.parse(url)
    kind: Any = type(open_publisher(parsed, exchange=exchange))
    limits = {"confirm_limit_s": 10.0, "connect_limit_s": 10.0, "call_limit_s": 10.0, **limits}
    made = kind(parsed, exchange=exchange, **limits)
    assert isinstance(made, StompPublisher)
    return made


def hasty(url: str) -> StompPublisher:
    """A publisher to an exchange that is there, with the smallest limits."""
    return publisher(url, connect_limit_s=LIMIT_SECONDS, call_limit_s=LIMIT_SECONDS, confirm_limit_s=LIMIT_SECONDS)


def subscription(url: str, spec: SubscriptionSpec, *, former: Sequence[str] = (), **limits: float) -> StompSubscription:
    """A subscription, not yet opened."""
    parsed = BrokerUrl.parse(url)
    kind: Any = type(open_subscription(parsed, spec))
    made = kind(parsed, spec, former_patterns=former, **limits)
    assert isinstance(made, StompSubscription)
    return made
