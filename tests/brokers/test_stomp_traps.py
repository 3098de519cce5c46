# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Traps of STOMP that would hang, lose or lie: each reproduced at a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sourcepulse.brokers import Outcome, Publisher
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, ExchangeMissingError
from support.brokers.amqp import bound_queue, content
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.messages import bodies, message, outcomes, settle, settle_until_it_fails
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import RabbitNode
from support.brokers.stomp import bounded, frozen, hasty, port_of, publisher, subscription, url_of

#: Of a message's 20 kB or more, this many bytes end in its middle.
MIDDLE_BYTES = 12_000
#: A few frames fill every buffer between us and a broker that reads nothing.
FLOOD = b"x" * 250_000


# B8: a queue of RabbitMQ that rejects ends the connection without a word.


def test_a_queue_that_rejects_ends_the_connection_and_nothing_is_lost(rabbitmq: RabbitNode) -> None:
    broker = StompRabbitBroker(rabbitmq)
    whole = bound_queue(rabbitmq, broker.exchange)
    full = bound_queue(rabbitmq, broker.exchange, arguments={"x-max-length": 3, "x-overflow": "reject-publish"})
    sender = broker.publisher()
    waiting = {number: message(number) for number in range(20)}
    settled: list[int] = []
    for attempt in range(100):
        assert attempt < 99, f"only {settled} were settled"
        try:
            for each in waiting.values():
                sender.send(each)
            while waiting:
                for item in sender.settle(5):
                    assert item.outcome is Outcome.DELIVERED
                    settled.append(item.tag)
                    del waiting[item.tag]
        except BrokerUnavailableError as error:
            assert not isinstance(error, BrokerRefusedUsError)  # noqa: PT017 - it comes as often as it likes
            sender.abandon()
            content(rabbitmq, full)
            sender.open()
            continue
        break
    assert settled == list(range(20))
    stored = [int(got.body) for got in content(rabbitmq, whole)]
    assert list(dict.fromkeys(stored)) == list(range(20))
    # It was rejected at least once, or this test would show nothing.
    assert len(stored) > 20
    broker.close()


# B9: what a receipt does not report.


def test_over_stomp_a_message_that_no_queue_took_counts_as_delivered(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    assert [item.outcome for item in stomp.publish(message(1))] == [Outcome.DELIVERED]


def test_a_missing_exchange_is_never_taken_for_a_delivery(rabbitmq: RabbitNode) -> None:
    sender = publisher(rabbitmq.stomp_url(), exchange="nowhere")
    sender.open()
    for number in range(50):
        sender.send(message(number))
    settled, error = settle_until_it_fails(sender)
    assert (settled, type(error)) == ([], ExchangeMissingError)
    sender.abandon()


# B11, B12, B15: a broker that stands still.


def test_connecting_to_a_frozen_broker_ends_at_the_limit(stomp: StompRabbitBroker | ActiveMqBroker, tls: bool) -> None:
    with frozen(stomp), bounded(), pytest.raises(BrokerUnavailableError, match="does not answer within 1 s"):
        hasty(url_of(stomp, tls=tls)).open()


def test_more_than_a_frozen_broker_takes_in_ends_at_the_limit(
    stomp: StompRabbitBroker | ActiveMqBroker, tls: bool
) -> None:
    sender = hasty(url_of(stomp, tls=tls))
    sender.open()
    with frozen(stomp), bounded():
        text = str(flood(sender))
    assert "reads nothing for 1 s" in text or "confirmed nothing for 1 s" in text
    with bounded():
        sender.abandon()


def flood(sender: Publisher) -> BrokerUnavailableError:
    """Send more than all buffers take, until that fails."""
    try:
        for number in range(sender.window):
            sender.send(message(number, body=FLOOD))
            sender.settle(0)
    except BrokerUnavailableError as error:
        return error
    return settle_until_it_fails(sender)[1]


def test_a_receipt_that_does_not_come_ends_at_the_limit(stomp: StompRabbitBroker | ActiveMqBroker, tls: bool) -> None:
    sender = hasty(url_of(stomp, tls=tls))
    sender.open()
    with frozen(stomp):
        sender.send(message(1))
        with bounded():
            settled, error = settle_until_it_fails(sender)
    assert settled == []
    assert "confirmed nothing for 1 s" in str(error)


def test_saying_goodbye_to_a_frozen_broker_is_bounded(stomp: StompRabbitBroker | ActiveMqBroker, tls: bool) -> None:
    sender = publisher(url_of(stomp, tls=tls), exchange=stomp.exchange)
    source = subscription(url_of(stomp, tls=tls), stomp.spec("#", durable=False))
    stomp.prepare(stomp.exchange)
    sender.open()
    source.open()
    with frozen(stomp), bounded():
        sender.close()
        source.close()


# B13, B14: a peer that ends TCP below TLS, or falls silent; heartbeats.


def test_the_end_of_a_connection_is_noticed_at_once(stomp: StompRabbitBroker | ActiveMqBroker, tls: bool) -> None:
    stomp.prepare(stomp.exchange)
    with Proxy(port_of(stomp, tls=tls)) as proxy:
        source = subscription(url_of(stomp, tls=tls, port=proxy.port), stomp.spec("#", durable=False))
        sender = publisher(url_of(stomp, tls=tls, port=proxy.port), exchange=stomp.exchange)
        source.open()
        sender.open()
        assert source.receive(0.2) is None
        proxy.close()
    busy = time.process_time()
    with bounded(), pytest.raises(BrokerUnavailableError):
        source.receive(60)
    sender.send(message(1))
    with bounded():
        settled, _ = settle_until_it_fails(sender)
    assert settled == []
    assert time.process_time() - busy < 1
    for each in (source, sender):
        each.abandon()


# Heads and tails of frames.


def test_a_message_that_comes_in_pieces_is_waited_for(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    stomp.prepare(stomp.exchange)
    with Proxy(port_of(stomp, tls=False)) as proxy:
        source = subscription(url_of(stomp, port=proxy.port), stomp.spec("#", durable=False))
        source.open()
        proxy.to_client.hold(after_bytes=MIDDLE_BYTES)
        stomp.publish(message(1, body=b"y" * 3 * MIDDLE_BYTES))
        busy = time.process_time()
        with bounded():
            assert source.receive(1) is None
        assert time.process_time() - busy < 0.5
        proxy.release()
        assert bodies(source, 1) == [b"y" * 3 * MIDDLE_BYTES]
        source.close()


def test_a_receipt_that_comes_in_pieces_is_waited_for(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    with Proxy(port_of(stomp, tls=False)) as proxy:
        sender = publisher(url_of(stomp, port=proxy.port))
        sender.open()
        proxy.to_client.hold(after_bytes=5)
        sender.send(message(1))
        assert list(sender.settle(0.3)) == []
        proxy.release()
        assert outcomes(settle(sender, 1)) == {1: Outcome.DELIVERED}
        sender.close()


def test_after_an_overdue_receipt_nothing_more_is_believed_on_that_connection(
    stomp: StompRabbitBroker | ActiveMqBroker,
) -> None:
    with Proxy(port_of(stomp, tls=False)) as proxy:
        sender = publisher(url_of(stomp, port=proxy.port), confirm_limit_s=1)
        sender.open()
        proxy.to_client.hold()
        sender.send(message(1))
        with pytest.raises(BrokerUnavailableError, match="confirmed nothing for 1 s"):
            sender.settle(10)
        proxy.to_client.release()
        again: tuple[Callable[[], object], ...] = (lambda: sender.send(message(2)), lambda: sender.settle(1))
        for call in again:
            with pytest.raises(BrokerUnavailableError):
                call()
        sender.abandon()
