# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a STOMP broker does not give: each refusal is explained in words that name who must act, and how."""

from __future__ import annotations

import logging

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Outcome, QueueLimits, SubscriptionSpec
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, SubscriptionError
from support.brokers.amqp import admin, new_name
from support.brokers.amqp import subscription as amqp_subscription
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_rabbitmq import StompRabbitBroker
from support.brokers.embedded_log import push_event
from support.brokers.messages import bodies, message, outcomes, receive, send_all, settle_until_it_fails, take
from support.brokers.proxy import Proxy
from support.brokers.rabbitmq import ADMIN, KEEPER, READER, RELAY, RabbitNode, free_port
from support.brokers.stomp import port_of, publisher, subscription, url_of

#: The one that every user with any right may use.
EXCHANGE = "sourcepulse"


@pytest.fixture(autouse=True)
def _state_home(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def spec(*, durable: bool = True, exchange: str = EXCHANGE, queue: str = "", prefix: str = "sub") -> SubscriptionSpec:
    return SubscriptionSpec(
        exchange=exchange,
        patterns=("hg.#",),
        queue=(queue or new_name(prefix)) if durable else None,
        durable=durable,
    )


# The login.


def test_a_refusal_whose_reason_was_lost_with_the_connection_is_asked_for_again(
    stomp: StompRabbitBroker | ActiveMqBroker,
) -> None:
    with Proxy(port_of(stomp, tls=False)) as proxy:
        url = url_of(stomp, port=proxy.port).replace("@", "wrong@")
        proxy.to_client.cut()
        with pytest.raises(BrokerRefusedUsError, match="refuses our login"):
            publisher(url).open()


# The exchange.


def test_the_error_for_a_missing_exchange_that_stomp_cannot_declare_names_the_way_out(rabbitmq: RabbitNode) -> None:
    url = f"{rabbitmq.stomp_url()}?amqp_port={free_port()}"
    sender = publisher(url, exchange=new_name("exchange"), connect_limit_s=2)
    sender.open()
    sender.send(message(1))
    _, error = settle_until_it_fails(sender)
    sender.abandon()
    said = [error]
    for durable in (True, False):
        source = subscription(url, spec(durable=durable, exchange=new_name("exchange")), connect_limit_s=2)
        with pytest.raises(BrokerRefusedUsError) as caught:
            source.open()
        said.append(caught.value)
        source.abandon()
    for each in said:
        assert isinstance(each, BrokerRefusedUsError)
        assert "ask an admin to declare it (durable, topic), or name the port of AMQP with ?amqp_port=" in str(each)
        assert ADMIN[1] not in f"{each!r}{each.__cause__!r}{each.__context__!r}"


def test_a_missing_exchange_is_declared_over_amqp_and_the_order_is_kept(rabbitmq: RabbitNode) -> None:
    exchange = new_name("exchange")
    url = f"{rabbitmq.stomp_url()}?amqp_port={rabbitmq.port}"
    sender = publisher(url, exchange=exchange)
    sender.open()
    settled = send_all(sender, map(message, range(100)))
    assert {item.outcome for item in settled} == {Outcome.DELIVERED}
    assert [item.tag for item in settled] == list(range(100))
    source = subscription(url, spec(exchange=exchange))
    source.open()
    assert set(outcomes(send_all(sender, map(message, range(100, 200)))).values()) == {Outcome.DELIVERED}
    assert bodies(source, 100) == [b"%d" % number for number in range(100, 200)]
    sender.close()
    source.close()


def test_an_exchange_that_is_deleted_in_the_middle_is_declared_again(rabbitmq: RabbitNode) -> None:
    exchange = new_name("exchange")
    url = f"{rabbitmq.stomp_url()}?amqp_port={rabbitmq.port}"
    asked = spec(exchange=exchange)
    source = subscription(url, asked)
    source.open()
    sender = publisher(url, exchange=exchange)
    sender.open()
    assert len(send_all(sender, [message(1)])) == 1
    with admin(rabbitmq) as channel:
        channel.exchange_delete(exchange)
    assert set(outcomes(send_all(sender, map(message, range(2, 50)))).values()) == {Outcome.DELIVERED}
    # The queue is bound to it no longer; the next consumer binds it.
    assert bodies(source, 1) == [b"1"]
    source.close()
    again = subscription(url, asked)
    again.open()
    assert len(send_all(sender, [message(50)])) == 1
    assert bodies(again, 1) == [b"50"]
    sender.close()
    again.close()


# Login and rights.


@pytest.mark.parametrize("vhost", ["nowhere", "closed"])
def test_the_error_names_a_virtual_host_that_is_not_ours(rabbitmq: RabbitNode, vhost: str) -> None:
    url = rabbitmq.stomp_url().replace("/pulse", f"/{vhost}")
    for open_it in (publisher(url).open, subscription(url, spec()).open):
        with pytest.raises(BrokerRefusedUsError, match=f"refuses our login.*'{vhost}'"):
            open_it()


def test_the_login_of_a_user_that_does_not_exist_is_refused(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    url = stomp.url_of(user=("nobody", "s3cret"))
    for open_it in (publisher(url).open, subscription(url, spec()).open):
        with pytest.raises(BrokerRefusedUsError, match="refuses our login") as caught:
            open_it()
        assert "s3cret" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_a_url_without_a_user_is_refused_by_a_broker_that_wants_one(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    url = url_of(stomp).replace(f"{ADMIN[0]}:{ADMIN[1]}@", "")
    with pytest.raises(BrokerRefusedUsError, match="refuses our login"):
        publisher(url).open()


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "temporary"])
def test_the_error_names_a_user_without_the_right_to_read(
    stomp: StompRabbitBroker | ActiveMqBroker, durable: bool
) -> None:
    with pytest.raises(BrokerRefusedUsError, match="relay"):
        subscription(stomp.url_of(user=RELAY), spec(durable=durable)).open()


def test_the_least_rights_are_enough(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    durable = subscription(stomp.url_of(user=READER), spec())
    passing = subscription(stomp.url_of(user=READER), spec(durable=False))
    keeping = subscription(stomp.url_of(user=KEEPER), spec())
    for source in (durable, passing, keeping):
        source.open()
    sender = publisher(stomp.url_of(user=RELAY))
    sender.open()
    assert set(outcomes(send_all(sender, [message(1), message(2)])).values()) == {Outcome.DELIVERED}
    assert bodies(durable, 2) == bodies(passing, 2) == [b"1", b"2"]
    first, second = receive(keeping, 2)
    keeping.reject(first, "because")
    keeping.acknowledge(second)
    for each in (durable, passing, keeping, sender):
        each.close()


def test_a_user_without_the_right_to_keep_dead_letters_loses_them_and_nothing_else(
    stomp: StompRabbitBroker | ActiveMqBroker, caplog: pytest.LogCaptureFixture
) -> None:
    source = subscription(stomp.url_of(user=READER), spec())
    source.open()
    sender = publisher(stomp.url_of(user=RELAY))
    sender.open()
    send_all(sender, map(message, range(4)))
    first, *_ = receive(source, 4)
    with pytest.raises(BrokerUnavailableError, match=r"dead letters of .* accept no messages for now.*reader"):
        source.reject(first, "because")
    assert "are dropped" in caplog.text
    source.abandon()
    source.open()
    again = receive(source, 4)
    # ActiveMQ gives the one of the failed transaction last.
    assert sorted(delivery.body for delivery in again) == [b"0", b"1", b"2", b"3"]
    for delivery in again:
        source.reject(delivery, "because")
    source.close()
    source.open()
    assert source.receive(0.3) is None
    source.close()
    sender.close()


def test_a_message_that_is_not_an_event_stops_no_consumer_even_if_it_may_not_set_it_aside(
    stomp: StompRabbitBroker | ActiveMqBroker,
) -> None:
    consumer = Consumer(stomp.url_of(user=READER), ["hg.#"], new_name("sub"), durable=True, timeout=20)
    consumer.open()
    stomp.publish(message(1, body=b"garbage"), exchange=EXCHANGE)
    stomp.publish_events(push_event(2), exchange=EXCHANGE)
    assert take(consumer, 1) == [2]
    assert consumer.receive(0.3) is None
    consumer.close()


# The queue.


def test_a_queue_created_over_amqp_is_refused_over_stomp_with_the_way_out(rabbitmq: RabbitNode) -> None:
    asked = spec(prefix="sub")
    made = amqp_subscription(rabbitmq.url(), asked)
    made.open()
    made.close()
    with pytest.raises(SubscriptionError, match=r"made over AMQP has others.*choose another name"):
        subscription(rabbitmq.stomp_url(), asked).open()


def test_a_queue_with_other_limits_is_refused_with_the_way_out(rabbitmq: RabbitNode) -> None:
    queue = new_name("sub")
    first = subscription(rabbitmq.stomp_url(), spec(queue=queue))
    first.open()
    first.close()
    other = SubscriptionSpec(
        exchange=EXCHANGE, patterns=("hg.#",), queue=queue, durable=True, limits=QueueLimits(max_length=7)
    )
    with pytest.raises(SubscriptionError, match="the limits it was created with"):
        subscription(rabbitmq.stomp_url(), other).open()


def test_former_topics_that_cannot_be_unbound_are_logged_and_filtered_out(
    stomp: StompRabbitBroker | ActiveMqBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with stomp.consumer("hg.#", "build.#"):
        pass
    with stomp.consumer("hg.#") as consumer:
        warnings = [
            record.getMessage()
            for record in caplog.records
            if "former" in record.getMessage() or "still be bound" in record.getMessage()
        ]
        assert len(warnings) == 1
        assert "build" in warnings[0]
        assert "ask an admin" in warnings[0]
        stomp.publish_events(push_event(1))
        stomp.publish(message(7, key="build.done"))
        stomp.publish_events(push_event(2))
        assert take(consumer, 2) == [1, 2]
        assert consumer.receive(0.3) is None
        assert (consumer.stats.filtered, consumer.stats.bad) == (1, 0)


def test_a_consumer_without_rights_ends_at_once_with_the_reason(stomp: StompRabbitBroker | ActiveMqBroker) -> None:
    with pytest.raises(BrokerRefusedUsError, match="relay"):
        Consumer(stomp.url_of(user=RELAY), ["hg.#"]).receive(10)
