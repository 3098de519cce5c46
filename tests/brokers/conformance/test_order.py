# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The user's view of order: per source, repeats dropped by id, gaps and resets reported."""

from __future__ import annotations

from sourcepulse.gaps import Gap, Reset
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.messages import is_silent, next_event, take

SOURCES = ("hg://host/one", "hg://host/two", "hg://host/three")


def test_events_of_several_sources_come_in_the_order_of_each_through_restarts_of_the_publisher(
    broker: BrokerUnderTest,
) -> None:
    consumer = broker.consumer("hg.#")
    for start in range(1, 60, 20):
        # Each call is a publisher of its own.
        broker.publish_events(
            *(push_event(number, source=source) for number in range(start, start + 20) for source in SOURCES)
        )
    got: dict[str, list[int]] = {source: [] for source in SOURCES}
    for _ in range(180):
        event = next_event(consumer)
        got[event.source].append(event.data["number"])
        consumer.acknowledge()
    assert got == {source: list(range(1, 61)) for source in SOURCES}
    assert (consumer.stats.gaps, consumer.stats.repeats, consumer.stats.late) == (0, 0, 0)


def test_order_holds_across_several_patterns_and_types(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.tag.#", "hg.push.#", "hg.#")
    types = ("hg.push.v1", "hg.tag.moved.v1", "hg.bookmark.moved.v1")
    broker.publish_events(
        *(push_event(number, type_=types[number % 3], typesequence=(number + 2) // 3) for number in range(1, 61))
    )
    assert take(consumer, 60) == list(range(1, 61))
    assert (consumer.stats.gaps, consumer.stats.late) == (0, 0)


def test_events_published_out_of_order_are_put_in_order(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(*(push_event(number) for number in (1, 3, 2, 6, 5, 4, 7)))
    assert take(consumer, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert consumer.stats.gaps == 0


def test_a_message_that_is_published_twice_is_handled_once_also_by_the_next_process(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.#")
    broker.publish_events(*(push_event(number) for number in (1, 1, 2, 1, 3)))
    assert take(consumer, 3) == [1, 2, 3]
    assert is_silent(consumer)
    assert consumer.stats.repeats == 2
    consumer.close()
    broker.publish_events(push_event(2), push_event(3), push_event(4))
    again = broker.consumer("hg.#")
    assert take(again, 1) == [4]
    assert is_silent(again)
    assert again.stats.repeats == 2


def test_a_temporary_subscription_drops_repeats_and_keeps_order_too(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.#", durable=False)
    broker.publish_events(*(push_event(number) for number in (11, 11, 14, 13, 12)))
    assert take(consumer, 4) == [11, 12, 13, 14]
    assert is_silent(consumer)


def test_a_gap_is_reported_between_its_neighbours(broker: BrokerUnderTest) -> None:
    reported: list[Gap] = []
    consumer = broker.consumer("hg.#", on_gap=reported.append, hold_seconds=0.2)
    broker.publish_events(push_event(1), push_event(2), push_event(5))
    assert take(consumer, 2) == [1, 2]
    assert reported == []
    assert take(consumer, 1) == [5]
    assert reported == [Gap(source="hg://host/repo", epoch="one", type=None, first_missing=3, last_missing=4)]
    broker.publish_events(push_event(4), push_event(6))
    # What is late is given all the same.
    assert take(consumer, 2) == [4, 6]
    assert (consumer.stats.gaps, consumer.stats.missing, consumer.stats.late) == (1, 2, 1)


def test_a_gap_is_reported_across_processes_and_by_type(broker: BrokerUnderTest) -> None:
    first = broker.consumer("hg.push.#")
    broker.publish_events(push_event(1, typesequence=1))
    assert take(first, 1) == [1]
    first.close()
    reported: list[Gap] = []
    broker.publish_events(push_event(9, typesequence=3))
    assert take(broker.consumer("hg.push.#", on_gap=reported.append, hold_seconds=0.1), 1) == [9]
    assert [(gap.type, gap.first_missing, gap.last_missing) for gap in reported] == [("hg.push.v1", 2, 2)]


def test_a_new_epoch_is_reported_as_a_reset_and_not_as_a_gap(broker: BrokerUnderTest) -> None:
    gaps: list[Gap] = []
    resets: list[Reset] = []
    consumer = broker.consumer("hg.#", on_gap=gaps.append, on_reset=resets.append)
    broker.publish_events(push_event(7), push_event(8), push_event(1, epoch="two"), push_event(2, epoch="two"))
    assert take(consumer, 4) == [7, 8, 1, 2]
    assert resets == [Reset(source="hg://host/repo", epoch="two")]
    assert gaps == []


def test_a_replayed_event_is_handled_only_if_it_was_lost_before(broker: BrokerUnderTest) -> None:
    consumer = broker.consumer("hg.#", hold_seconds=0.1)
    broker.publish_events(push_event(1), push_event(3))
    assert take(consumer, 2) == [1, 3]
    broker.publish_events(*(push_event(number)._replace(replayed=True) for number in (1, 2, 3)))
    assert take(consumer, 1) == [2]
    assert is_silent(consumer)
    assert (consumer.stats.gaps, consumer.stats.late) == (1, 0)


def test_consumers_that_keep_leaving_handle_everything_once_in_order(broker: BrokerUnderTest) -> None:
    broker.consumer("hg.#").close()
    broker.publish_events(*(push_event(number) for number in range(1, 101)))
    got: list[int] = []
    for count in (1, 7, 20, 2, 30):
        consumer = broker.consumer("hg.#", prefetch=10)
        got += take(consumer, count)
        consumer.close()
    last = broker.consumer("hg.#")
    got += take(last, 40)
    assert got == list(range(1, 101))
    assert is_silent(last)
    assert (last.stats.gaps, last.stats.late) == (0, 0)
