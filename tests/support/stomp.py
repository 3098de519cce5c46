# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the tests of the STOMP brokers share: pieces with limits of a test's own, frozen brokers, bounded calls."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sourcepulse.brokers import Outcome, Publisher, Settlement, SubscriptionSpec, open_publisher, open_subscription
from sourcepulse.brokers.stomp.publisher import StompPublisher
from sourcepulse.brokers.stomp.subscription import StompSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerUnavailableError
from support.activemq import ActiveMqNode
from support.broker_under_test import ActiveMqBroker, RemoteBroker, StompRabbitBroker
from support.local_log import wait_until
from support.rabbitmq import RabbitNode

#: Generous: proves that nothing hangs.
WAIT_SECONDS = 30.0
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
    """A publisher, not yet opened, with small limits unless told otherwise."""
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


def settle_until_it_fails(sender: Publisher) -> tuple[list[Settlement], BrokerUnavailableError]:
    """Settle until the publisher says that it is of no more use; give what was settled before, and its word."""
    settled: list[Settlement] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            settled += sender.settle(WAIT_SECONDS)
        except BrokerUnavailableError as error:
            return settled, error
    raise AssertionError(f"settled {len(settled)} and did not fail")


def outcomes(settled: Iterable[Settlement]) -> dict[int, Outcome]:
    """What became of each tag."""
    return {item.tag: item.outcome for item in settled}


@contextmanager
def recorder() -> Iterator[tuple[int, list[bytes]]]:
    """Listen on all of localhost's addresses, and keep what each connection says first."""
    heard: list[bytes] = []
    v4 = socket.create_server(("127.0.0.1", 0))
    port = int(v4.getsockname()[1])
    listeners = [v4]
    with suppress(OSError):
        listeners.append(socket.create_server(("::1", port), family=socket.AF_INET6))

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                with peer:
                    peer.settimeout(5)
                    heard.append(peer.recv(65_536))

    threads = [threading.Thread(target=serve, args=(listener,), daemon=True) for listener in listeners]
    for thread in threads:
        thread.start()
    try:
        yield port, heard
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in threads:
            thread.join(10)
