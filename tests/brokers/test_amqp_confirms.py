# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Confirms of many messages at once, refusals among many, and queues that vanish unseen, at a real RabbitMQ."""

from __future__ import annotations

import time

import amqp
import pytest

from sourcepulse.brokers import Outcome, SubscriptionSpec
from sourcepulse.errors import BrokerUnavailableError
from support.brokers.amqp import admin, bodies, bound_queue, new_name, publisher, subscription
from support.brokers.messages import message, outcomes, receive, settle, settle_until_it_fails
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import NARROW, RabbitNode

#: What the broker's last answer while a subscription opens (the consumer's tag) surely is longer than.
LAST_ANSWER_BYTES = 20


@pytest.mark.parametrize("keys", ["aba", "abababababab", "aabbaabb"])
def test_an_acknowledgement_of_many_does_not_include_what_was_nacked_before(
    rabbitmq: RabbitNode, exchange: str, keys: str
) -> None:
    # A nack comes at once, the confirm of what is written to disk later and for many together.
    bound_queue(rabbitmq, exchange, key="a")
    bound_queue(rabbitmq, exchange, key="b", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    sender = publisher(rabbitmq.url(), exchange=exchange)
    sender.open()
    sender.send(message(100, key="b"))
    settle(sender, 1)
    for number, key in enumerate(keys):
        sender.send(message(number, key=key))
    # So large that everything goes now; all of the broker's answers are there when the first is read.
    sender.send(message(len(keys), key="a", body=b"x" * 100_000))
    time.sleep(0.3)
    settled, error = settle_until_it_fails(sender)
    assert "refused to store" in str(error)
    sender.abandon()
    assert {item.tag for item in settled} <= {number for number, key in enumerate(f"{keys}a") if key == "a"}


def test_after_a_refusal_what_follows_goes_together_again_and_in_order(rabbitmq: RabbitNode) -> None:
    queue = bound_queue(rabbitmq, "sourcepulse")
    sender = publisher(rabbitmq.url(NARROW))
    sender.open()
    unsettled, refused, most_at_once = 0, [], 0
    for number in range(6000):
        sender.send(message(number, key="system.x" if number == 10 else "hg.push"))
        unsettled += 1
        if unsettled == sender.window:
            # As the relay does: the window is filled up while the suspects are still tried.
            settled = list(sender.settle(5))
            unsettled -= len(settled)
            refused += [item.tag for item in settled if item.outcome is Outcome.REFUSED]
            if number > 4000:
                most_at_once = max(most_at_once, len(settled))
    refused += [tag for tag, outcome in outcomes(settle(sender, unsettled)).items() if outcome is Outcome.REFUSED]
    sender.close()
    assert refused == [10]
    arrived = [int(body) for body in bodies(rabbitmq, queue)]
    assert list(dict.fromkeys(arrived)) == [number for number in range(6000) if number != 10]
    # Tried one at a time, they would be settled by ones and twos.
    assert most_at_once > 10
    with admin(rabbitmq) as channel:
        channel.queue_delete(queue)


def test_after_a_nack_among_suspects_nothing_more_is_sent_on_that_channel(rabbitmq: RabbitNode) -> None:
    copy = bound_queue(rabbitmq, "sourcepulse", key="hg.#")
    full = bound_queue(
        rabbitmq, "sourcepulse", key="hg.full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    sender = publisher(rabbitmq.url(NARROW))
    sender.open()
    sender.send(message(100, key="hg.full"))
    settle(sender, 1)
    for number, key in enumerate(("hg.push", "system.x", "hg.full", "hg.push", "hg.push")):
        sender.send(message(number, key=key))
    settled, error = settle_until_it_fails(sender)
    sender.abandon()
    assert outcomes(settled) == {0: Outcome.DELIVERED, 1: Outcome.REFUSED}
    assert "refused to store" in str(error)
    assert set(bodies(rabbitmq, copy)) == {"100", "0", "2"}
    with admin(rabbitmq) as channel:
        for queue in (copy, full):
            channel.queue_delete(queue)


def test_a_temporary_subscription_is_back_at_once_though_its_dead_connection_still_holds_the_old_queue(
    rabbitmq: RabbitNode, proxy: Proxy, exchange: str
) -> None:
    spec = SubscriptionSpec(exchange=exchange, patterns=("#",), queue=None, durable=False)
    hosts = f"127.0.0.1:{proxy.port},127.0.0.1:{rabbitmq.port}"
    url = rabbitmq.url().replace(f"127.0.0.1:{rabbitmq.port}", hosts)
    source = subscription(url, spec, connect_limit_s=1)
    source.open()
    assert not source.interrupted
    proxy.hold()
    source.abandon()
    source.open()
    assert source.interrupted
    with admin(rabbitmq) as channel:
        channel.basic_publish(amqp.Message(b"1"), exchange, "hg.push")
    assert receive(source, 1)[0].body == b"1"
    source.close()


def test_a_lost_queue_is_reported_even_if_the_first_opening_after_the_loss_fails(
    rabbitmq: RabbitNode, proxy: Proxy, exchange: str
) -> None:
    spec = SubscriptionSpec(exchange=exchange, patterns=("#",), queue=new_name("sub"), durable=True)
    before = proxy.to_client.passed
    first = subscription(rabbitmq.url(port=proxy.port), spec)
    first.open()
    opening_bytes = proxy.to_client.passed - before
    first.close()
    with admin(rabbitmq) as channel:
        channel.queue_delete(spec.queue)
    source = subscription(rabbitmq.url(port=proxy.port), spec, former=spec.patterns)
    proxy.to_client.cut(after_bytes=opening_bytes - LAST_ANSWER_BYTES)
    with pytest.raises(BrokerUnavailableError):
        source.open()
    source.open()
    assert source.interrupted
    source.open()
    assert not source.interrupted
    source.close()
