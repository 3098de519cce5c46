# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Each trap of the AMQP client libraries that would hang, spin, lose or repeat, reproduced against a real broker."""

from __future__ import annotations

import time
from contextlib import suppress

import amqp
import pytest

from sourcepulse.brokers import Outcome, SubscriptionSpec
from sourcepulse.brokers.amqp.connection import AmqpConnection
from sourcepulse.brokers.network.connection import HEARTBEAT_SECONDS
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerBlockedError, BrokerUnavailableError
from support.brokers import rabbit_admin
from support.brokers.amqp import admin, bodies, bound_queue, new_name, publisher, subscription
from support.brokers.embedded_log import wait_until
from support.brokers.messages import message, outcomes, receive, settle, settle_until_it_fails
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import RabbitNode

#: Half of an acknowledgement's frame, which has 21 bytes.
HALF_A_FRAME_BYTES = 10


def test_a_memory_alarm_ends_the_wait_at_its_limit_though_heartbeats_come(rabbitmq: RabbitNode, exchange: str) -> None:
    sender = publisher(f"{rabbitmq.url()}?heartbeat=1", exchange=exchange, confirm_limit_s=3)
    rabbitmq.alarm(raised=True)
    try:
        # Only now, because raising the alarm may take longer than the broker waits for our heartbeats.
        sender.open()
        sender.send(message(1))
        begun = time.monotonic()
        settled, error = settle_until_it_fails(sender)
        assert (settled, type(error)) == ([], BrokerBlockedError)
        assert "blocks publishers" in str(error)
        assert 2 < time.monotonic() - begun < 10
    finally:
        rabbitmq.alarm(raised=False)
        sender.abandon()


def test_during_an_alarm_more_than_fits_into_all_buffers_ends_too(rabbitmq: RabbitNode, exchange: str) -> None:
    sender = publisher(rabbitmq.url(), exchange=exchange, confirm_limit_s=4, call_limit_s=2)
    sender.open()
    rabbitmq.alarm(raised=True)
    try:
        begun = time.monotonic()
        for number in range(1000):
            with suppress(BrokerUnavailableError):
                sender.send(message(number, body=b"x" * 100_000))
        settled, error = settle_until_it_fails(sender)
        assert settled == []
        assert "blocks publishers" in str(error)
        assert time.monotonic() - begun < 10
    finally:
        rabbitmq.alarm(raised=False)
        sender.abandon()


def test_a_late_confirm_settles_its_own_message_and_no_other(rabbitmq: RabbitNode, proxy: Proxy, exchange: str) -> None:
    queue = bound_queue(rabbitmq, exchange)
    sender = publisher(rabbitmq.url(port=proxy.port), exchange=exchange)
    sender.open()
    proxy.to_client.hold()
    sender.send(message(1))
    assert sender.settle(0.3) == []
    proxy.to_broker.hold()
    sender.send(message(2))
    assert sender.settle(0) == []
    proxy.to_client.release()
    assert outcomes(settle(sender, 1)) == {1: Outcome.DELIVERED}
    assert sender.settle(0.3) == []
    assert bodies(rabbitmq, queue) == ["1"]
    proxy.to_broker.release()
    assert outcomes(settle(sender, 1)) == {2: Outcome.DELIVERED}
    sender.close()


def test_after_an_overdue_confirm_nothing_more_is_believed_on_that_connection(
    rabbitmq: RabbitNode, proxy: Proxy, exchange: str
) -> None:
    sender = publisher(rabbitmq.url(port=proxy.port), exchange=exchange, confirm_limit_s=1)
    sender.open()
    proxy.to_client.hold()
    sender.send(message(1))
    with pytest.raises(BrokerUnavailableError, match="confirmed nothing for 1 s"):
        sender.settle(10)
    proxy.to_client.release()
    with pytest.raises(BrokerUnavailableError):
        sender.send(message(2))
    sender.abandon()


def test_half_a_frame_and_then_silence_costs_no_processor_time_and_no_hang(
    rabbitmq: RabbitNode, proxy: Proxy, exchange: str
) -> None:
    sender = publisher(rabbitmq.url(port=proxy.port), exchange=exchange, confirm_limit_s=2)
    sender.open()
    proxy.to_client.hold(after_bytes=HALF_A_FRAME_BYTES)
    busy, begun = time.process_time(), time.monotonic()
    for number in range(100):
        sender.send(message(number))
    settled, error = settle_until_it_fails(sender)
    assert (settled, type(error)) == ([], BrokerUnavailableError)
    assert "confirmed nothing" in str(error)
    assert time.monotonic() - begun < 8
    assert time.process_time() - busy < 1
    sender.abandon()


def test_the_second_half_of_a_frame_may_come_late(rabbitmq: RabbitNode, proxy: Proxy, exchange: str) -> None:
    sender = publisher(rabbitmq.url(port=proxy.port), exchange=exchange)
    sender.open()
    proxy.to_client.hold(after_bytes=HALF_A_FRAME_BYTES)
    sender.send(message(1))
    assert sender.settle(0.5) == []
    proxy.to_client.release()
    assert len(settle(sender, 1)) == 1
    sender.close()


def test_half_an_answer_to_a_request_is_waited_for_within_the_limit(rabbitmq: RabbitNode, proxy: Proxy) -> None:
    connection = AmqpConnection(BrokerUrl.parse(rabbitmq.url(port=proxy.port)), call_limit_s=1)
    connection.open()
    proxy.to_client.hold(after_bytes=HALF_A_FRAME_BYTES)
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="does not answer within 1 s"):
        connection.channel()
    assert time.monotonic() - begun < 5
    connection.abandon()


@pytest.mark.parametrize("after_bytes", [0, 3, 100, 510, 540])
def test_a_handshake_that_stops_anywhere_ends_at_its_limit(
    rabbitmq: RabbitNode, proxy: Proxy, after_bytes: int
) -> None:
    proxy.to_client.hold(after_bytes=after_bytes)
    sender = publisher(rabbitmq.url(port=proxy.port), connect_limit_s=1, call_limit_s=1)
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="does not answer within 1 s"):
        sender.open()
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("after_bytes", [0, 3, 100, 510, 540])
def test_a_handshake_that_is_cut_anywhere_is_an_error_that_names_the_broker(
    rabbitmq: RabbitNode, proxy: Proxy, after_bytes: int
) -> None:
    proxy.to_client.cut(after_bytes=after_bytes)
    with pytest.raises(BrokerUnavailableError, match=str(proxy.port)):
        publisher(rabbitmq.url(port=proxy.port)).open()


def test_a_nack_is_never_a_delivery_and_nothing_is_sent_again_by_itself(rabbitmq: RabbitNode, exchange: str) -> None:
    full = bound_queue(rabbitmq, exchange, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    copy = bound_queue(rabbitmq, exchange)
    sender = publisher(rabbitmq.url(), exchange=exchange)
    sender.open()
    sender.send(message(1))
    assert outcomes(settle(sender, 1)) == {1: Outcome.DELIVERED}
    sender.send(message(2))
    sender.send(message(3))
    settled, error = settle_until_it_fails(sender)
    assert (settled, type(error)) == ([], BrokerUnavailableError)
    assert "refused to store" in str(error)
    # The connection, and with it the channel, is not used again.
    with pytest.raises(BrokerUnavailableError):
        sender.send(message(4))
    sender.abandon()
    assert bodies(rabbitmq, full) == ["1"]
    assert bodies(rabbitmq, copy) == ["1", "2", "3"]
    sender.open()
    sender.send(message(2))
    assert outcomes(settle(sender, 1)) == {2: Outcome.DELIVERED}
    sender.close()
    assert bodies(rabbitmq, full) == ["2"]


def test_what_was_confirmed_before_a_nack_is_settled_first(rabbitmq: RabbitNode, exchange: str) -> None:
    bound_queue(rabbitmq, exchange, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    sender = publisher(rabbitmq.url(), exchange=exchange)
    sender.open()
    sender.send(message(1))
    settled = list(sender.settle(0))
    # The confirm waits in the socket when the others follow.
    time.sleep(0.5)
    sender.send(message(2))
    sender.send(message(3))
    settled += settle_until_it_fails(sender)[0]
    assert [item.tag for item in settled] == [1]
    sender.abandon()


def test_heartbeats_are_on_whatever_the_url_says(rabbitmq: RabbitNode) -> None:
    connections = []
    for options in ("", "?heartbeat=0", "?heartbeat=7"):
        connection = AmqpConnection(BrokerUrl.parse(rabbitmq.url() + options))
        connection.open()
        connections.append(connection)
    expected = [7, HEARTBEAT_SECONDS, HEARTBEAT_SECONDS]
    # A connection that a former test dropped may last for a moment.
    wait_until(lambda: sorted(rabbit_admin.heartbeats(rabbitmq)) == expected)
    for connection in connections:
        connection.close()


def test_a_silent_broker_is_noticed_by_its_missing_heartbeats(rabbitmq: RabbitNode, proxy: Proxy) -> None:
    spec = SubscriptionSpec(exchange="sourcepulse", patterns=("#",), queue=None, durable=False)
    source = subscription(f"{rabbitmq.url(port=proxy.port)}?heartbeat=1", spec)
    source.open()
    assert source.receive(3) is None
    proxy.hold()
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="heartbeats"):
        source.receive(30)
    assert time.monotonic() - begun < 8
    source.abandon()


def test_a_reconnect_right_after_a_dead_connection_gets_its_durable_queue_back(
    rabbitmq: RabbitNode, proxy: Proxy, exchange: str
) -> None:
    spec = SubscriptionSpec(exchange=exchange, patterns=("#",), queue=new_name("sub"), durable=True)
    first = subscription(f"{rabbitmq.url(port=proxy.port)}?heartbeat=2", spec)
    first.open()
    # The broker does not see this connection end.
    proxy.hold()
    first.abandon()
    second = subscription(rabbitmq.url(), spec)
    second.open()
    with admin(rabbitmq) as channel:
        channel.basic_publish(amqp.Message(b"1"), exchange, "hg.push")
    (delivery,) = receive(second, 1)
    assert delivery.body == b"1"
    second.close()
