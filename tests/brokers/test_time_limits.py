# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""No call blocks longer than its limit: every public call, at every broker, over a network that stops in the middle."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Publisher, Subscription, SubscriptionSpec
from sourcepulse.brokers.amqp.connection import AmqpConnection
from sourcepulse.brokers.stomp.connection import StompConnection
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import EXIT_BROKER, BrokerUnavailableError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.retention import Keep
from sourcepulse.relay.relay import Relay
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import system_event
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import RabbitBroker, StompRabbitBroker
from support.brokers.broker_under_test import RemoteBroker
from support.brokers.embedded_log import push_event
from support.brokers.messages import message, receive
from support.brokers.proxy import Proxy
from support.brokers.stomp import publisher as stomp_publisher
from support.brokers.stomp import subscription as stomp_subscription

#: Every limit that a publisher or a subscription is given.
LIMIT_SECONDS = 0.3
#: Closing has a limit of its own, which cannot be set.
CLOSE_LIMIT_SECONDS = 1.0
#: A loaded machine is late, but not by that much; a flood through TLS into large buffers was seen to take 5.4 s.
LATE_SECONDS = 8.0
#: What a peer does that drips: one byte each time.
DRIP_SECONDS = 0.1
#: Half of the shortest answer of any broker.
HALF_A_FRAME_BYTES = 5
#: A few of these fill every buffer between us and a peer that reads nothing.
FLOOD = b"x" * 250_000

WAYS = ("amqp", "amqps", "stomp+rabbitmq", "stomps+rabbitmq", "stomp+activemq", "stomps+activemq")
PLAIN_WAYS = ("amqp", "stomp+rabbitmq", "stomp+activemq")
#: What is tried in each way: half a frame over TLS is half a record, and as good as none.
TROUBLES = [(way, kind) for way in WAYS for kind in ("hole", "half", "drip") if kind != "half" or way in PLAIN_WAYS]


@dataclass(frozen=True)
class Way:
    """One way to a broker, through a proxy."""

    broker: RemoteBroker
    proxy: Proxy
    tls: bool

    @property
    def url(self) -> str:
        options = f"?ca={self.broker.ca_file}" if self.tls else ""
        return self.broker.url_of(tls=self.tls, hosts=f"localhost:{self.proxy.port}", options=options)

    @contextmanager
    def beside(self) -> Iterator[Way]:
        """Return another way to the same broker, with a proxy of its own."""
        target = self.broker.encrypted if self.tls else self.broker.plain
        with Proxy(target.hosts[0][1]) as proxy:
            yield replace(self, proxy=proxy)

    def publisher(self) -> Publisher:
        return self.broker.hasty_publisher(self.url, LIMIT_SECONDS)

    def subscription(self, *, durable: bool = True) -> Subscription:
        return self.broker.hasty_subscription(self.url, self.broker.spec("#", "hg.*", durable=durable), LIMIT_SECONDS)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Each broker in each of its ways."""
    yield from _way(request.param, request)


@pytest.fixture(params=PLAIN_WAYS)
def plain_way(request: pytest.FixtureRequest) -> Iterator[Way]:
    """Each broker, without TLS."""
    yield from _way(request.param, request)


def _way(scheme: str, request: pytest.FixtureRequest) -> Iterator[Way]:
    kind, _, dialect = scheme.partition("+")
    broker: RemoteBroker
    if dialect == "activemq":
        broker = ActiveMqBroker(request.getfixturevalue("activemq"))
    else:
        broker = (StompRabbitBroker if dialect else RabbitBroker)(request.getfixturevalue("rabbitmq"))
    tls = kind.endswith("s")
    target = broker.encrypted if tls else broker.plain
    with Proxy(target.hosts[0][1]) as proxy:
        yield Way(broker, proxy, tls)
        broker.close()


def black_hole(proxy: Proxy) -> None:
    proxy.hold()


def half_a_frame(proxy: Proxy) -> None:
    proxy.to_client.hold(after_bytes=HALF_A_FRAME_BYTES)


@contextmanager
def dripping(proxy: Proxy) -> Iterator[None]:
    """Pass one byte each tenth of a second."""
    done = threading.Event()

    def drip() -> None:
        while not done.wait(DRIP_SECONDS):
            proxy.to_client.hold(after_bytes=1)

    proxy.to_client.hold()
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def trouble(kind: str, proxy: Proxy) -> Iterator[None]:
    """Stop the network; for what is inside, and for good."""
    if kind == "drip":
        with dripping(proxy):
            yield
        return
    {"hole": black_hole, "half": half_a_frame}[kind](proxy)
    yield


@contextmanager
def within(what: str, limit_s: float = LIMIT_SECONDS) -> Iterator[None]:
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    assert took < limit_s + LATE_SECONDS, f"{what} took {took:.1f} s"


def fails(what: str, call: Callable[[], object], limit_s: float = LIMIT_SECONDS) -> None:
    """Check that a call raises in time what the caller is prepared for."""
    with within(what, limit_s), pytest.raises(BrokerUnavailableError):
        call()


def at_once(*calls: Callable[[], object]) -> None:
    """Make calls of different pieces at the same time, each in a thread, because all of them wait."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for made in [pool.submit(call) for call in calls]:
            made.result()


def open_in_peace(piece: Publisher | Subscription) -> None:
    """Open before the trouble begins; on a loaded machine more than one attempt may be needed."""
    deadline = time.monotonic() + 30
    while True:
        try:
            piece.open()
        except BrokerUnavailableError:
            assert time.monotonic() < deadline
        else:
            return


# Connecting.


@pytest.mark.parametrize("after_bytes", [7, 60])
def test_opening_ends_at_its_limit_wherever_the_answers_stop(way: Way, after_bytes: int) -> None:
    def opens(what: str, make: Callable[[Way], Publisher | Subscription]) -> None:
        with way.beside() as own:
            piece = make(own)
            own.proxy.to_client.hold(after_bytes=after_bytes)
            fails(f"open of a {what}", piece.open)
            with within(f"abandon of a {what}"):
                piece.abandon()

    at_once(
        lambda: opens("publisher", Way.publisher),
        lambda: opens("durable", Way.subscription),
        lambda: opens("temporary", lambda own: own.subscription(durable=False)),
    )


def test_opening_ends_at_its_limit_though_byte_after_byte_comes(way: Way) -> None:
    with dripping(way.proxy):
        at_once(
            lambda: fails("open of a publisher", way.publisher().open),
            lambda: fails("open of a subscription", way.subscription().open),
        )


def test_each_host_has_the_limit_for_itself(plain_way: Way) -> None:
    silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    try:
        hosts = ",".join(f"127.0.0.1:{server.getsockname()[1]}" for server in silent)
        sender = plain_way.broker.hasty_publisher(plain_way.broker.url_of(hosts=hosts), LIMIT_SECONDS)
        fails("open at three silent hosts", sender.open, 3 * LIMIT_SECONDS)
    finally:
        for server in silent:
            server.close()


@pytest.fixture
def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name that is never resolved; no real resolver can be made to hang without the rights of root."""
    answer = threading.Event()
    real = socket.getaddrinfo
    name = "broker.example"

    def hanging(host: object, *arguments: object, **options: object) -> object:
        if host == name and not int(str(options.get("flags", 0))) & socket.AI_NUMERICHOST:
            answer.wait()
        return real(host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    yield name
    answer.set()


def test_a_name_that_no_server_resolves_is_an_error_at_the_limit(way: Way, hanging_resolver: str) -> None:
    url = way.url.replace("localhost", hanging_resolver)

    def fails_to_open(piece: Publisher | Subscription) -> None:
        with within("open"), pytest.raises(BrokerUnavailableError, match=r"broker\.example could not be looked up"):
            piece.open()

    at_once(
        lambda: fails_to_open(way.broker.hasty_publisher(url, LIMIT_SECONDS)),
        lambda: fails_to_open(way.broker.hasty_subscription(url, way.broker.spec("#"), LIMIT_SECONDS)),
    )


# A publisher.


@pytest.mark.parametrize(("way", "kind"), TROUBLES, indirect=["way"])
def test_no_call_of_a_publisher_blocks(way: Way, kind: str) -> None:
    settling, flooding, leaving, closing = (way.publisher() for _ in range(4))
    for sender in (settling, flooding, leaving, closing):
        open_in_peace(sender)

    def settle_and_abandon() -> None:
        fails("settle", lambda: settle_for_ever(settling))
        with within("abandon"):
            settling.abandon()

    def leave() -> None:
        with within("close with something unsettled", CLOSE_LIMIT_SECONDS):
            leaving.send(message(1))
            leaving.close()

    def close() -> None:
        with within("close", CLOSE_LIMIT_SECONDS):
            closing.close()

    with trouble(kind, way.proxy):
        with within("send"):
            settling.send(message(1))
        with within("settle(0)", 0.0), suppress(BrokerUnavailableError):
            settling.settle(0)
        at_once(
            settle_and_abandon,
            lambda: fails("send of more than fits", lambda: flood(flooding), 2 * LIMIT_SECONDS),
            leave,
            close,
        )


def settle_for_ever(sender: Publisher) -> None:
    """Settle as the relay does, until that fails."""
    end = time.monotonic() + LIMIT_SECONDS + 2 * LATE_SECONDS
    while time.monotonic() < end:
        sender.settle(1.0)


def flood(sender: Publisher) -> None:
    """Send more than any buffer takes, each call within its limit, and settle."""
    for number in range(sender.window):
        with within("one send"):
            sender.send(message(number, body=FLOOD))
    settle_for_ever(sender)


# A subscription.


@pytest.mark.parametrize(("way", "kind"), TROUBLES, indirect=["way"])
def test_no_call_of_a_subscription_blocks(way: Way, kind: str) -> None:
    source, idle = way.subscription(), way.subscription(durable=False)
    open_in_peace(source)
    way.broker.publish(message(1), message(2))
    first, second = receive(source, 2)
    open_in_peace(idle)

    def wait_and_abandon() -> None:
        with within("receive"), suppress(BrokerUnavailableError):
            assert idle.receive(LIMIT_SECONDS) is None
        with within("abandon"):
            idle.abandon()

    def use_and_open_again() -> None:
        with within("receive(0)", 0.0), suppress(BrokerUnavailableError):
            source.receive(0)
        with within("acknowledge"):
            source.acknowledge(first)
        with within("reject"), suppress(BrokerUnavailableError):
            source.reject(second, "because")
        with within("close", CLOSE_LIMIT_SECONDS):
            source.close()
        fails("open again", source.open)

    with trouble(kind, way.proxy):
        at_once(wait_and_abandon, use_and_open_again)


# A STOMP peer that never stops to talk; the frames that py-amqp does not expect end its connection.


@contextmanager
def babbler() -> Iterator[str]:
    """A peer that accepts every login, sends the receipts of subscriptions, and then repeats the same for ever."""
    nonsense = b"RECEIPT\nreceipt-id:nobody-asked\n\n\0" * 1000
    welcome = b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0" + b"".join(
        b"RECEIPT\nreceipt-id:r%d\n\n\0" % number for number in (1, 2)
    )
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(peer: socket.socket) -> None:
        with peer, suppress(OSError):
            peer.sendall(welcome)
            while True:
                peer.sendall(nonsense)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"stomp+activemq://u:p@127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_no_call_waits_for_the_end_of_nonsense() -> None:
    with babbler() as url:
        sender = stomp_publisher(
            url, connect_limit_s=LIMIT_SECONDS, call_limit_s=LIMIT_SECONDS, confirm_limit_s=LIMIT_SECONDS
        )
        sender.open()
        with within("settle(0)"):
            assert list(sender.settle(0)) == []
        # The receipts of this peer are not worth much, but they come.
        for number in range(3):
            sender.send(message(number))
        fails("settle", lambda: settle_for_ever(sender))
        sender.abandon()
        spec = SubscriptionSpec(exchange="e", patterns=("a", "b"), queue=None, durable=False)
        source = stomp_subscription(url, spec, connect_limit_s=LIMIT_SECONDS, call_limit_s=LIMIT_SECONDS)
        source.open()
        with within("receive"):
            assert source.receive(LIMIT_SECONDS) is None
        with within("receive(0)"):
            assert source.receive(0) is None
        with within("close", CLOSE_LIMIT_SECONDS):
            source.close()
        many = SubscriptionSpec(exchange="e", patterns=("a", "b", "c"), queue=None, durable=False)
        fails("open", stomp_subscription(url, many, call_limit_s=LIMIT_SECONDS).open)


@pytest.mark.parametrize(("kind", "scheme"), [(AmqpConnection, "amqp"), (StompConnection, "stomp+activemq")])
def test_many_hosts_that_do_not_answer_are_all_tried_within_one_limit(
    kind: type[AmqpConnection | StompConnection], scheme: str
) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(5)]
        hosts = ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in silent)
        connection = kind(BrokerUrl.parse(f"{scheme}://u:p@{hosts}"), round_limit_s=5 * 0.2)
        with within("open"), pytest.raises(BrokerUnavailableError) as raised:
            connection.open()
        assert str(raised.value).count("does not answer within 0.2 s") == len(silent)


# What programs use.


@pytest.fixture
def hasty_consumers(monkeypatch: pytest.MonkeyPatch, plain_way: Way, tmp_path: Path) -> None:
    """Make consumers use subscriptions with small limits."""

    def hasty(url: BrokerUrl, spec: SubscriptionSpec, *, former_patterns: Sequence[str] = ()) -> Subscription:
        assert url.hosts
        return plain_way.broker.hasty_subscription(plain_way.url, spec, LIMIT_SECONDS)

    monkeypatch.setattr("sourcepulse.consumer.reconnect.open_subscription", hasty)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.usefixtures("hasty_consumers")
def test_no_call_of_a_consumer_blocks(plain_way: Way) -> None:
    def consumer(queue: str) -> Consumer:
        made = Consumer(plain_way.url, ["hg.#"], queue, durable=True, exchange=plain_way.broker.exchange)
        made.open()
        return made

    names = [f"{plain_way.broker.queue}-{number}" for number in range(3)]
    acknowledging, rejecting, waiting = (consumer(name) for name in names)
    plain_way.broker.publish_events(push_event(1))
    for each in (acknowledging, rejecting):
        assert each.receive(20) is not None
    plain_way.proxy.hold()
    with within("acknowledge"):
        acknowledging.acknowledge()
    with within("reject"):
        rejecting.reject("because")
    with within("receive"):
        assert rejecting.receive(LIMIT_SECONDS) is None
    with within("receive(0)", 0.0):
        acknowledging.receive(0)

    def close(each: Consumer) -> None:
        with within("close", CLOSE_LIMIT_SECONDS):
            each.close()

    at_once(*(partial(close, each) for each in (acknowledging, rejecting, waiting)))
    late = Consumer(plain_way.url, ["hg.#"], names[0], durable=True, exchange=plain_way.broker.exchange, timeout=0.5)
    with within("open"):
        late.open()
    # A broker that was never reached is not one that has nothing.
    with within("a loop with a timeout", 2 * LIMIT_SECONDS), pytest.raises(BrokerUnavailableError):
        list(late)
    with within("close", CLOSE_LIMIT_SECONDS):
        late.close()


@pytest.mark.parametrize("after_bytes", [0, 3000])
def test_a_single_run_of_the_relay_ends(plain_way: Way, tmp_path: Path, after_bytes: int) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(number) for number in range(300)])
        delivery = Delivery(outbox, "public", plain_way.publisher, exchange=plain_way.broker.exchange, clock=time.time)
        relay = Relay(outbox, [delivery], sweep=lambda: 0, keep=Keep(days=1, bytes=10**9), stop=threading.Event())
        plain_way.proxy.to_client.hold(after_bytes=after_bytes)
        plain_way.proxy.to_broker.hold(after_bytes=10 * after_bytes)
        with within("relay", 3 * LIMIT_SECONDS):
            (report,) = relay.once()
        assert isinstance(report.error, BrokerUnavailableError)
        plain_way.proxy.release()
        delivered, deadline = report.delivered, time.monotonic() + 30
        while delivery.has_work():
            assert time.monotonic() < deadline
            delivered += delivery.attempt(lambda: False).delivered
        delivery.close()
    assert delivered == 300


def test_the_command_that_relays_once_ends_at_the_usual_limits(tmp_path: Path) -> None:
    running = []
    with socket.create_server(("127.0.0.1", 0)) as silent, within("relay --once", 10.0 + 2 * LATE_SECONDS):
        for scheme in WAYS:
            folder = tmp_path / scheme
            folder.mkdir()
            with Outbox.open(folder / "o.db") as outbox:
                outbox.append([system_event(1)])
            secret = folder / "url"
            secret.write_text(f"{scheme}://relay:s3cret@127.0.0.1:{silent.getsockname()[1]}")
            secret.chmod(0o600)
            command = ["relay", "--once", "--outbox", str(folder / "o.db"), "--broker-file", str(secret)]
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "sourcepulse.cli", *command],
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "HOME": str(folder)},
                )
            )
        said = [process.communicate(timeout=60)[1] for process in running]
    assert [process.returncode for process in running] == [EXIT_BROKER] * len(WAYS), said
    assert all("does not answer within 10 s" in text for text in said)
    assert not any("s3cret" in text for text in said)
