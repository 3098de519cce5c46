# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The embedded log in one process: routing, queues, leases, limits, dead letters."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from sourcepulse.brokers import Outcome, QueueLimits, open_publisher, open_subscription
from sourcepulse.brokers.file.admin import (
    bring_back_dead_letters,
    dead_letters,
    delete_queue,
    log_statistics,
    queue_statistics,
)
from sourcepulse.brokers.file.publisher import MESSAGE_MAX_BYTES
from sourcepulse.brokers.file.subscription import LocalPublisher, LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerError, BrokerUnavailableError, NothingThereError, SubscriptionError
from support.brokers.embedded_log import drain, log_url, message, publish, publisher, spec, subscribe


@pytest.fixture
def url(tmp_path: Path) -> BrokerUrl:
    return log_url(tmp_path)


def test_a_file_url_opens_the_embedded_log(url: BrokerUrl) -> None:
    assert isinstance(open_publisher(url, exchange="x"), LocalPublisher)
    assert isinstance(open_subscription(url, spec()), LocalSubscription)


def test_a_queue_gets_what_matches_its_patterns_in_order_and_once(url: BrokerUrl) -> None:
    hg = subscribe(url, spec("hg.#", "hg.push.*"))
    failures = subscribe(url, spec("*.*.failure.#"))
    keys = ["hg.push.a", "build.finished.failure.x", "hg", "build.finished.success.x", "hg.tag.moved.a"]
    publish(url, [message(number, key) for number, key in enumerate(keys)])
    publish(url, [message(9, "hg.push.a")], exchange="another")
    assert drain(hg) == [b"0", b"2", b"4"]
    assert drain(failures) == [b"1"]


def test_the_delivery_carries_what_was_published(url: BrokerUrl) -> None:
    queue = subscribe(url, spec())
    body = bytes(range(256))
    publish(url, [message(1, "hg.push.a_20b", body)])
    delivery = queue.receive(1)
    assert delivery is not None
    assert (delivery.routing_key, delivery.body, delivery.content_type, delivery.redelivered) == (
        "hg.push.a_20b",
        body,
        "text/plain",
        False,
    )


def test_each_message_is_settled_and_one_to_which_no_queue_is_bound_is_unroutable(url: BrokerUrl) -> None:
    queue = subscribe(url, spec("hg.#"))
    settled = publish(url, [message(1), message(2, "build.started.x"), message(3)])
    assert [(each.tag, each.outcome) for each in settled] == [
        (1, Outcome.DELIVERED),
        (2, Outcome.UNROUTABLE),
        (3, Outcome.DELIVERED),
    ]
    queue.close()
    assert publish(url, [message(4)])[0].outcome is Outcome.UNROUTABLE


def test_a_message_that_is_too_large_is_refused_and_the_others_are_stored(url: BrokerUrl) -> None:
    queue = subscribe(url, spec())
    large = message(2, body=b"x" * (MESSAGE_MAX_BYTES + 1))
    long_key = message(3, key="hg." + "x" * 253)
    outcomes = {each.tag: each.outcome for each in publish(url, [message(1), large, long_key, message(4)])}
    refused = {tag for tag, outcome in outcomes.items() if outcome is Outcome.REFUSED}
    assert refused == {2, 3}
    assert drain(queue) == [b"1", b"4"]


def test_nothing_is_stored_before_settle(url: BrokerUrl) -> None:
    queue = subscribe(url, spec())
    opened = publisher(url)
    opened.send(message(1))
    assert queue.receive(0.1) is None
    opened.abandon()
    opened.open()
    assert opened.settle(0) == []
    assert queue.receive(0.1) is None


def test_a_durable_queue_keeps_messages_while_it_has_no_consumer(url: BrokerUrl) -> None:
    publish(url, [message(1)])
    subscribe(url, spec("hg.#", queue="me")).close()
    publish(url, [message(2), message(3)])
    assert drain(subscribe(url, spec("hg.#", queue="me"))) == [b"2", b"3"]


def test_from_start_gives_what_is_stored_already_but_only_to_a_new_queue(url: BrokerUrl) -> None:
    publish(url, [message(1), message(2, "build.started.x"), message(3)])
    first = subscribe(url, spec("hg.#", queue="me", from_start=True))
    assert drain(first) == [b"1", b"3"]
    first.close()
    assert drain(subscribe(url, spec("hg.#", queue="me", from_start=True))) == []
    assert drain(subscribe(url, spec("hg.#", from_start=True))) == [b"1", b"3"]


def test_a_temporary_queue_vanishes_when_it_is_closed(url: BrokerUrl) -> None:
    queue = subscribe(url, spec())
    assert len(queue_statistics(url)) == 1
    queue.close()
    assert queue_statistics(url) == ()


def test_a_temporary_queue_whose_consumer_is_gone_vanishes_when_it_expired(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(limits=QueueLimits(expires_s=0)))
    publish(url, [message(1)])
    assert drain(queue) == [b"1"], "a live consumer keeps its queue"
    queue.abandon()
    time.sleep(0.01)
    subscribe(url, spec(queue="other"))
    assert [each.name for each in queue_statistics(url)] == ["other"]


def test_a_durable_queue_that_expired_is_reported_to_its_consumer(url: BrokerUrl) -> None:
    asked = spec(queue="me", limits=QueueLimits(expires_s=0))
    first = subscribe(url, asked)
    assert not first.interrupted
    first.close()
    time.sleep(0.01)
    subscribe(url, spec(queue="other"))
    assert "me" not in [each.name for each in queue_statistics(url)]
    assert subscribe(url, asked).interrupted


def test_what_is_not_acknowledged_comes_again_in_order_before_the_rest(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(queue="me", prefetch=3))
    publish(url, [message(number) for number in range(6)])
    first, second, third = (queue.receive(1) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    queue.acknowledge(second)
    queue.close()
    again = subscribe(url, spec(queue="me"))
    deliveries = [again.receive(1) for _ in range(5)]
    assert [(each.body, each.redelivered) for each in deliveries if each] == [
        (b"0", True),
        (b"2", True),
        (b"3", False),
        (b"4", False),
        (b"5", False),
    ]


def test_prefetch_bounds_what_is_out_and_an_acknowledgement_makes_room(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(prefetch=2))
    publish(url, [message(number) for number in range(3)])
    first, second = queue.receive(1), queue.receive(1)
    assert first is not None
    assert second is not None
    assert queue.receive(0.1) is None
    queue.acknowledge(first)
    third = queue.receive(1)
    assert third is not None
    assert third.body == b"2"


def test_an_abandoned_consumer_gives_back_what_it_had(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(queue="me"))
    publish(url, [message(1), message(2)])
    held = queue.receive(1)
    assert held is not None
    queue.abandon()
    queue.open()
    with pytest.raises(BrokerUnavailableError, match="opened again"):
        queue.acknowledge(held)
    assert drain(queue) == [b"1", b"2"]


def test_a_queue_that_is_not_shared_serves_the_second_consumer_when_the_first_is_gone(url: BrokerUrl) -> None:
    first = subscribe(url, spec(queue="me"))
    second = subscribe(url, spec(queue="me"))
    publish(url, [message(1), message(2)])
    assert second.receive(0.1) is None
    delivery = first.receive(1)
    assert delivery is not None
    first.acknowledge(delivery)
    assert second.receive(0.1) is None
    first.close()
    assert drain(second, 2, limit=1) == [b"2"]


def test_consumers_of_a_shared_queue_split_it(url: BrokerUrl) -> None:
    asked = spec(queue="me", shared=True, prefetch=1)
    first, second = subscribe(url, asked), subscribe(url, asked)
    publish(url, [message(number) for number in range(4)])
    got = []
    for queue in (first, second, first, second):
        delivery = queue.receive(1)
        assert delivery is not None
        got.append(delivery.body)
        queue.acknowledge(delivery)
    assert sorted(got) == [b"0", b"1", b"2", b"3"]
    assert (first.receive(0.05), second.receive(0.05)) == (None, None)


def test_a_queue_in_use_cannot_become_shared(url: BrokerUrl) -> None:
    first = subscribe(url, spec(queue="me"))
    with pytest.raises(SubscriptionError, match="'me' is in use and not shared"):
        subscribe(url, spec(queue="me", shared=True))
    first.close()
    subscribe(url, spec(queue="me", shared=True))


def test_changed_patterns_replace_the_former_and_decide_about_later_messages(url: BrokerUrl) -> None:
    subscribe(url, spec("hg.#", queue="me")).close()
    publish(url, [message(1, "hg.push.a"), message(2, "build.started.x")])
    subscribe(url, spec("build.#", queue="me")).close()
    publish(url, [message(3, "hg.push.a"), message(4, "build.started.x")])
    queue = subscribe(url, spec("build.#", queue="me"))
    assert drain(queue) == [b"1", b"4"]
    assert queue_statistics(url)[0].patterns == ("build.#",)


def test_a_rejected_message_goes_to_the_dead_letters_and_can_be_brought_back(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(queue="me"))
    publish(url, [message(1), message(2)])
    delivery = queue.receive(1)
    assert delivery is not None
    queue.reject(delivery, "it is no good")
    assert drain(queue) == [b"2"]
    (letter,) = dead_letters(url, "me")
    assert (letter.body, letter.reason, letter.routing_key) == (b"1", "it is no good", "hg.push.a")
    bring_back_dead_letters(url, "me", [letter])
    assert drain(queue, 1, limit=1) == [b"1"]
    assert dead_letters(url, "me") == ()


def test_the_log_itself_buries_nothing_however_often_it_hands_a_message_out(url: BrokerUrl) -> None:
    # What it hands out may never be begun: the consumer counts, see test_consumer_attempts.py.
    asked = spec(queue="me", limits=QueueLimits(max_deliveries=1))
    subscribe(url, asked).close()
    publish(url, [message(number) for number in range(5)])
    for _ in range(4):
        queue = subscribe(url, asked)
        delivery = queue.receive(1)
        assert delivery is not None
        assert delivery.body == b"0"
        queue.abandon()
    assert drain(subscribe(url, asked)) == [b"%d" % number for number in range(5)]
    assert dead_letters(url, "me") == ()


def test_a_queue_drops_its_oldest_messages_beyond_its_length_and_reports_the_loss(url: BrokerUrl) -> None:
    asked = spec("hg.#", queue="me", limits=QueueLimits(max_length=10))
    subscribe(url, asked).close()
    publish(url, [message(number, "hg.push.a" if number % 2 else "build.started.x") for number in range(50)])
    queue = subscribe(url, asked)
    assert queue.interrupted
    assert drain(queue) == [b"%d" % number for number in range(31, 50, 2)]
    assert queue_statistics(url)[0].lost == 15
    queue.close()
    assert subscribe(url, asked).interrupted, "the loss was noticed after the last opening"
    assert not subscribe(url, asked).interrupted, "a loss is reported once"


def test_a_message_older_than_the_queue_allows_is_dropped(url: BrokerUrl) -> None:
    asked = spec(queue="me", limits=QueueLimits(message_ttl_s=0))
    subscribe(url, asked).close()
    publish(url, [message(1)])
    time.sleep(0.01)
    assert drain(subscribe(url, asked)) == []
    assert queue_statistics(url)[0].lost == 1


def test_the_log_is_trimmed_by_bytes_and_a_queue_that_is_behind_reports_the_loss(url: BrokerUrl) -> None:
    behind = subscribe(url, spec("hg.#", queue="behind"))
    held = behind.receive(0)
    assert held is None
    behind.close()
    opened = LocalPublisher(url, exchange="test", keep_bytes=100_000)
    opened.open()
    for batch in range(20):
        for number in range(10):
            opened.send(message(batch * 10 + number, body=b"%03d" % (batch * 10 + number) + b"x" * 1_000))
        opened.settle(1)
    statistics = log_statistics(url)
    assert statistics.bytes <= 100_000
    assert statistics.messages < 100
    again = subscribe(url, spec("hg.#", queue="behind"))
    assert again.interrupted
    kept = drain(again)
    assert kept[-1].startswith(b"199")
    assert queue_statistics(url)[0].lost + len(kept) == 200


def test_the_log_is_trimmed_by_age(url: BrokerUrl) -> None:
    publish(url, [message(number) for number in range(10)])
    time.sleep(0.02)
    opened = LocalPublisher(url, exchange="test", keep_seconds=0.01)
    opened.open()
    opened.send(message(10))
    opened.settle(1)
    assert drain(subscribe(url, spec(from_start=True))) == [b"10"]


def test_trimming_takes_leased_messages_too_and_their_acknowledgement_does_no_harm(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(queue="me"))
    publish(url, [message(1), message(2)])
    delivery = queue.receive(1)
    assert delivery is not None
    time.sleep(0.02)
    opened = LocalPublisher(url, exchange="test", keep_seconds=0.01)
    opened.open()
    opened.send(message(3))
    opened.settle(1)
    queue.acknowledge(delivery)
    assert drain(queue) == [b"2", b"3"], "what was handed over already is still delivered"
    assert queue_statistics(url)[0].lost == 2


def test_statistics_show_what_is_pending_where(url: BrokerUrl) -> None:
    publish(url, [message(1), message(2)])
    queue = subscribe(url, spec("hg.#", queue="me", from_start=True, prefetch=2))
    publish(url, [message(3), message(4, "build.started.x"), message(5)])
    held = [queue.receive(1), queue.receive(1)]
    assert None not in held
    (statistics,) = queue_statistics(url)
    assert (statistics.name, statistics.patterns, statistics.durable, statistics.shared) == (
        "me",
        ("hg.#",),
        True,
        False,
    )
    assert (statistics.consumers, statistics.leased, statistics.pending, statistics.dead) == (1, 2, 2, 0)
    queue.abandon()
    (statistics,) = queue_statistics(url)
    assert statistics.consumers == 0
    assert log_statistics(url).messages == 5


def test_a_queue_in_use_is_not_deleted_and_another_is(url: BrokerUrl) -> None:
    queue = subscribe(url, spec(queue="me"))
    with pytest.raises(BrokerError, match="in use"):
        delete_queue(url, "me")
    queue.close()
    delete_queue(url, "me")
    assert queue_statistics(url) == ()
    with pytest.raises(NothingThereError):
        delete_queue(url, "me")


def test_asking_about_a_log_that_is_not_there_makes_none(url: BrokerUrl) -> None:
    with pytest.raises(NothingThereError):
        log_statistics(url)
    assert not Path(url.path).exists()


def test_a_consumer_that_was_silent_for_too_long_gets_an_error(url: BrokerUrl, monkeypatch: pytest.MonkeyPatch) -> None:
    from sourcepulse.brokers.file import log as local_log

    monkeypatch.setattr(local_log, "LEASE_LIMIT_SECONDS", -1)
    first = subscribe(url, spec(queue="me"))
    publish(url, [message(1)])
    held = first.receive(1)
    assert held is not None
    second = subscribe(url, spec(queue="me"))
    assert drain(second, 1, limit=1) == [b"1"]
    time.sleep(0.05)
    with pytest.raises(BrokerUnavailableError, match="considered dead"):
        first.acknowledge(held)


def test_files_follow_the_mode_of_the_directory(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2770)
    before = os.umask(0o077)
    try:
        url = log_url(shared)
        queue = subscribe(url, spec())
        publish(url, [message(1)])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.iterdir()}
    finally:
        os.umask(before)
    assert drain(queue) == [b"1"]
    assert set(modes.values()) == {0o660}
    assert any(name.startswith("log.db.consumer-") for name in modes)


def test_a_closed_consumer_leaves_no_file_behind(url: BrokerUrl) -> None:
    queue = subscribe(url, spec())
    queue.close()
    queue.close()
    assert not list(Path(url.path).parent.glob("*consumer*"))


def test_an_idle_consumer_costs_little_and_wakes_soon(url: BrokerUrl) -> None:
    queue = subscribe(url, spec())
    cpu = time.process_time()
    assert queue.receive(2) is None
    assert time.process_time() - cpu < 0.5
    publish(url, [message(1)])
    assert queue.receive(5) is not None
