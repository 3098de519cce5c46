# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Acknowledged after handling: what was not comes again, what was does not."""

from __future__ import annotations

import pytest

from sourcepulse.errors import BrokerUnavailableError
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event, wait_until
from support.brokers.messages import bodies, is_silent, message, receive, take


def test_what_was_not_acknowledged_comes_again_marked_and_nothing_else(broker: BrokerUnderTest) -> None:
    first = broker.subscription(broker.spec("hg.#"))
    broker.publish(*(message(number) for number in range(1, 6)))
    got = receive(first, 5)
    assert not any(delivery.redelivered for delivery in got)
    # One by one: the second is not acknowledged by the third.
    first.acknowledge(got[0])
    first.acknowledge(got[2])
    first.close()
    again = broker.subscription(broker.spec("hg.#"), former=("hg.#",))
    repeated = receive(again, 3)
    assert [(delivery.body, delivery.redelivered) for delivery in repeated] == [
        (b"2", True),
        (b"4", True),
        (b"5", True),
    ]
    for delivery in repeated:
        again.acknowledge(delivery)
    again.close()
    last = broker.subscription(broker.spec("hg.#"), former=("hg.#",))
    broker.publish(message(6))
    assert bodies(last, 1) == [b"6"]


def test_what_was_acknowledged_before_a_crash_does_not_come_again(broker: BrokerUnderTest) -> None:
    first = broker.subscription(broker.spec("hg.#"))
    broker.publish(*(message(number) for number in range(10)))
    assert bodies(first, 7) == [b"%d" % number for number in range(7)]
    # The next call shows that the acknowledgements are with the broker.
    assert [delivery.body for delivery in receive(first, 3)] == [b"7", b"8", b"9"]
    assert is_silent(first)
    first.abandon()
    again = broker.subscription(broker.spec("hg.#"), former=("hg.#",))
    assert bodies(again, 3) == [b"7", b"8", b"9"]
    assert is_silent(again)


def test_leaving_the_loop_leaves_the_event_to_the_next_loop_and_process(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(*(push_event(number) for number in range(1, 6)))
    for event in consumer:
        if event.data["number"] == 2:
            break
    assert next(iter(consumer)).data["number"] == 2
    consumer.close()
    assert take(broker.consumer("hg.#"), 4) == [2, 3, 4, 5]


def test_an_exception_in_the_loop_leaves_the_event_to_the_next_process(broker: BrokerUnderTest) -> None:
    def fail() -> None:
        with broker.consumer("hg.#") as consumer:
            broker.publish_events(push_event(1), push_event(2))
            for event in consumer:
                if event.data["number"] == 2:
                    raise RuntimeError("the handler's own trouble")

    with pytest.raises(RuntimeError, match="own trouble"):
        fail()
    again = broker.consumer("hg.#")
    assert take(again, 1) == [2]
    assert is_silent(again)


def test_an_event_of_a_killed_process_comes_again_and_what_it_handled_does_not(broker: BrokerUnderTest) -> None:
    victim = broker.child("hg.#", hangs_at=4)
    broker.publish_events(*(push_event(number) for number in range(1, 7)))
    assert victim.lines(4) == ["1", "2", "3", "4"]
    victim.kill()
    consumer = broker.consumer("hg.#")
    assert take(consumer, 3) == [4, 5, 6]
    assert is_silent(consumer)


def test_what_came_by_an_older_connection_cannot_be_acknowledged_or_rejected(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#"))
    broker.publish(message(1))
    (old,) = receive(source, 1)
    source.open()
    with pytest.raises(BrokerUnavailableError):
        source.acknowledge(old)
    with pytest.raises(BrokerUnavailableError):
        source.reject(old, "because")
    (again,) = receive(source, 1)
    assert (again.body, again.redelivered) == (b"1", True)


def test_what_has_arrived_is_given_though_there_is_no_time_to_wait(broker: BrokerUnderTest) -> None:
    source = broker.subscription(broker.spec("hg.#"))
    assert source.receive(0) is None
    broker.publish(message(1))
    got = []

    def arrived() -> bool:
        if (delivery := source.receive(0)) is not None:
            got.append(delivery.body)
        return bool(got)

    wait_until(arrived, broker.patience_s)
    assert got == [b"1"]


def test_closing_twice_or_before_opening_is_not_an_error(broker: BrokerUnderTest) -> None:
    never_opened = broker.new_subscription(broker.spec("hg.#"), ())
    never_opened.abandon()
    never_opened.close()
    source = broker.subscription(broker.spec("hg.#"))
    broker.publish(message(1))
    (delivery,) = receive(source, 1)
    source.close()
    source.close()
    source.abandon()
    source.abandon()
    for call in (lambda: source.receive(0.1), lambda: source.acknowledge(delivery)):
        with pytest.raises(BrokerUnavailableError):
            call()
    source.open()
    assert bodies(source, 1) == [b"1"]
