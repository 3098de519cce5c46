# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When the bridge commits: soon where little comes, seldom where a backlog does, and never too much at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sourcepulse.brokers import Delivery
from sourcepulse.errors import DecodeError
from sourcepulse.events.wire import CONTENT_TYPE, encode
from sourcepulse.testing import system_event
from sourcepulse_web.bridge.batch import DELAY_SECONDS, HOLD_SECONDS, MOST_BYTES, MOST_MESSAGES, Batch

BLANKS = b" " * 1_000_000


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def delivery(number: int, more: bytes = b"") -> Delivery:
    event = system_event(number)
    return Delivery(
        routing_key=event.routing_key,
        body=encode(event) + more,
        content_type=CONTENT_TYPE,
        redelivered=False,
        handle=None,
    )


def test_a_single_event_is_due_at_once_and_the_next_one_a_moment_after_the_commit() -> None:
    clock = Clock()
    batch = Batch(clock)
    batch.add(delivery(0))
    assert batch.due_in() == 0
    batch.committed()
    assert batch.taken == []
    batch.add(delivery(1))
    assert batch.due_in() == pytest.approx(DELAY_SECONDS)
    assert not batch.is_full()
    clock.now += DELAY_SECONDS + 0.001
    assert batch.due_in() == 0


def test_more_is_added_while_it_arrives_up_to_a_number_of_events() -> None:
    batch = Batch(Clock())
    for number in range(MOST_MESSAGES):
        assert not batch.is_full()
        batch.add(delivery(number))
    assert batch.is_full()
    assert batch.due_in() == 0
    batch.committed()
    assert not batch.is_full()


def test_large_events_are_committed_before_they_fill_the_memory() -> None:
    batch = Batch(Clock())
    while not batch.is_full():
        batch.add(delivery(len(batch.taken), BLANKS))
    assert sum(len(each.message.body) for each in batch.taken) <= MOST_BYTES + len(BLANKS) + 1_000
    batch.forget()
    batch.add(delivery(0))
    assert not batch.is_full()


def test_what_arrives_without_end_is_committed_after_a_time() -> None:
    clock = Clock()
    batch = Batch(clock)
    batch.add(delivery(0))
    clock.now += HOLD_SECONDS / 2
    batch.add(delivery(1))
    assert not batch.is_full()
    clock.now += HOLD_SECONDS / 2
    assert batch.is_full()


def test_what_is_no_event_is_not_added() -> None:
    batch = Batch(Clock())
    with pytest.raises(DecodeError):
        batch.add(replace(delivery(0), body=b"[]"))
    assert batch.taken == []
    assert not batch.is_full()
