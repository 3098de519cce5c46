# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Subscriptions at a real RabbitMQ: what they are given, what outlives them, and what is said when they cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import amqp
import pytest

from sourcepulse.brokers import QueueLimits, SubscriptionSpec
from sourcepulse.brokers.amqp.subscription import AmqpSubscription
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, SubscriptionError
from support.brokers import rabbit_admin
from support.brokers.amqp import admin, content, exists, new_name, publisher, subscription
from support.brokers.embedded_log import wait_until
from support.brokers.messages import message, receive, settle
from support.brokers.rabbitmq import READER, RabbitNode

Opener = Callable[..., AmqpSubscription]


@pytest.fixture
def spec() -> SubscriptionSpec:
    return SubscriptionSpec(
        exchange=new_name("exchange"), patterns=("hg.#",), queue=new_name("sub"), durable=True, prefetch=10
    )


@pytest.fixture
def opened(rabbitmq: RabbitNode) -> Iterator[Opener]:
    """Opens subscriptions and drops them at the end."""
    made: list[AmqpSubscription] = []

    def open_one(spec: SubscriptionSpec, *, former: Sequence[str] = (), url: str | None = None) -> AmqpSubscription:
        source = subscription(url or rabbitmq.url(), spec, former=former)
        made.append(source)
        source.open()
        return source

    yield open_one
    for source in made:
        source.abandon()


def send(node: RabbitNode, exchange: str, *numbers: int, key: str = "hg.push.try") -> None:
    sender = publisher(node.url(), exchange=exchange)
    sender.open()
    for number in numbers:
        sender.send(message(number, key=key))
    settle(sender, len(numbers))
    sender.close()


def test_a_temporary_queue_is_gone_after_close(rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec) -> None:
    source = opened(replace(spec, queue=None, durable=False))
    (name,) = [name for name in rabbit_admin.queues(rabbitmq) if name.startswith("temporary-")]
    assert exists_for_others(rabbitmq, name)
    source.close()
    assert not exists(rabbitmq, name)


def exists_for_others(node: RabbitNode, queue: str) -> bool:
    with admin(node) as channel, pytest.raises(amqp.exceptions.ResourceLocked):
        channel.queue_declare(queue, passive=True)
    return True


@pytest.mark.parametrize("prefetch", [0, -1, 65_536])
def test_a_prefetch_that_the_broker_cannot_keep_is_refused(
    rabbitmq: RabbitNode, spec: SubscriptionSpec, prefetch: int
) -> None:
    with pytest.raises(SubscriptionError, match="prefetch"):
        subscription(rabbitmq.url(), replace(spec, prefetch=prefetch)).open()


def test_names_that_are_too_long_are_refused(rabbitmq: RabbitNode, spec: SubscriptionSpec) -> None:
    for change in ({"queue": "q" * 251}, {"patterns": ("p" * 256,)}, {"exchange": "e" * 256}):
        with pytest.raises(SubscriptionError, match="more than 250 bytes"):
            subscription(rabbitmq.url(), replace(spec, **change)).open()


def test_changed_patterns_take_the_place_of_the_former(
    rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec
) -> None:
    opened(replace(spec, patterns=("hg.#", "build.#"))).close()
    source = opened(replace(spec, patterns=("build.#", "bug.#")), former=("hg.#", "build.#"))
    for number, key in enumerate(("hg.push", "build.finished", "bug.created")):
        send(rabbitmq, spec.exchange, number, key=key)
    assert [delivery.body for delivery in receive(source, 2)] == [b"1", b"2"]
    assert source.receive(0.2) is None


def test_limits_other_than_those_of_the_existing_queue_are_refused(opened: Opener, spec: SubscriptionSpec) -> None:
    opened(spec).close()
    with pytest.raises(SubscriptionError, match=r"exists with other properties.*x-max-length"):
        opened(replace(spec, limits=QueueLimits(max_length=5)))
    with pytest.raises(SubscriptionError, match="other properties"):
        opened(replace(spec, shared=True))


def test_what_is_rejected_waits_among_the_dead_letters_with_its_reason(
    rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec
) -> None:
    source = opened(spec)
    send(rabbitmq, spec.exchange, 1, 2)
    first, second = receive(source, 2)
    source.reject(first, "cannot be read")
    source.reject(second, "ä" * 5000)
    source.close()
    assert content(rabbitmq, str(spec.queue)) == []
    dead = content(rabbitmq, f"{spec.queue}.dead")
    assert [bytes(got.body) for got in dead] == [b"1", b"2"]
    assert dead[0].properties["application_headers"] == {"x-reason": "cannot be read", "x-routing-key": "hg.push.try"}
    assert dead[0].properties["delivery_mode"] == 2


def test_dead_letters_are_kept_though_the_limits_changed(
    rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec
) -> None:
    with admin(rabbitmq) as channel:
        channel.queue_declare(f"{spec.queue}.dead", durable=True, auto_delete=False)
    source = opened(spec)
    send(rabbitmq, spec.exchange, 1)
    source.reject(receive(source, 1)[0], "because")
    source.close()
    assert len(content(rabbitmq, f"{spec.queue}.dead")) == 1


def test_many_rejections_use_up_no_channels(rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec) -> None:
    source = opened(spec)
    send(rabbitmq, spec.exchange, *range(50))
    for _ in range(50):
        source.reject(receive(source, 1)[0], "because")
    # A connection that a former test dropped may last for a moment.
    wait_until(lambda: rabbit_admin.channels(rabbitmq) == [1])


def test_the_least_rights_that_a_consumer_needs_are_enough(
    rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec, caplog: pytest.LogCaptureFixture
) -> None:
    send(rabbitmq, "sourcepulse", 0)
    source = opened(replace(spec, exchange="sourcepulse"), url=rabbitmq.url(READER))
    opened(replace(spec, exchange="sourcepulse", queue=None, durable=False), url=rabbitmq.url(READER))
    send(rabbitmq, "sourcepulse", 1, 2)
    first, second = receive(source, 2)
    source.acknowledge(first)
    # Publishing to dead letters is a right of its own; without it the message goes, and that is reported.
    source.reject(second, "because")
    source.close()
    assert content(rabbitmq, str(spec.queue)) == []
    assert "a message is dropped" in caplog.text


def test_a_queue_name_that_is_not_ours_is_refused(rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec) -> None:
    send(rabbitmq, "sourcepulse", 0)
    with pytest.raises(BrokerRefusedUsError, match="access to queue"):
        opened(replace(spec, exchange="sourcepulse", queue="theirs"), url=rabbitmq.url(READER))


def test_a_reader_of_a_missing_exchange_is_referred_to_an_admin(
    rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec
) -> None:
    with pytest.raises(BrokerRefusedUsError, match="ask an admin to declare it"):
        opened(spec, url=rabbitmq.url(READER))


def test_from_start_of_a_temporary_queue_is_refused(opened: Opener, spec: SubscriptionSpec) -> None:
    with pytest.raises(SubscriptionError, match="from_start"):
        opened(replace(spec, queue=None, durable=False, from_start=True))


def test_a_deleted_queue_ends_the_subscription_and_the_next_one_reports_it(
    rabbitmq: RabbitNode, opened: Opener, spec: SubscriptionSpec
) -> None:
    source = opened(spec)
    send(rabbitmq, spec.exchange, 1)
    (delivery,) = receive(source, 1)
    source.acknowledge(delivery)
    with admin(rabbitmq) as channel:
        channel.queue_delete(spec.queue)
    with pytest.raises(BrokerUnavailableError, match="was deleted"):
        source.receive(10)
    source.abandon()
    again = opened(spec, former=spec.patterns)
    assert again.interrupted
    send(rabbitmq, spec.exchange, 2)
    assert receive(again, 1)[0].body == b"2"
