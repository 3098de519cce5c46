# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What Bugzilla hides is withdrawn from the log: from readers, queues, consumers, dead letters, and from its files."""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.brokers import Delivery
from sourcepulse.brokers.file.admin import bring_back_dead_letters, dead_letters, log_statistics, queue_statistics
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.reader import LogReader, Row, Withdrawal
from sourcepulse.brokers.file.subscription import LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode, encode_pulse
from sourcepulse.outbox.outbox import WITHHELD_TYPE
from support.brokers.embedded_log import EXCHANGE, as_message, drain, log_url, publish, spec, subscribe
from support.events.bugzilla_events import Site, withheld

SECRET = "the quick brown secret"


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


@pytest.fixture
def reader(url: BrokerUrl) -> Iterator[LogReader]:
    with closing(LogReader(Path(url.path), EXCHANGE)) as opened:
        yield opened


def send(url: BrokerUrl, *events: Event, once: bool = False, keep_seconds: float = 1e6) -> None:
    with closing(LocalPublisher(url, exchange=EXCHANGE, once=once, keep_seconds=keep_seconds)) as opened:
        opened.open()
        for event in events:
            opened.send(as_message(event))
        opened.settle(5)


def events_of(rows: list[Row]) -> list[Event]:
    return [decode(row.body, routing_key=row.routing_key) for row in rows]


def stand_in(event: Event) -> Event:
    return withheld(event)


def on_disk(url: BrokerUrl, text: str = SECRET) -> list[str]:
    """Return the files of the log that have a text in any of their bytes."""
    path = Path(url.path)
    return [
        each.name for each in path.parent.glob(f"{path.name}*") if each.is_file() and text.encode() in each.read_bytes()
    ]


def test_all_events_of_a_hidden_bug_become_stand_ins_and_nothing_else_does(url: BrokerUrl, reader: LogReader) -> None:
    site, other_site = Site(), Site("bugzilla://another")
    before = [
        site.changed(1, SECRET),
        site.changed(2, "public"),
        site.comment(1, 5, SECRET),
        other_site.changed(1, "x"),
    ]
    send(url, *before)
    hidden = site.bug_hidden(1)
    after = site.changed(1, "public again")
    send(url, hidden, after)
    rows = reader.read(0)
    assert events_of(rows) == [stand_in(before[0]), before[1], stand_in(before[2]), before[3], hidden, after]
    assert [row.withdrawn for row in rows] == [True, False, True, False, False, False]
    first = rows[0]
    assert (first.type, first.subject, first.id, first.routing_key) == (
        WITHHELD_TYPE,
        None,
        before[0].id,
        before[0].routing_key,
    )
    assert reader.withdrawals(0, 9) == [
        Withdrawal(5, 1, site.source, before[0].id),
        Withdrawal(5, 3, site.source, before[2].id),
    ]
    assert reader.withdrawals(5, 9) == reader.withdrawals(0, 4) == []
    assert len(reader.withdrawals(0, 9, limit=1)) == 2, "all of one cause"
    assert on_disk(url) == []


@pytest.mark.parametrize("fact", ["hidden", "deleted"])
def test_it_is_withdrawn_also_within_one_batch_and_by_a_deletion(url: BrokerUrl, reader: LogReader, fact: str) -> None:
    site = Site()
    first, last = site.changed(1, SECRET), site.bug_hidden(1, fact)
    send(url, first, last)
    assert events_of(reader.read(0)) == [stand_in(first), last]
    assert on_disk(url) == []


def test_a_durable_queue_that_waits_gets_stand_ins_and_counts_them(url: BrokerUrl) -> None:
    site = Site()
    subscribe(url, spec("bugzilla.#", queue="waits")).close()
    subscribe(url, spec("hg.#", queue="other")).close()
    first, last = site.changed(1, SECRET), site.bug_hidden(1)
    send(url, first)
    send(url, last)
    waits, other = sorted(queue_statistics(url), key=lambda each: each.name, reverse=True)
    assert (waits.withdrawn, waits.pending, waits.lost) == (1, 2, 0)
    assert other.withdrawn == 0
    queue = subscribe(url, spec("bugzilla.#", queue="waits"))
    got = [decode(body, routing_key=first.routing_key) for body in drain(queue, limit=1)]
    assert got == [stand_in(first)]
    assert decode(drain(queue)[0], routing_key=last.routing_key) == last


def received(queue: LocalSubscription) -> Delivery:
    delivery = queue.receive(5)
    assert delivery is not None
    return delivery


def test_what_a_consumer_holds_or_has_fetched_ahead_is_withdrawn_as_well(url: BrokerUrl) -> None:
    site = Site()
    queue = subscribe(url, spec("bugzilla.#", queue="q"))
    events = [site.changed(1, f"{SECRET} {number}") for number in range(3)]
    send(url, *events)
    held = received(queue)
    assert SECRET.encode() in held.body
    send(url, site.bug_hidden(1))
    # Two were leased with the first and wait in the memory of the consumer.
    assert decode(received(queue).body, routing_key=events[1].routing_key) == stand_in(events[1])
    queue.abandon()
    queue.open()
    again = [received(queue).body for _ in range(4)]
    assert not any(SECRET.encode() in body for body in again)
    assert queue_statistics(url)[0].withdrawn == 3


def test_a_dead_letter_is_withdrawn_also_when_its_message_is_long_gone(url: BrokerUrl) -> None:
    site = Site()
    queue = subscribe(url, spec("bugzilla.#", queue="q"))
    send(url, site.changed(1, SECRET), site.changed(2, "public"))
    for _ in range(2):
        queue.reject(received(queue), f"it says {SECRET}")
    time.sleep(0.02)
    send(url, site.changed(3, "later"), keep_seconds=0.01)
    send(url, site.bug_hidden(1))
    first, second = dead_letters(url, "q")
    assert SECRET.encode() not in first.body
    assert SECRET not in first.reason
    assert b"public" in second.body
    assert queue_statistics(url)[0].withdrawn == 1
    queue.close()
    with closing(sqlite3.connect(url.path)) as db:
        db.execute("UPDATE dead_letters SET reason = ''")
        db.commit()
    assert on_disk(url) == []


def test_a_dead_letter_that_was_brought_back_is_withdrawn(url: BrokerUrl) -> None:
    site = Site()
    queue = subscribe(url, spec("bugzilla.#", queue="q"))
    send(url, site.changed(1, SECRET))
    queue.reject(received(queue), "no")
    time.sleep(0.02)
    send(url, site.changed(3, "later"), keep_seconds=0.01)
    bring_back_dead_letters(url, "q", dead_letters(url, "q"))
    queue.close()
    send(url, site.bug_hidden(1))
    assert not any(SECRET.encode() in body for body in drain(subscribe(url, spec("bugzilla.#", queue="q"))))


def test_of_a_hidden_comment_only_its_own_event_is_withdrawn(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    before = [site.comment(1, 5, SECRET), site.comment(1, 6, "public"), site.changed(1, "public")]
    send(url, *before)
    send(url, site.part_hidden("comment", 1, 5))
    assert events_of(reader.read(0))[:3] == [stand_in(before[0]), *before[1:]]
    assert on_disk(url) == []


def test_of_a_hidden_attachment_flags_and_comments_are_withdrawn_as_well(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    withdrawn = [
        site.attachment(1, 7, SECRET),
        site.flag(1, SECRET, attachment=7),
        site.comment(1, 5, SECRET, attachment=7),
    ]
    kept = [site.attachment(1, 8, "public"), site.flag(1, "review", attachment=None), site.comment(1, 6, "public")]
    send(url, *withdrawn, *kept, site.part_hidden("attachment", 1, 7))
    assert events_of(reader.read(0))[:6] == [*map(stand_in, withdrawn), *kept]
    assert on_disk(url) == []


def test_a_late_copy_of_another_numbering_is_withdrawn_by_its_time(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    late, hidden = site.changed(1, SECRET), site.bug_hidden(1)
    assert late.numbers is not None
    send(url, hidden, late._replace(numbers=late.numbers._replace(epoch="another")))
    after = site.changed(1, "public again")
    assert after.numbers is not None
    send(url, after._replace(numbers=after.numbers._replace(epoch="another")))
    assert [row.withdrawn for row in reader.read(0)] == [False, True, False]


def test_a_notice_stays_when_the_bug_is_hidden_later(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    notices = [site.part_hidden("comment", 1, 5), site.bug_hidden(1)]
    send(url, *notices)
    send(url, site.bug_hidden(1))
    assert events_of(reader.read(0))[:2] == notices


def test_a_withheld_event_withdraws_its_copy_and_without_a_subject_all_of_that_bug(
    url: BrokerUrl, reader: LogReader
) -> None:
    site = Site()
    before = [site.comment(1, 5, SECRET), site.changed(1, "public")]
    send(url, *before, withheld(before[0], subject="bug/1"))
    assert events_of(reader.read(0)) == [stand_in(before[0]), before[1]], "the bug is public, and it is a repeat"
    hidden = [site.comment(2, 6, SECRET), site.changed(2, SECRET)]
    send(url, *hidden)
    send(url, withheld(hidden[0]))
    assert events_of(reader.read(3)) == [stand_in(each) for each in hidden]
    assert on_disk(url) == []


def test_a_stand_in_under_the_key_of_another_family_withdraws_nothing(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    event = site.changed(1, "public")
    forged = event._replace(
        type=WITHHELD_TYPE, subject=None, data={"type": "site.deploy.done.v1"}, routing_key="site.deploy.done"
    )
    send(url, event, forged)
    assert events_of(reader.read(0)) == [event]


def test_a_dead_letter_of_a_broker_that_comes_back_after_the_notice_is_withdrawn(
    url: BrokerUrl, reader: LogReader
) -> None:
    site = Site()
    late, hidden = site.changed(1, SECRET), site.bug_hidden(1)
    again = site.changed(1, "public again")
    send(url, hidden, once=True)
    send(url, late, again, once=True)
    assert events_of(reader.read(0)) == [hidden, stand_in(late), again]
    assert on_disk(url) == []


def test_another_bug_does_not_name_a_hidden_one_any_more(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    event = site.changed(
        2,
        "public",
        depends_on=[1, 3],
        blocks=[],
        dupe_of=1,
        see_also=["https://bugs.example.org/show_bug.cgi?id=1", "https://bugs.example.org/show_bug.cgi?id=10"],
        cf_regressed_by=1,
    )
    only_that = site.event(
        "bugzilla.bug.changed.v1",
        2,
        {"bug": {"id": 2}, "changes": [{"field_name": "depends_on", "removed": [], "added": [1]}]},
    )
    send(url, event, only_that, site.changed(4, "public", depends_on=[5]))
    send(url, site.bug_hidden(1))
    first, second, third, _ = events_of(reader.read(0))
    assert first.data["bug"] == {
        "id": 2,
        "summary": "public",
        "depends_on": [3],
        "blocks": [],
        "dupe_of": None,
        "see_also": ["https://bugs.example.org/show_bug.cgi?id=10"],
        "cf_regressed_by": None,
    }
    assert (first.id, first.numbers, first.data["changes"]) == (event.id, event.numbers, event.data["changes"])
    assert second == stand_in(only_that), "nothing is left of it"
    assert third.data["bug"]["depends_on"] == [5]
    assert len(reader.withdrawals(0, 9)) == 1


def test_readers_of_a_restricted_stream_keep_what_they_may_see(url: BrokerUrl, reader: LogReader) -> None:
    site = Site(f"{Site().source}?restricted")
    events = [site.attachment(1, 7, "secret"), site.part_hidden("attachment", 1, 7), site.bug_hidden(1)]
    send(url, *events, Site().bug_hidden(1))
    assert events_of(reader.read(0))[:3] == events


def test_what_was_withdrawn_stays_so_when_it_comes_again(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    event = site.changed(1, SECRET)
    send(url, event, site.bug_hidden(1))
    send(url, event._replace(replayed=True))
    send(url, event)
    assert not any(SECRET.encode() in row.body for row in reader.read(0))
    late = site.comment(2, 5, SECRET)
    send(url, withheld(late), late)
    assert on_disk(url) == []


def test_a_bridge_stores_a_stand_in_once_although_it_has_the_event(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    event = site.changed(1, SECRET)
    send(url, event, once=True)
    for _ in range(2):
        send(url, withheld(event), withheld(event), once=True)
    send(url, event, once=True)
    assert reader.bounds() == (1, 2)
    assert events_of(reader.read(0)) == [stand_in(event)]
    assert [each.caused_by for each in reader.withdrawals(0, 9)] == [2]


def test_an_event_in_the_format_of_pulse_is_withdrawn_in_that_format(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    event, hidden = site.changed(1, SECRET), site.bug_hidden(1)
    publish(
        url,
        [
            dataclasses.replace(as_message(each), body=encode_pulse(each, exchange="exchange/x", sent=each.time))
            for each in (event, hidden)
        ],
    )
    rows = reader.read(0)
    assert events_of(rows) == [stand_in(event), hidden]
    assert b'"_meta"' in rows[0].body
    assert on_disk(url) == []


def test_what_cannot_be_read_and_may_be_about_the_bug_is_withdrawn(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    damaged = dataclasses.replace(as_message(site.changed(1, "")), body=b"{" + SECRET.encode())
    foreign = dataclasses.replace(as_message(site.changed(1, "")), body=b"{" + SECRET.encode(), source="", subject=None)
    publish(url, [damaged, foreign, dataclasses.replace(foreign, routing_key="site.text", body=b"text")])
    send(url, site.bug_hidden(1))
    assert [row.body for row in reader.read(0)][:3] == [b"", b"", b"text"]
    assert on_disk(url) == []


def test_what_a_program_of_format_1_stored_is_found(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    events = [site.changed(1, SECRET), site.changed(2, "public")]
    send(url, *events)
    with closing(sqlite3.connect(url.path)) as db, db:
        for table in ("envelopes", "mentions"):
            db.execute(f"DELETE FROM {table}")
        db.execute("UPDATE log SET known_end = 0")
    send(url, site.bug_hidden(1))
    assert events_of(reader.read(0))[:2] == [stand_in(events[0]), events[1]]


def test_the_bytes_of_the_log_stay_counted_and_withdrawals_are_trimmed_with_it(
    url: BrokerUrl, reader: LogReader
) -> None:
    site = Site()
    send(url, site.changed(1, SECRET * 100), site.bug_hidden(1))
    statistics = log_statistics(url)
    assert statistics.bytes == sum(len(row.body) + 120 for row in reader.read(0))
    time.sleep(0.02)
    send(url, site.changed(2, "x"), keep_seconds=0.01)
    assert reader.withdrawals(0, 9) == []
    with closing(sqlite3.connect(url.path)) as db:
        assert db.execute("SELECT count(*) FROM envelopes").fetchone() == (1,)


def test_a_reader_in_the_way_delays_the_cleaning_of_the_journal_only(url: BrokerUrl, reader: LogReader) -> None:
    site = Site()
    send(url, site.changed(1, SECRET))
    with closing(LocalPublisher(url, exchange=EXCHANGE)) as opened:
        opened.open()
        with closing(sqlite3.connect(url.path)) as long_reader:
            long_reader.execute("BEGIN")
            long_reader.execute("SELECT count(*) FROM messages").fetchone()
            opened.send(as_message(site.bug_hidden(1)))
            assert len(opened.settle(5)) == 1
            assert on_disk(url) != []
        opened.send(as_message(site.changed(2, "next")))
        opened.settle(5)
        assert on_disk(url) == []
