# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a queue may hold: the oldest go first, the publisher is never held up, and the consumer gets a gap."""

from __future__ import annotations

import logging
import time

import pytest

from sourcepulse.brokers import Outcome, QueueLimits
from sourcepulse.gaps import Gap
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import bodies, is_silent, message, take


def test_a_full_queue_drops_its_oldest_messages_and_blocks_no_publisher(limited: BrokerUnderTest) -> None:
    asked = limited.spec("#", limits=QueueLimits(max_length=3))
    limited.subscription(asked).close()
    whole = limited.subscription(limited.spec("#", queue=f"{limited.queue}-whole"))
    settled = limited.publish(*(message(number) for number in range(10)))
    assert {item.outcome for item in settled} == {Outcome.DELIVERED}
    assert bodies(whole, 10) == [b"%d" % number for number in range(10)]
    source = limited.subscription(asked, former=("#",))
    assert bodies(source, 3) == [b"7", b"8", b"9"]
    assert is_silent(source)


def test_the_consumer_gets_a_gap_for_what_its_full_queue_dropped(limited: BrokerUnderTest) -> None:
    limits = QueueLimits(max_length=3)
    consumer = limited.consumer("hg.#", limits=limits)
    limited.publish_events(push_event(1))
    assert take(consumer, 1) == [1]
    consumer.close()
    limited.publish_events(*(push_event(number) for number in range(2, 11)))
    reported: list[Gap] = []
    again = limited.consumer("hg.#", limits=limits, on_gap=reported.append, hold_seconds=0.1)
    assert take(again, 3) == [8, 9, 10]
    assert [(gap.first_missing, gap.last_missing) for gap in reported] == [(2, 7)]


def test_what_is_too_old_is_not_given_and_leaves_a_gap(limited: BrokerUnderTest) -> None:
    limits = QueueLimits(message_ttl_s=1)
    consumer = limited.consumer("hg.#", limits=limits)
    limited.publish_events(push_event(1))
    assert take(consumer, 1) == [1]
    consumer.close()
    limited.publish_events(push_event(2), push_event(3))
    time.sleep(1.5)
    limited.publish_events(push_event(4))
    reported: list[Gap] = []
    again = limited.consumer("hg.#", limits=limits, on_gap=reported.append, hold_seconds=0.1)
    assert take(again, 1) == [4]
    assert [(gap.first_missing, gap.last_missing) for gap in reported] == [(2, 3)]


def test_a_queue_unused_for_too_long_is_removed_and_its_consumer_notified(limited: BrokerUnderTest) -> None:
    limits = QueueLimits(expires_s=1)
    reported: list[bool] = []
    limited.consumer("hg.#", limits=limits, on_interrupted=lambda: reported.append(True)).close()
    assert reported == []
    time.sleep(2.5)
    limited.publish_events(push_event(1))
    consumer = limited.consumer("hg.#", limits=limits, on_interrupted=lambda: reported.append(True))
    assert reported == [True]
    assert consumer.stats.interruptions == 1
    limited.publish_events(push_event(2))
    assert take(consumer, 1) == [2]


def test_a_limit_that_cannot_be_set_is_logged_and_everything_is_kept(
    unlimited: BrokerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sourcepulse")
    limits = QueueLimits(max_length=3, expires_s=1)
    unlimited.consumer("hg.#", limits=limits).close()
    assert "max_length and expires_s are not enforced" in caplog.text
    unlimited.publish_events(*(push_event(number) for number in range(1, 11)))
    consumer = unlimited.consumer("hg.#", limits=limits)
    assert take(consumer, 10) == list(range(1, 11))
    assert (consumer.stats.gaps, consumer.stats.interruptions) == (0, 0)


def test_limits_that_cannot_be_set_are_reported(broker: BrokerUnderTest, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sourcepulse")
    limits = QueueLimits(max_length=3)
    said = " ".join(broker.subscription(broker.spec("hg.#", limits=limits)).notes)
    assert ("max_length" in said) == (not broker.sets_queue_limits)
    broker.consumer("hg.#", queue=f"{broker.queue}-2", limits=limits)
    assert ("max_length" in caplog.text) == (not broker.sets_queue_limits)
