# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A STOMP broker without memory or disk, and hosts of which the first is of no use: bounded, and nothing is lost."""

from __future__ import annotations

import socket
import time

import pytest

from sourcepulse.brokers import Message, Outcome, Publisher
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from support.brokers import rabbit_admin
from support.brokers.activemq import ActiveMqNode
from support.brokers.amqp import bound_queue, content
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.messages import (
    WAIT_SECONDS,
    bodies,
    message,
    outcomes,
    receive,
    send_all,
    settle_until_it_fails,
)
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import RabbitNode, free_port
from support.brokers.stomp import LIMIT_SECONDS, bounded, hasty, port_of, publisher, subscription, url_of

#: Full after so much, in whole journal files.
STORE_BYTES = 1_000_000


def send_until_it_fails(sender: Publisher, messages: list[Message]) -> tuple[list[int], BrokerUnavailableError]:
    """Send one window after the other; give the tags that were delivered, and what ended it."""
    delivered: list[int] = []
    try:
        for start in range(0, len(messages), 50):
            for each in messages[start : start + 50]:
                sender.send(each)
            settled: dict[int, Outcome] = {}
            while len(settled) < len(messages[start : start + 50]):
                settled |= outcomes(sender.settle(WAIT_SECONDS))
                assert set(settled.values()) <= {Outcome.DELIVERED}
            delivered += settled
    except BrokerUnavailableError as error:
        return delivered, error
    raise AssertionError(f"all {len(messages)} were delivered")


def test_during_a_memory_alarm_the_wait_ends_at_its_limit_and_goes_on_after_it(rabbitmq: RabbitNode) -> None:
    broker = StompRabbitBroker(rabbitmq)
    queue = bound_queue(rabbitmq, broker.exchange)
    sender = publisher(f"{rabbitmq.stomp_url()}?heartbeat=1", exchange=broker.exchange, confirm_limit_s=2)
    messages = [message(number) for number in range(300)]
    rabbitmq.alarm(raised=True)
    try:
        # Only now, because raising the alarm may take longer than the broker waits for our heartbeats.
        sender.open()
        # The broker stops to read only after the next message; what it took until then it confirms.
        with bounded():
            delivered, error = send_until_it_fails(sender, messages)
        assert "confirmed nothing for 2 s" in str(error)
        assert not isinstance(error, BrokerRefusedUsError)
        with bounded():
            sender.abandon()
            sender.open()
            # A new connection gets some through again, before the broker stops to read from it too.
            delivered += send_until_it_fails(sender, messages[len(delivered) :])[0]
        assert len(delivered) < 300
    finally:
        rabbitmq.alarm(raised=False)
    sender.abandon()
    sender.open()
    rest = messages[len(delivered) :]
    assert outcomes(send_all(sender, rest)) == {each.tag: Outcome.DELIVERED for each in rest}
    sender.close()
    stored = [int(got.body) for got in content(rabbitmq, queue)]
    assert list(dict.fromkeys(stored)) == list(range(300))


def test_during_a_memory_alarm_more_than_fits_into_all_buffers_ends_too(rabbitmq: RabbitNode) -> None:
    sender = publisher(rabbitmq.stomp_url(), confirm_limit_s=2, call_limit_s=2)
    sender.open()
    rabbitmq.alarm(raised=True)
    try:
        with bounded():
            _, error = send_until_it_fails(sender, [message(number, body=b"x" * 250_000) for number in range(200)])
        assert "reads nothing for 2 s" in str(error) or "confirmed nothing for 2 s" in str(error)
    finally:
        rabbitmq.alarm(raised=False)
    sender.abandon()


def test_a_full_store_is_waited_out_and_nothing_is_refused_or_lost(
    activemq: ActiveMqNode,  # which skips if there is none
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    node = ActiveMqNode(tmp_path_factory.mktemp("small"), store_limit_bytes=STORE_BYTES)
    try:
        node.start()
        broker = ActiveMqBroker(node)
        broker.subscription(broker.spec("#")).close()
        sender = publisher(node.url(), exchange=broker.exchange)
        sender.open()
        messages = [message(number, body=b"%d " % number + b"x" * 10_000) for number in range(300)]
        delivered, error = send_until_it_fails(sender, messages)
        assert "stores nothing for now" in str(error)
        assert "store is Full" in str(error)
        assert not isinstance(error, BrokerRefusedUsError)
        assert 0 < len(delivered) < 300
        sender.abandon()
        sender.open()
        assert send_until_it_fails(sender, messages[len(delivered) :])[0] == []
        sender.abandon()

        node.stop()
        settings = node.folder / "activemq.xml"
        settings.write_text(settings.read_text().replace(f'limit="{STORE_BYTES} b"', 'limit="1 gb"'))
        node.start()
        sender.open()
        rest = messages[len(delivered) :]
        assert outcomes(send_all(sender, rest)) == {each.tag: Outcome.DELIVERED for each in rest}
        sender.close()
        # A batch is stored as a whole or not at all: there is not even a repeat.
        source = broker.subscription(broker.spec("#"))
        assert [int(body.split()[0]) for body in bodies(source, 300)] == list(range(300))
        assert source.receive(0.3) is None
        broker.close()
    finally:
        node.close()


# Several hosts.


def assert_works(stomp: StompRabbitBroker | ActiveMqBroker, hosts: str) -> None:
    url = stomp.url_of(hosts=hosts)
    stomp.prepare(stomp.exchange)
    source = subscription(url, stomp.spec("#"), connect_limit_s=LIMIT_SECONDS)
    sender = publisher(url, exchange=stomp.exchange, connect_limit_s=LIMIT_SECONDS)
    with bounded():
        source.open()
        sender.open()
    assert outcomes(send_all(sender, [message(1)])) == {1: Outcome.DELIVERED}
    assert bodies(source, 1) == [b"1"]
    sender.close()
    source.close()


def test_a_first_host_that_is_dead_frozen_or_no_broker_is_passed_over(
    stomp: StompRabbitBroker | ActiveMqBroker,
) -> None:
    port = port_of(stomp, tls=False)
    assert_works(stomp, f"127.0.0.1:{free_port()},127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert_works(stomp, f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{port}")
    with Proxy(free_port()) as closes_at_once:
        assert_works(stomp, f"127.0.0.1:{closes_at_once.port},127.0.0.1:{port}")


def test_a_first_host_that_refuses_us_is_passed_over(rabbitmq: RabbitNode, activemq: ActiveMqNode) -> None:
    # ActiveMQ does not know this user.
    rabbit_admin.add_user(rabbitmq, "only-here", "s3cret")
    try:
        hosts = f"127.0.0.1:{activemq.port},127.0.0.1:{rabbitmq.stomp_port}"
        sender = publisher(f"stomp+rabbitmq://only-here:s3cret@{hosts}/pulse")
        sender.open()
        assert outcomes(send_all(sender, [message(1)])) == {1: Outcome.DELIVERED}
        sender.close()
    finally:
        rabbit_admin.delete_user(rabbitmq, "only-here")


def test_if_one_host_refuses_us_and_the_other_is_dead_an_admin_must_act(rabbitmq: RabbitNode) -> None:
    dead = free_port()
    sender = publisher(f"stomp+rabbitmq://nobody:s3cret@127.0.0.1:{dead},127.0.0.1:{rabbitmq.stomp_port}/pulse")
    with pytest.raises(BrokerRefusedUsError) as caught:
        sender.open()
    assert f"127.0.0.1:{dead} cannot be reached" in str(caught.value)
    assert f"127.0.0.1:{rabbitmq.stomp_port} refuses our login" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_when_the_host_in_use_falls_silent_the_next_one_is_used(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    port = port_of(stomp, tls=False)
    with Proxy(port) as first:
        url = stomp.url_of(hosts=f"127.0.0.1:{first.port},127.0.0.1:{port}")
        stomp.prepare(stomp.exchange)
        source = subscription(url_of(stomp), stomp.spec("#"))
        source.open()
        sender = hasty(url)
        sender.open()
        assert outcomes(send_all(sender, [message(1)])) == {1: Outcome.DELIVERED}
        first.hold()
        sender.send(message(2))
        with bounded():
            assert settle_until_it_fails(sender)[0] == []
            sender.abandon()
            sender.open()
        assert outcomes(send_all(sender, [message(2)])) == {2: Outcome.DELIVERED}
        sender.close()
        source.close()


def test_a_connection_that_is_cut_in_the_middle_of_a_batch_leaves_no_hole(
    stomp: StompRabbitBroker | ActiveMqBroker,
) -> None:
    stomp.prepare(stomp.exchange)
    source = subscription(url_of(stomp), stomp.spec("#"))
    source.open()
    waiting = {number: message(number, body=b"%d " % number + b"x" * 1000) for number in range(500)}
    deadline = time.monotonic() + WAIT_SECONDS
    with Proxy(port_of(stomp, tls=False)) as proxy:
        sender = publisher(url_of(stomp, port=proxy.port), exchange=stomp.exchange)
        for cut_bytes in (30_000, 100_001, 150_007, None):
            sender.open()
            if cut_bytes:
                proxy.to_broker.cut(after_bytes=cut_bytes)
            try:
                while waiting:
                    assert time.monotonic() < deadline
                    for each in list(waiting.values())[: sender.window]:
                        sender.send(each)
                    unsettled = set(list(waiting)[: sender.window])
                    while unsettled:
                        for item in sender.settle(5):
                            unsettled.discard(item.tag)
                            del waiting[item.tag]
            except BrokerUnavailableError:
                assert cut_bytes, "nothing was cut"
                sender.abandon()
        sender.close()
    assert not waiting
    numbers: list[int] = []
    while len(numbers) < 500:
        (delivery,) = receive(source, 1)
        source.acknowledge(delivery)
        number = int(delivery.body.split()[0])
        if number not in numbers:
            numbers.append(number)
    assert numbers == list(range(500))
    source.close()
