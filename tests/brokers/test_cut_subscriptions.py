# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An exchange or a binding that is removed under a connected consumer: it notices, and events come again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import Outcome
from sourcepulse.brokers.amqp import publisher as amqp_publisher
from sourcepulse.brokers.amqp import subscription as amqp_subscription
from sourcepulse.brokers.stomp import activemq_subscription as stomp_activemq_subscription
from sourcepulse.brokers.stomp import rabbitmq_subscription as stomp_rabbitmq_subscription
from sourcepulse.brokers.stomp.destinations import activemq_queue
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.gaps import Gap
from sourcepulse.operations.status.state import read_state
from sourcepulse.operations.status.text import lines
from sourcepulse.outbox.delivery_state import bind_broker
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.sender import Delivery
from sourcepulse.testing import MemoryBroker, system_event
from support.brokers import rabbit_admin
from support.brokers.activemq import ActiveMqNode, require_activemq
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_file import FileBroker
from support.brokers.broker_rabbitmq import RabbitBroker, StompRabbitBroker
from support.brokers.embedded_log import as_message, push_event, wait_until
from support.brokers.messages import send_all, take, unique
from support.brokers.rabbitmq import READER, RabbitNode

RENEW_SECONDS = 0.3


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for module in (amqp_subscription, stomp_rabbitmq_subscription, stomp_activemq_subscription):
        monkeypatch.setattr(module, "RENEW_SECONDS", RENEW_SECONDS)
    monkeypatch.setattr(stomp_rabbitmq_subscription, "BUSY_RENEW_SECONDS", 2 * RENEW_SECONDS)
    monkeypatch.setattr(amqp_publisher, "RENEW_SECONDS", 4 * RENEW_SECONDS)


@pytest.fixture(params=[RabbitBroker, StompRabbitBroker])
def broker(request: pytest.FixtureRequest, rabbitmq: RabbitNode) -> Iterator[RabbitBroker]:
    made: RabbitBroker = request.param(rabbitmq)
    yield made
    made.close()


def pass_time(consumer: Consumer) -> None:
    """Make a consumer look after its queue."""
    assert consumer.receive(3 * RENEW_SECONDS) is None


def test_a_binding_that_was_removed_is_made_again_and_what_was_lost_is_a_gap(broker: RabbitBroker) -> None:
    gaps: list[Gap] = []
    consumer = broker.consumer("hg.#", "system.#", on_gap=gaps.append, hold_seconds=0.1)
    broker.publish_events(push_event(1))
    assert take(consumer, 1) == [1]
    broker.remove_binding("hg.#")
    broker.publish_events(push_event(2))
    pass_time(consumer)
    broker.publish_events(push_event(3))
    assert take(consumer, 1) == [3]
    assert [(gap.first_missing, gap.last_missing) for gap in gaps] == [(2, 2)]
    assert consumer.stats.reconnects == 0


def test_a_binding_that_was_removed_is_made_again_though_another_one_brings_events(broker: RabbitBroker) -> None:
    consumer = broker.consumer("hg.#", "system.#")
    broker.remove_binding("hg.#")
    numbers = iter(range(1000))

    def stands() -> bool:
        deadline = time.monotonic() + 3 * RENEW_SECONDS
        while time.monotonic() < deadline:
            broker.publish_events(system_event(next(numbers)))
            assert consumer.receive(30) is not None
            consumer.acknowledge()
        return "hg.#" in broker.bindings()

    wait_until(stands, 30)
    assert (consumer.stats.reconnects, consumer.stats.gaps, consumer.stats.repeats) == (0, 0, 0)


@pytest.mark.parametrize("durable", [True, False])
def test_a_removed_exchange_is_reported_and_events_come_again(broker: RabbitBroker, durable: bool) -> None:
    reported: list[bool] = []
    consumer = broker.consumer("hg.#", durable=durable, on_interrupted=lambda: reported.append(True))
    broker.publish_events(push_event(1))
    assert take(consumer, 1) == [1]
    broker.remove_exchange()
    broker.prepare(broker.exchange) if isinstance(broker, StompRabbitBroker) else None
    if isinstance(broker, StompRabbitBroker):
        # Over STOMP no client creates it again, and a new one cannot be distinguished from one that was never removed.
        pass_time(consumer)
    else:
        assert consumer.receive(3 * RENEW_SECONDS + 2) is None
        assert reported == [True]
    broker.publish_events(push_event(2))
    assert take(consumer, 1) == [2]


def take_over_renewals(consumer: Consumer) -> list[int]:
    """Handle a hundred events with a renewal due after each 25."""
    got = []
    for _ in range(4):
        got += take(consumer, 25)
        time.sleep(1.2 * RENEW_SECONDS)
    return got


def test_renewals_neither_reorder_nor_repeat_what_waits(broker: RabbitBroker) -> None:
    consumer = broker.consumer("hg.#", prefetch=5)
    broker.publish_events(*(push_event(number) for number in range(1, 101)))
    assert take_over_renewals(consumer) == list(range(1, 101))
    assert (consumer.stats.gaps, consumer.stats.reconnects, consumer.stats.late) == (0, 0, 0)


@pytest.fixture(scope="module")
def managed_activemq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqNode]:
    require_activemq()
    with closing(ActiveMqNode(tmp_path_factory.mktemp("managed"), managed=True)) as node:
        node.start()
        yield node


def test_a_queue_of_activemq_that_was_removed_is_made_again_and_what_was_lost_is_a_gap(
    managed_activemq: ActiveMqNode,
) -> None:
    broker = ActiveMqBroker(managed_activemq)
    gaps: list[Gap] = []
    try:
        # Of two queues, the other one is never silent.
        consumer = broker.consumer("hg.#", "system.#", on_gap=gaps.append, hold_seconds=0.1)
        broker.publish_events(push_event(1))
        assert take(consumer, 1) == [1]
        managed_activemq.remove_queue(activemq_queue(broker.exchange, "hg.>", broker.queue).removeprefix("/queue/"))
        broker.publish_events(push_event(2))
        pass_time(consumer)
        broker.publish_events(push_event(3))
        assert take(consumer, 1) == [3]
        assert [(gap.first_missing, gap.last_missing) for gap in gaps] == [(2, 2)]
        # Made again and again, it repeats and reorders nothing.
        broker.publish_events(*(push_event(number) for number in range(4, 104)))
        assert take_over_renewals(consumer) == list(range(4, 104))
        assert (consumer.stats.gaps, consumer.stats.reconnects, consumer.stats.late) == (1, 0, 0)
    finally:
        broker.close()


def test_a_removed_log_is_created_again_and_reported(tmp_path: Path) -> None:
    broker = FileBroker(tmp_path)
    reported: list[bool] = []
    try:
        consumer = broker.consumer("hg.#", on_interrupted=lambda: reported.append(True))
        sender = broker.publisher()
        send_all(sender, [as_message(push_event(1))])
        assert take(consumer, 1) == [1]
        for path in tmp_path.glob("log.db*"):
            path.unlink()
        with pytest.raises(BrokerUnavailableError, match="was removed or replaced"):
            send_all(sender, [as_message(push_event(2))])
        wait_until(lambda: consumer.receive(0.1) is None and reported)
        broker.publish_events(push_event(2))
        assert take(consumer, 1) == [2]
    finally:
        broker.close()


def test_a_consumer_that_may_not_make_the_exchange_waits_for_it_and_says_so(
    rabbitmq: RabbitNode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = unique("exchange")
    rabbit_admin.set_permissions(rabbitmq, READER[0], configure="^(sub\\..*)$", write="^(sub\\..*)$", read=".*")
    broker = RabbitBroker(rabbitmq)
    broker.exchange = exchange
    try:
        consumer = broker.consumer("hg.#", queue=unique("sub.q"), url=rabbitmq.url(READER))
        assert not consumer.connected
        assert "is missing" in caplog.text
        assert "trying again" in caplog.text
        broker.publish_events(push_event(1))
        wait_until(lambda: consumer.receive(0.2) is None and consumer.connected, 30)
        broker.publish_events(push_event(2))
        assert take(consumer, 1) == [2]
    finally:
        broker.close()
        names = "sub\\..*|amq\\.gen.*|temporary-.*|stomp-subscription-.*"
        rabbit_admin.set_permissions(
            rabbitmq,
            READER[0],
            configure=f"^({names})$",
            write=f"^({names})$",
            read=f"^(sourcepulse|{names})$",
        )


def test_an_idle_publisher_makes_its_exchange_again(rabbitmq: RabbitNode, caplog: pytest.LogCaptureFixture) -> None:
    broker = RabbitBroker(rabbitmq)
    try:
        sender = broker.publisher()
        broker.remove_exchange()

        def stands() -> bool:
            sender.settle(0)
            return broker.exchange in rabbit_admin.exchanges(rabbitmq)

        wait_until(stands, 30)
        assert "was removed" in caplog.text
    finally:
        broker.close()


def test_events_that_reach_no_queue_are_reported_in_status_and_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = MemoryBroker(judge=lambda _: Outcome.UNROUTABLE)
    with Outbox.open(tmp_path / "o.db") as outbox:
        bind_broker(outbox, "public", "memory")
        delivery = Delivery(outbox, "public", broker.publisher, exchange="x", clock=lambda: 0.0)

        def trouble(number: int) -> list[str]:
            outbox.append([system_event(number)])
            delivery.attempt(lambda: False)
            return [line for line in lines(read_state(outbox)) if "reach no queue since" in line]

        with caplog.at_level(logging.WARNING):
            assert len(trouble(1)) == len(trouble(2)) == 1
        assert caplog.text.count("reach no queue") == 1
        broker.judge = lambda _: Outcome.DELIVERED
        assert trouble(3) == []
