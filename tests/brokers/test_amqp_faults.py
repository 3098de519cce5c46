# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A RabbitMQ that freezes, dies, or sits behind a broken network: bounded waits, nothing lost, order kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sourcepulse.brokers import SubscriptionSpec
from sourcepulse.brokers.amqp.publisher import AmqpPublisher
from sourcepulse.consumer.consumer import Consumer
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery, DeliveryReport
from sourcepulse.testing import system_event
from support.brokers.amqp import admin, body_of, bound_queue, content, new_name, publisher, subscription
from support.brokers.messages import message, settle_until_it_fails
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import RabbitNode

EVENTS = 2000
#: More than a TLS or TCP handshake and the login need, less than the events need.
MIDDLE_BYTES = 300_000


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "o.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def mortal(rabbitmq: RabbitNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """A node that may be killed."""
    node = RabbitNode(tmp_path_factory.mktemp("mortal"))
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def frozen(rabbitmq: RabbitNode) -> Iterator[Callable[[], None]]:
    """Freezes the node until the end of the test."""
    yield rabbitmq.freeze
    rabbitmq.thaw()


def never() -> bool:
    return False


def delivery_to(outbox: Outbox, open_publisher: Callable[[], AmqpPublisher], exchange: str) -> Delivery:
    return Delivery(outbox, "public", open_publisher, exchange=exchange, clock=time.time)


def deliver_all(delivery: Delivery) -> DeliveryReport:
    """Attempt until nothing is left, as the relay does, without its waits."""
    total = DeliveryReport()
    deadline = time.monotonic() + 60
    while delivery.has_work():
        assert time.monotonic() < deadline, "events are left"
        report = delivery.attempt(never)
        total.delivered += report.delivered
        total.error = report.error or total.error
    return total


def assert_complete_and_in_order(node: RabbitNode, queue: str) -> int:
    """Check the events of a queue and give the number of repeats."""
    events = [json.loads(body_of(got)) for got in content(node, queue)]
    sequences: dict[int, str] = {}
    for event in events:
        # A repeat has the same id as the first one.
        assert sequences.setdefault(int(event["sequence"]), event["id"]) == event["id"]
    assert list(sequences) == list(range(1, EVENTS + 1))
    return len(events) - EVENTS


def test_no_call_waits_for_a_frozen_broker_beyond_its_limit(
    rabbitmq: RabbitNode, exchange: str, frozen: Callable[[], None]
) -> None:
    limits = {"connect_limit_s": 1.0, "call_limit_s": 1.0, "confirm_limit_s": 1.0}
    connected = publisher(rabbitmq.url(), exchange=exchange, **limits)
    over_tls = publisher(rabbitmq.tls_url(options=f"?ca={rabbitmq.ca_file}"), exchange=exchange, **limits)
    spec = SubscriptionSpec(exchange=exchange, patterns=("#",), queue=None, durable=False)
    source = subscription(rabbitmq.url(), spec, connect_limit_s=1, call_limit_s=1)
    for peer in (connected, over_tls, source):
        peer.open()
    frozen()
    begun = time.monotonic()
    for options, new_url in (("", rabbitmq.url()), ("tls", rabbitmq.tls_url(options=f"?ca={rabbitmq.ca_file}"))):
        with pytest.raises(BrokerUnavailableError, match="does not answer within 1 s"):
            publisher(new_url, exchange=exchange, **limits).open()
        assert time.monotonic() - begun < 8, options
    for sender in (connected, over_tls):
        sender.send(message(1))
        settled, error = settle_until_it_fails(sender)
        assert settled == []
        assert "confirmed nothing for 1 s" in str(error)
        sender.abandon()
    assert source.receive(0.1) is None
    source.close()
    assert time.monotonic() - begun < 15


def test_saying_goodbye_to_a_frozen_broker_is_bounded(
    rabbitmq: RabbitNode, exchange: str, frozen: Callable[[], None]
) -> None:
    sender = publisher(rabbitmq.tls_url(options=f"?ca={rabbitmq.ca_file}"), exchange=exchange)
    sender.open()
    frozen()
    begun = time.monotonic()
    sender.close()
    assert time.monotonic() - begun < 4


def test_more_than_a_frozen_broker_takes_in_ends_at_the_limit(
    rabbitmq: RabbitNode, exchange: str, frozen: Callable[[], None]
) -> None:
    sender = publisher(rabbitmq.url(), exchange=exchange, call_limit_s=1, confirm_limit_s=3)
    sender.open()
    frozen()
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="reads nothing for 1 s"):  # noqa: PT012 - one of these fails
        for number in range(1000):
            sender.send(message(number, body=b"x" * 100_000))
    assert time.monotonic() - begun < 8
    sender.abandon()


def test_a_stream_through_a_network_that_swallows_everything_goes_on_by_a_new_connection(
    rabbitmq: RabbitNode, outbox: Outbox, exchange: str
) -> None:
    queue = bound_queue(rabbitmq, exchange)
    outbox.append([system_event(number) for number in range(EVENTS)])
    with Proxy(rabbitmq.port) as proxy:
        proxy.to_client.hold(after_bytes=1500)
        proxy.to_broker.hold(after_bytes=MIDDLE_BYTES)
        delivery = delivery_to(
            outbox, lambda: publisher(rabbitmq.url(port=proxy.port), exchange=exchange, confirm_limit_s=1), exchange
        )
        report = delivery.attempt(never)
        assert "confirmed nothing" in str(report.error)
        assert report.delivered < EVENTS
        proxy.release()
        report = deliver_all(delivery)
        delivery.close()
    assert_complete_and_in_order(rabbitmq, queue)


@pytest.mark.parametrize("cut_bytes", [MIDDLE_BYTES, MIDDLE_BYTES + 333])
def test_a_stream_that_is_cut_in_the_middle_of_a_frame_goes_on_by_a_new_connection(
    rabbitmq: RabbitNode, outbox: Outbox, exchange: str, cut_bytes: int
) -> None:
    queue = bound_queue(rabbitmq, exchange)
    outbox.append([system_event(number) for number in range(EVENTS)])
    with Proxy(rabbitmq.port) as proxy:
        proxy.to_broker.cut(after_bytes=cut_bytes)
        delivery = delivery_to(outbox, lambda: publisher(rabbitmq.url(port=proxy.port), exchange=exchange), exchange)
        report = delivery.attempt(never)
        assert report.error is not None
        deliver_all(delivery)
        delivery.close()
    assert_complete_and_in_order(rabbitmq, queue)


def test_a_broker_killed_in_mid_stream_has_everything_that_it_confirmed_and_gets_the_rest(
    mortal: RabbitNode, outbox: Outbox, exchange: str
) -> None:
    queue = bound_queue(mortal, exchange)
    outbox.append([system_event(number) for number in range(EVENTS)])
    delivery = delivery_to(outbox, lambda: publisher(mortal.url(), exchange=exchange), exchange)
    rounds = 0
    mortal.keep_declarations()

    def killing() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds == 4:
            mortal.kill()
        return False

    report = delivery.attempt(killing)
    assert report.error is not None
    confirmed = report.delivered
    assert 0 < confirmed < EVENTS
    mortal.start()
    assert deliver_all(delivery).delivered == EVENTS - confirmed
    delivery.close()
    # What was confirmed before was not sent again, so it must have outlived the kill.
    assert_complete_and_in_order(mortal, queue)


def test_a_consumer_outlives_its_broker_and_handles_each_event_once(mortal: RabbitNode, outbox: Outbox) -> None:
    outbox.append([system_event(number) for number in range(20)])
    delivery = delivery_to(outbox, lambda: publisher(mortal.url()), "sourcepulse")
    queue = new_name("sub")
    consumer = Consumer(mortal.url(), ["system.#"], queue, durable=True, state=":memory:", timeout=30)
    consumer.open()
    mortal.keep_declarations()
    deliver_all(delivery)
    seen = []
    for event in consumer:
        seen.append(event.id)
        if len(seen) == 5:
            mortal.kill()
            mortal.start()
        if len(seen) == 10:
            mortal.stop()
            mortal.start()
            outbox.append([system_event(number) for number in range(20, 30)])
            deliver_all(delivery)
        if len(seen) == 30:
            break
    assert len(set(seen)) == 30
    assert consumer.stats.reconnects >= 2
    assert (consumer.stats.gaps, consumer.stats.interruptions) == (0, 0)
    consumer.close()
    delivery.close()


def test_events_go_from_an_outbox_through_the_broker_to_a_loop(rabbitmq: RabbitNode, outbox: Outbox) -> None:
    events = [system_event(number) for number in range(250)]
    outbox.append(events)
    consumer = Consumer(rabbitmq.url(), ["system.#"], timeout=5)
    consumer.open()
    delivery = delivery_to(outbox, lambda: publisher(rabbitmq.url()), "sourcepulse")
    assert delivery.attempt(never).delivered == 250
    delivery.close()
    got = []
    for event in consumer:
        got.append(event.id)
        if len(got) == 250:
            break
    consumer.close()
    assert got == [event.id for event in events]


def test_a_consumer_whose_queue_is_deleted_gets_a_new_one_and_is_notified(rabbitmq: RabbitNode, outbox: Outbox) -> None:
    reported = []
    queue = new_name("sub")
    consumer = Consumer(
        rabbitmq.url(),
        ["system.#"],
        queue,
        durable=True,
        state=":memory:",
        timeout=20,
        on_interrupted=lambda: reported.append(True),
    )
    consumer.open()
    delivery = delivery_to(outbox, lambda: publisher(rabbitmq.url()), "sourcepulse")
    outbox.append([system_event(1)])
    deliver_all(delivery)
    seen = []
    for event in consumer:
        seen.append(event.id)
        if len(seen) == 1:
            with admin(rabbitmq) as channel:
                channel.queue_delete(queue)
            # It notices, and stands again, in the wait for the next event.
            assert consumer.receive(0) is not None
            consumer.acknowledge()
            assert consumer.receive(3) is None
            outbox.append([system_event(2)])
            deliver_all(delivery)
        else:
            break
    consumer.close()
    delivery.close()
    assert reported == [True]
    assert len(seen) == 2


def test_a_consumer_goes_on_after_its_connection_is_cut(rabbitmq: RabbitNode, outbox: Outbox) -> None:
    outbox.append([system_event(number) for number in range(100)])
    with Proxy(rabbitmq.port) as proxy:
        consumer = Consumer(
            rabbitmq.url(port=proxy.port), ["system.#"], new_name("sub"), durable=True, state=":memory:", timeout=20
        )
        consumer.open()
        delivery = delivery_to(outbox, lambda: publisher(rabbitmq.url()), "sourcepulse")
        proxy.to_client.cut(after_bytes=20_000)
        deliver_all(delivery)
        delivery.close()
        seen = []
        for event in consumer:
            seen.append(event.id)
            if len(seen) == 100:
                break
        consumer.close()
    assert len(set(seen)) == 100
    assert consumer.stats.reconnects == 1
