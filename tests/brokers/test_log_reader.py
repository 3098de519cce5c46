# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The log is read by position: in order, without repeats, and a file that is not there yet or no more is noticed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.brokers import Message, Outcome
from sourcepulse.brokers.file.admin import bring_back_dead_letters, dead_letters
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerUnavailableError
from support.brokers.embedded_log import (
    EXCHANGE,
    as_message,
    log_url,
    message,
    publish,
    publish_events,
    push_event,
    spec,
    subscribe,
)


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture
def reader(url: BrokerUrl) -> Iterator[LogReader]:
    with closing(LogReader(Path(url.path), EXCHANGE)) as opened:
        yield opened


def events(url: BrokerUrl, *numbers: int) -> None:
    publish_events(url, *map(push_event, numbers), exchange=EXCHANGE)


def publish_with(url: BrokerUrl, *messages: Message, once: bool = False, keep_seconds: float = 1e6) -> list[Outcome]:
    with closing(LocalPublisher(url, exchange=EXCHANGE, once=once, keep_seconds=keep_seconds)) as opened:
        opened.open()
        for each in messages:
            opened.send(each)
        return [settlement.outcome for settlement in opened.settle(5)]


def test_a_row_is_what_was_published(url: BrokerUrl, reader: LogReader) -> None:
    before = time.time()
    event = push_event(7)
    publish_events(url, event, exchange=EXCHANGE)
    (row,) = reader.read(0)
    assert (row.position, row.routing_key, row.type, row.source, row.subject, row.id, row.withdrawn) == (
        1,
        event.routing_key,
        event.type,
        event.source,
        event.subject,
        event.id,
        False,
    )
    assert row.body == as_message(event).body
    assert row.content_type == "application/cloudevents+json"
    assert before <= row.at <= time.time()


def test_what_the_sender_did_not_declare_is_read_from_the_body(url: BrokerUrl, reader: LogReader) -> None:
    plain = as_message(push_event(1))
    undeclared = Message(
        tag=0, id="other", type="other.v1", time=plain.time, routing_key=plain.routing_key,
        content_type=plain.content_type, body=plain.body,
    )  # fmt: skip
    publish(url, [undeclared, message(2)])
    first, second = reader.read(0)
    assert (first.source, first.id, first.type, first.subject) == (
        "hg://host/repo",
        plain.id,
        "hg.push.v1",
        "repo",
    )
    assert (second.source, second.subject, second.body) == ("", None, b"2")


def test_rows_come_in_order_in_lots_by_number_and_bytes(url: BrokerUrl, reader: LogReader) -> None:
    events(url, *range(1, 30))
    seen: list[int] = []
    while rows := reader.read(seen[-1] if seen else 0, limit=4):
        assert len(rows) <= 4
        seen += [row.position for row in rows]
    assert seen == list(range(1, 30))
    assert len(reader.read(0, max_bytes=1)) == 1, "at least one, however large"
    size = len(reader.read(0)[0].body)
    assert len(reader.read(0, max_bytes=3 * size + 2)) == 3


def test_only_the_rows_of_its_exchange_are_read_and_the_others_are_named(url: BrokerUrl, reader: LogReader) -> None:
    events(url, 1)
    publish_events(url, push_event(2), exchange="another")
    events(url, 3)
    assert [row.position for row in reader.read(0)] == [1, 3]
    assert reader.bounds() == (1, 3)
    assert reader.exchanges() == ("another", EXCHANGE)


def test_a_repeat_is_left_out_unless_it_was_replayed(url: BrokerUrl, reader: LogReader) -> None:
    events(url, 1, 2, 1, 2, 3)
    publish_events(url, push_event(2)._replace(replayed=True), exchange=EXCHANGE)
    assert [row.position for row in reader.read(0)] == [1, 2, 5, 6]
    assert [row.position for row in reader.read(2, limit=1)] == [5], "repeats do not count"
    assert reader.read(6) == []


def test_a_repeat_whose_first_copy_is_gone_is_read(url: BrokerUrl, reader: LogReader) -> None:
    events(url, 1)
    time.sleep(0.02)
    publish_with(url, as_message(push_event(1)), keep_seconds=0.01)
    assert [row.position for row in reader.read(0)] == [2]
    assert reader.bounds() == (2, 2)


def test_the_same_event_on_another_exchange_is_no_repeat(url: BrokerUrl, reader: LogReader) -> None:
    publish_events(url, push_event(1), exchange="another")
    events(url, 1)
    assert [row.position for row in reader.read(0)] == [2]


def test_a_bridge_stores_an_event_once(url: BrokerUrl, reader: LogReader) -> None:
    first, second = as_message(push_event(1)), as_message(push_event(2))
    subscribe(url, spec(queue="q")).close()
    assert publish_with(url, first, first, once=True) == [Outcome.DELIVERED] * 2
    assert publish_with(url, first, second, first, once=True) == [Outcome.DELIVERED] * 3
    assert reader.bounds() == (1, 2)
    queue = subscribe(url, spec(queue="q"))
    assert [delivery.body for _ in range(2) if (delivery := queue.receive(1))] == [first.body, second.body]
    assert queue.receive(0.1) is None
    # What is not an event has no id to compare.
    publish_with(url, message(1), message(1), once=True)
    assert reader.bounds().end == 4


def test_a_log_that_is_created_later_is_read_then(url: BrokerUrl, reader: LogReader) -> None:
    assert (reader.read(0), reader.bounds(), reader.exchanges(), reader.data_version()) == ([], (1, 0), (), 0)
    assert (reader.withdrawals(0, 9), reader.position_at(time.time())) == ([], 0)
    with pytest.raises(BrokerUnavailableError, match="there is no log"):
        reader.token  # noqa: B018 - it raises
    events(url, 1)
    assert len(reader.read(0)) == 1
    assert len(reader.token) == 16


def test_a_log_that_was_removed_or_replaced_is_noticed_and_the_new_one_has_another_token(
    url: BrokerUrl, reader: LogReader
) -> None:
    events(url, 1)
    token = reader.token
    path = Path(url.path)
    for each in path.parent.glob("log.db*"):
        each.unlink()
    for _ in range(2):
        with pytest.raises(BrokerUnavailableError, match="removed or replaced"):
            reader.read(0)
    events(url, 2)
    with pytest.raises(BrokerUnavailableError, match="removed or replaced"):
        reader.data_version()
    reader.close()
    assert len(reader.read(0)) == 1
    assert reader.token != token


def test_a_copy_of_a_log_has_another_token_and_all_readers_of_one_the_same(url: BrokerUrl, tmp_path: Path) -> None:
    events(url, 1)
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(url.path)) as db, closing(sqlite3.connect(copy)) as other:
        db.backup(other)
    readers = [LogReader(Path(path), EXCHANGE) for path in (url.path, url.path, copy)]
    tokens = [each.token for each in readers]
    for each in readers:
        each.close()
    assert tokens[0] == tokens[1] != tokens[2]


def test_an_older_copy_in_the_place_of_a_log_has_another_token_and_uses_no_position_twice(
    url: BrokerUrl, reader: LogReader, tmp_path: Path
) -> None:
    events(url, 1)
    token = reader.token
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(url.path)) as db, closing(sqlite3.connect(copy)) as other:
        db.backup(other)
    events(url, 2, 3)
    assert reader.read(0)[-1].position == 3
    reader.close()
    # As `cp` does it, the file is the same one.
    Path(url.path).write_bytes(copy.read_bytes())
    events(url, 4, 5, 6)
    assert [row.position for row in reader.read(0)] == [1, 4, 5, 6]
    assert reader.token != token
    again = reader.token
    reader.close()
    assert reader.token == again


def test_no_event_is_left_out_where_the_clock_went_back(url: BrokerUrl, reader: LogReader) -> None:
    for number in range(20):
        events(url, number + 1)
    with closing(sqlite3.connect(url.path)) as db, db:
        db.execute("UPDATE messages SET at = CASE WHEN position <= 8 THEN 30 WHEN position <= 12 THEN 5 ELSE 40 END")
    assert reader.position_at(20) == 0
    assert reader.position_at(31) == 12
    assert reader.position_at(41) == 20
    events(url, 21)
    assert reader.position_at(41) == 20


def test_the_data_version_changes_with_each_commit_only(url: BrokerUrl, reader: LogReader) -> None:
    events(url, 1)
    before = reader.data_version()
    assert reader.data_version() == before
    events(url, 2)
    assert reader.data_version() != before


def test_the_newest_of_a_type_is_found_among_the_last_and_none_of_another_exchange(
    url: BrokerUrl, reader: LogReader
) -> None:
    assert reader.newest(lambda _: True) is None
    events(url, 1, 2)
    publish_events(url, push_event(3), exchange="other")
    row = reader.newest(lambda type_: type_ == push_event(1).type)
    assert row is not None
    assert (row.position, row.id) == (2, push_event(2).id)
    assert reader.newest(lambda type_: type_ == "bugzilla.bug.changed.v1") is None
    assert reader.newest(lambda _: True, within=1) is None
    events(url, 4)
    publish_events(url, push_event(5), push_event(6), exchange="other")
    latest = reader.newest(lambda _: True)
    assert latest is not None
    assert latest.id == push_event(4).id


def test_a_position_is_found_by_time(url: BrokerUrl, reader: LogReader) -> None:
    for number in range(20):
        events(url, number + 1)
    rows = reader.read(0)
    for row in rows:
        first = next(each for each in reader.read(reader.position_at(row.at)))
        assert first.at == row.at
    assert reader.position_at(0) == 0
    assert reader.position_at(rows[-1].at + 1) == 20


def test_a_dead_letter_that_is_brought_back_is_no_news_for_readers(url: BrokerUrl, reader: LogReader) -> None:
    queue = subscribe(url, spec(queue="q"))
    events(url, 1, 2)
    delivery = queue.receive(1)
    assert delivery is not None
    queue.reject(delivery, "no good")
    time.sleep(0.02)
    publish_with(url, as_message(push_event(3)), keep_seconds=0.01)
    assert reader.bounds() == (3, 3)
    bring_back_dead_letters(url, "q", dead_letters(url, "q"))
    assert reader.bounds() == (3, 3)
    assert [row.position for row in reader.read(0)] == [3]
