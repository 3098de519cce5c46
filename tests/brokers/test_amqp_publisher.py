# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to a real RabbitMQ: three outcomes, each reported for exactly the messages that it is true of."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from sourcepulse.brokers import Outcome
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from support.brokers import rabbit_admin
from support.brokers.amqp import admin, bodies, body_of, bound_queue, content, new_name, publisher
from support.brokers.embedded_log import wait_until
from support.brokers.messages import SMALL_MESSAGE_BYTES, message, outcomes, settle, settle_until_it_fails
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import NARROW, RELAY, VHOST, RabbitNode


def test_messages_arrive_in_order_with_their_properties(rabbitmq: RabbitNode, exchange: str) -> None:
    queue = bound_queue(rabbitmq, exchange)
    sender = publisher(rabbitmq.url(), exchange=exchange)
    sender.open()
    for number in range(2500):
        sender.send(message(number))
        if number % 500 == 499:
            assert set(outcomes(settle(sender, 500)).values()) == {Outcome.DELIVERED}
    sender.close()
    got = content(rabbitmq, queue)
    assert [body_of(item) for item in got] == [b"%d" % number for number in range(2500)]
    first = got[0]
    assert first.properties == {
        "content_type": "application/cloudevents+json",
        "delivery_mode": 2,
        "message_id": "id-0",
        "type": "hg.push.v1",
        "timestamp": 1_795_345_161,
    }
    assert first.delivery_info["routing_key"] == "hg.push.repo"


def test_a_key_that_we_may_not_use_refuses_that_message_alone(rabbitmq: RabbitNode) -> None:
    queue = bound_queue(rabbitmq, "sourcepulse")
    sender = publisher(rabbitmq.url(NARROW))
    sender.open()
    forbidden = {3, 4, 60}
    for number in range(80):
        sender.send(message(number, key="system.x" if number in forbidden else "hg.push"))
    settled = settle(sender, 80)
    sender.send(message(80))
    settled += settle(sender, 1)
    sender.close()
    refused = {item.tag: item.reason for item in settled if item.outcome is Outcome.REFUSED}
    assert refused.keys() == forbidden
    assert all("access to topic 'system.x'" in reason for reason in refused.values())
    assert {tag for tag, outcome in outcomes(settled).items() if outcome is Outcome.DELIVERED} == set(
        range(81)
    ) - forbidden
    # What had arrived before the error may come again, in order as the first time.
    arrived = [int(body) for body in bodies(rabbitmq, queue)]
    assert sorted(set(arrived)) == sorted(set(range(81)) - forbidden)
    assert sorted(set(arrived), key=arrived.index) == sorted(set(arrived))
    with admin(rabbitmq) as channel:
        channel.queue_delete(queue)


def test_many_refusals_use_up_no_channels(narrow_rabbitmq: RabbitNode, exchange: str) -> None:
    sender = publisher(narrow_rabbitmq.url(), exchange=exchange)
    sender.open()
    for number in range(30):
        sender.send(message(number, body=b"x" * (SMALL_MESSAGE_BYTES + 1)))
    assert set(outcomes(settle(sender, 30)).values()) == {Outcome.REFUSED}
    # A connection that a former test dropped may last for a moment.
    wait_until(lambda: rabbit_admin.channels(narrow_rabbitmq) == [1])
    sender.close()


@pytest.mark.parametrize(
    "odd",
    [
        {"routing_key": "k" * 256},
        {"id": "i" * 256},
        {"type": "t" * 256},
        {"content_type": "c" * 300},
    ],
)
def test_what_amqp_cannot_say_is_refused_and_the_rest_flows_on(
    rabbitmq: RabbitNode, exchange: str, odd: dict[str, Any]
) -> None:
    queue = bound_queue(rabbitmq, exchange)
    sender = publisher(rabbitmq.url(), exchange=exchange)
    sender.open()
    sender.send(message(1))
    sender.send(replace(message(2), **odd))
    sender.send(message(3))
    settled = settle(sender, 3)
    sender.close()
    assert outcomes(settled) == {1: Outcome.DELIVERED, 2: Outcome.REFUSED, 3: Outcome.DELIVERED}
    assert bodies(rabbitmq, queue) == ["1", "3"]


def test_an_event_before_1970_is_sent_without_a_timestamp(rabbitmq: RabbitNode, exchange: str) -> None:
    queue = bound_queue(rabbitmq, exchange)
    sender = publisher(rabbitmq.url(), exchange=exchange)
    sender.open()
    sender.send(replace(message(1), time="1969-12-31T23:59:59.000000Z"))
    assert outcomes(settle(sender, 1)) == {1: Outcome.DELIVERED}
    sender.close()
    assert "timestamp" not in content(rabbitmq, queue)[0].properties


def test_the_least_rights_that_a_relay_needs_are_enough(rabbitmq: RabbitNode) -> None:
    queue = bound_queue(rabbitmq, "sourcepulse")
    sender = publisher(rabbitmq.url(RELAY))
    sender.open()
    sender.send(message(1))
    assert outcomes(settle(sender, 1)) == {1: Outcome.DELIVERED}
    sender.close()
    assert bodies(rabbitmq, queue) == ["1"]
    with admin(rabbitmq) as channel:
        channel.queue_delete(queue)


@pytest.mark.parametrize("name", ["no-rights", "topic-of-others"])
def test_without_the_right_to_the_exchange_nothing_is_refused_but_we_are(rabbitmq: RabbitNode, name: str) -> None:
    # A name with 'topic' in it must not make the broker's words read like those on a routing key.
    exchange = f"{name}-{new_name('x')}"
    with admin(rabbitmq) as channel:
        channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
    sender = publisher(rabbitmq.url(RELAY), exchange=exchange)
    sender.open()
    for number in range(3):
        sender.send(message(number))
    settled, error = settle_until_it_fails(sender)
    assert (settled, type(error)) == ([], BrokerRefusedUsError)
    assert "access to exchange" in str(error)
    sender.abandon()


def test_the_error_for_a_missing_exchange_that_we_may_not_declare_refers_to_an_admin(
    rabbitmq: RabbitNode, exchange: str
) -> None:
    with pytest.raises(BrokerRefusedUsError, match="ask an admin to declare it"):
        publisher(rabbitmq.url(RELAY), exchange=exchange).open()


def test_an_exchange_of_another_kind_is_refused(rabbitmq: RabbitNode, exchange: str) -> None:
    with admin(rabbitmq) as channel:
        channel.exchange_declare(exchange, "fanout", durable=True, auto_delete=False)
    with pytest.raises(BrokerRefusedUsError, match="not a durable topic exchange"):
        publisher(rabbitmq.url(), exchange=exchange).open()


def test_an_exchange_that_is_deleted_is_made_again_by_the_next_connection(rabbitmq: RabbitNode, exchange: str) -> None:
    sender = publisher(rabbitmq.url(), exchange=exchange)
    sender.open()
    with admin(rabbitmq) as channel:
        channel.exchange_delete(exchange)
    sender.send(message(1))
    sender.send(message(2))
    settled, error = settle_until_it_fails(sender)
    assert (settled, type(error)) == ([], BrokerUnavailableError)
    assert "is gone" in str(error)
    sender.abandon()
    sender.open()
    queue = bound_queue(rabbitmq, exchange)
    sender.send(message(1))
    assert outcomes(settle(sender, 1)) == {1: Outcome.DELIVERED}
    sender.close()
    assert bodies(rabbitmq, queue) == ["1"]


@pytest.mark.parametrize(("vhost", "reason"), [("missing", "not found"), ("closed", "access to vhost 'closed'")])
def test_the_error_names_a_virtual_host_that_is_not_ours(rabbitmq: RabbitNode, vhost: str, reason: str) -> None:
    with pytest.raises(BrokerRefusedUsError, match=f"virtual host '{vhost}'.*{reason}"):
        publisher(rabbitmq.url().replace(f"/{VHOST}", f"/{vhost}")).open()


def test_an_ipv6_address_is_a_host(rabbitmq: RabbitNode, exchange: str) -> None:
    with Proxy(rabbitmq.port, host="::1") as proxy:
        sender = publisher(rabbitmq.url(host="[::1]", port=proxy.port), exchange=exchange)
        sender.open()
        sender.send(message(1))
        assert len(settle(sender, 1)) == 1
        sender.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "speaks HTTP"),
        (b"AMQP\x00\x01\x00\x00", "speaks AMQP 1.0.0"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak AMQP"),
        (b"\x01\x00\x00\x7f\xff\xff\xff" + b"x" * 50, "does not speak AMQP"),
        (b"\x01\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00\xce", "does not speak AMQP|cannot be reached"),
        (b"", "closed the connection"),
    ],
)
def test_a_server_that_is_not_an_amqp_broker_is_reported_at_once(answer: bytes, reason: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(8)
            peer.sendall(answer)
            if answer:
                done.wait(20)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match=reason):
        publisher(f"amqp://127.0.0.1:{listener.getsockname()[1]}/").open()
    assert time.monotonic() - begun < 5
    done.set()
    thread.join(5)
    listener.close()


def test_a_server_that_sends_a_byte_now_and_then_is_left_at_the_limit() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            for byte in b"\x01\x00\x00\x00\x00\x01\x00" + b"\x00" * 200:
                try:
                    peer.sendall(bytes([byte]))
                except OSError:
                    return
                if done.wait(0.1):
                    return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="does not answer within 1 s"):
        publisher(f"amqp://127.0.0.1:{listener.getsockname()[1]}/", connect_limit_s=1).open()
    assert time.monotonic() - begun < 5
    done.set()
    thread.join(5)
    listener.close()
