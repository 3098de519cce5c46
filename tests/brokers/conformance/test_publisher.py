# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a publisher reports: each message settled once, by what became of it; and calls that never hang or raise."""

from __future__ import annotations

import threading
import time

import pytest

from sourcepulse.brokers import Outcome
from sourcepulse.errors import BrokerUnavailableError
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import wait_until
from support.brokers.messages import bodies, message, send_all, settle


def test_every_message_is_settled_once_and_arrives_in_order(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("#"))
    sender = broker.publisher()
    count = 2 * sender.window + 7
    settled = send_all(sender, (message(number) for number in range(count)))
    assert sorted(item.tag for item in settled) == list(range(count))
    assert {item.outcome for item in settled} == {Outcome.DELIVERED}
    assert list(sender.settle(0.1)) == []
    assert bodies(source, count) == [b"%d" % number for number in range(count)]


def test_a_whole_window_may_wait_to_be_settled(broker: BrokerUnderTest) -> None:
    broker.subscription(broker.spec("#"))
    sender = broker.publisher()
    assert sender.window >= 1
    for start in (0, sender.window):
        for number in range(start, start + sender.window):
            sender.send(message(number, body=b"x" * 1000))
        assert {item.tag for item in settle(sender, sender.window)} == set(range(start, start + sender.window))


def test_tags_come_back_as_they_were_given(broker: BrokerUnderTest) -> None:
    broker.subscription(broker.spec("#"))
    tags = [5, 3, 2**53 + 1, 3_000_000_000, 1]
    settled = broker.publish(*(message(tag) for tag in tags))
    assert sorted(item.tag for item in settled) == sorted(tags)


def test_a_message_that_no_queue_takes_is_unroutable_if_the_broker_reports_it(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#"))
    settled = broker.publish(*(message(number, key="hg.x" if number % 2 else "build.x") for number in range(10)))
    lost = Outcome.UNROUTABLE if broker.reports_unroutable else Outcome.DELIVERED
    assert {item.tag: item.outcome for item in settled} == {
        number: Outcome.DELIVERED if number % 2 else lost for number in range(10)
    }
    assert bodies(source, 5) == [b"1", b"3", b"5", b"7", b"9"]


def test_an_exchange_without_any_queue_takes_messages_too(broker: BrokerUnderTest) -> None:
    (settled,) = broker.publish(message(1))
    assert settled.outcome is (Outcome.UNROUTABLE if broker.reports_unroutable else Outcome.DELIVERED)


def test_settling_without_time_to_wait_returns_at_once_and_settles_in_the_end(broker: BrokerUnderTest) -> None:
    broker.subscription(broker.spec("#"))
    sender = broker.publisher()
    assert list(sender.settle(0)) == []
    for number in range(20):
        sender.send(message(number))
    tags: list[int] = []

    def all_settled() -> bool:
        begun = time.monotonic()
        tags.extend(item.tag for item in sender.settle(0))
        # Far more than it needs, far less than any wait for a broker.
        assert time.monotonic() - begun < 2
        return len(tags) >= 20

    wait_until(all_settled, broker.patience_s)
    assert sorted(tags) == list(range(20))


def test_settling_with_nothing_to_settle_waits_no_longer_than_its_limit(broker: BrokerUnderTest) -> None:
    sender = broker.publisher()
    begun = time.monotonic()
    assert list(sender.settle(0.3)) == []
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("leave", ["abandon", "close"])
def test_leaving_never_raises_whatever_the_state(broker: BrokerUnderTest, leave: str) -> None:
    never_opened = broker.new_publisher(broker.exchange)
    getattr(never_opened, leave)()
    getattr(never_opened, leave)()
    sender = broker.publisher()
    sender.send(message(1))
    getattr(sender, leave)()
    getattr(sender, leave)()
    idle = broker.publisher()
    getattr(idle, leave)()
    getattr(idle, leave)()


def test_a_publisher_that_was_left_is_of_no_more_use_until_it_is_opened_again(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("#"))
    sender = broker.publisher()
    send_all(sender, [message(1)])
    sender.abandon()

    def use() -> None:
        sender.send(message(2))
        sender.settle(1)

    with pytest.raises(BrokerUnavailableError):
        use()
    sender.abandon()
    sender.open()
    assert [item.tag for item in send_all(sender, [message(3)])] == [3]
    sender.close()
    assert bodies(source, 2) == [b"1", b"3"]


def test_what_was_unsettled_when_the_publisher_was_abandoned_is_not_settled_later(broker: BrokerUnderTest) -> None:
    broker.subscription(broker.spec("#"))
    sender = broker.publisher()
    for number in range(10):
        sender.send(message(number))
    sender.abandon()
    sender.open()
    assert list(sender.settle(0.2)) == []
    assert [item.tag for item in send_all(sender, [message(50)])] == [50]


def test_leaving_ends_every_thread_that_was_started(broker: BrokerUnderTest) -> None:
    before = set(threading.enumerate())
    for leave in ("abandon", "close"):
        sender, source = broker.publisher(), broker.subscription(broker.spec("#"))
        send_all(sender, [message(1)])
        getattr(sender, leave)()
        getattr(source, leave)()
    wait_until(lambda: set(threading.enumerate()) <= before, broker.patience_s)


def test_many_publishers_write_to_one_exchange(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("#", prefetch=200))
    senders = [broker.publisher() for _ in range(4)]
    for round_ in range(5):
        for place, sender in enumerate(senders):
            sender.send(message(10 * place + round_))
    for place, sender in enumerate(senders):
        assert {item.tag for item in settle(sender, 5)} == {10 * place + round_ for round_ in range(5)}
    got = [int(body) for body in bodies(source, 20)]
    for place in range(4):
        assert [number for number in got if number // 10 == place] == [10 * place + round_ for round_ in range(5)]
