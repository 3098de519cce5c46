# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a relay reports of the queues behind it: one that fills up, once; what it dropped, at most once a minute."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers import QueueLimits, SubscriptionSpec, open_publisher, open_subscription
from sourcepulse.brokers.queues import QueueReport
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.catalogue import check
from sourcepulse.config import load
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.queues.rules import DROPPED, OVERGROWN, QueueRules
from sourcepulse.relay.health.queues.watch import QueueWatch, reader_of
from sourcepulse.typed import data_as
from sourcepulse.typed.system import SystemQueueOvergrown
from support.brokers.messages import message, send_all

QUEUE = "team.ci"
LIMIT_SECONDS = 30.0


def report(depth: int = 0, dropped: int | None = 0, **changes: Any) -> QueueReport:
    figures: dict[str, Any] = {
        "broker": "file:///log.db", "name": QUEUE, "durable": True, "streams": ("public",), "patterns": ("#",),
        "user": None, "consumers": 0, "depth": depth, "limit": 100, "bytes": None, "limit_bytes": None,
        "oldest_at": None, "dropped": dropped, "dead": 0, "last_consumer_at": None,
    }  # fmt: skip
    return QueueReport(**{**figures, **changes})


def looked(rules: QueueRules, now: float, *reports: QueueReport) -> list[tuple[str, str, Any]]:
    """Return stream, state and what was dropped of each event of a look; each is as its schema says."""
    notices = rules.look(reports, now)
    for notice in notices:
        check(notice.type, notice.data)
    return [(notice.stream, notice.type.split(".")[2], notice.data.get("dropped")) for notice in notices]


def test_a_queue_that_fills_up_is_reported_once_until_it_has_emptied() -> None:
    rules = QueueRules()
    full = [("public", "overgrown", None)]
    depths: dict[float, list[Any]] = {
        79: [],
        80: full,
        100: [],
        79.5: [],
        60: [],
        85: [],
        59: [],
        81: full,
        10: [],
        95: full,
    }
    for now, (depth, expected) in enumerate(depths.items()):
        assert looked(rules, float(now), report(int(depth))) == expected, depth


def test_bytes_count_as_well_as_length_and_a_queue_without_a_limit_is_never_full() -> None:
    assert looked(QueueRules(), 0, report(1, bytes=90, limit_bytes=100)) == [("public", "overgrown", None)]
    assert looked(QueueRules(), 0, report(10**9, limit=None)) == []


def test_what_is_dropped_is_reported_at_most_once_a_minute_with_all_since() -> None:
    rules = QueueRules()
    # What was dropped before the relay looked is not new.
    looks: dict[int, tuple[int, list[int]]] = {
        0: (7, []), 15: (7, []), 30: (9, [2]), 45: (12, []), 89: (13, []), 90: (13, [4]), 105: (13, []), 160: (14, [1]),
    }  # fmt: skip
    for now, (dropped, expected) in looks.items():
        assert looked(rules, float(now), report(dropped=dropped)) == [("public", "dropped", n) for n in expected], now
    # A queue that was made again counts from nothing.
    assert looked(rules, 300, report(dropped=1)) == []
    assert looked(rules, 315, report(dropped=3)) == [("public", "dropped", 2)]


def test_a_queue_of_restricted_events_is_named_on_the_restricted_stream_only() -> None:
    rules = QueueRules()
    for streams in (("restricted",), ("public", "restricted")):
        found = looked(rules, 0, report(90, name=f"team.{len(streams)}", streams=streams))
        assert found == [("restricted", "overgrown", None)]
    # Dead letters, and whatever is bound to no exchange of ours, may be of either.
    assert looked(rules, 0, report(90, streams=())) == []


def test_a_temporary_queue_is_not_reported() -> None:
    assert looked(QueueRules(), 0, report(100, name="temporary-1", durable=False)) == []


def test_what_rabbitmq_counts_late_is_not_taken_for_dropped() -> None:
    rules = QueueRules()
    # 10 events a second, none dropped; what consumers took is counted 4 s late.
    for look in range(10):
        published = 150 * look
        late = report(3, dropped=40, published=published, taken=max(0, published - 3 - 40))
        assert looked(rules, 15.0 * look, late) == []
    # Then the consumer is gone, and the queue is full.
    found = []
    for look in range(10, 14):
        published = 150 * look
        found += looked(rules, 15.0 * look, report(70, None, published=published, taken=1347))
    assert {each[:2] for each in found} == {("public", "dropped")}
    assert sum(dropped for _, _, dropped in found) <= 150 * 13 - 1347 - 70
    assert found


def test_counts_that_begin_again_with_the_node_are_not_taken_for_dropped() -> None:
    rules = QueueRules()
    for look in range(4):
        assert looked(rules, 15.0 * look, report(10, None, published=1000, taken=900)) == []
    for look in range(4, 9):
        assert looked(rules, 15.0 * look, report(10, None, published=5 * look, taken=5 * look - 10)) == []


def test_many_queues_in_trouble_are_reported_at_several_looks() -> None:
    rules = QueueRules()
    reports = [report(90, name=f"team.{number}") for number in range(45)]
    assert [len(looked(rules, 15.0 * look, *reports)) for look in range(4)] == [20, 20, 5, 0]


class _Heard:
    def __init__(self) -> None:
        self.notices: list[tuple[str, Mapping[str, Any], str]] = []

    def announce_data(self, type_: str, data: Mapping[str, Any], *, subject: str) -> None:
        self.notices.append((type_, data, subject))


def test_the_queues_of_the_embedded_log_are_seen_by_its_relay(tmp_path: Path) -> None:
    url = BrokerUrl.parse(f"file://{tmp_path}/log.db")
    read = reader_of(load({"broker": str(url)}, environ={}))
    assert read is not None
    heard = _Heard()
    watch = QueueWatch(read, {"public": heard})
    watch.look(0.0)
    limits = QueueLimits(max_length=10)
    spec = SubscriptionSpec(exchange="sourcepulse", patterns=("hg.#",), queue=QUEUE, durable=True, limits=limits)
    source = open_subscription(url, spec)
    source.open()
    source.close()
    watch.look(1.0)
    sender = open_publisher(url, exchange="sourcepulse")
    sender.open()
    send_all(sender, [message(number) for number in range(25)])
    sender.close()
    watch.look(2.0)
    assert [(type_, subject) for type_, _, subject in heard.notices] == [
        (OVERGROWN, f"queue/{QUEUE}"), (DROPPED, f"queue/{QUEUE}"),
    ]  # fmt: skip
    assert [(data["depth"], data.get("dropped")) for _, data, _ in heard.notices] == [(10, None), (10, 15)]


@pytest.mark.parametrize("restricted", [False, True])
def test_a_service_reports_a_queue_that_fills_up_to_the_consumers_of_its_stream(
    tmp_path: Path, restricted: bool
) -> None:
    prefix, exchange = ("restricted_", "sourcepulse-restricted") if restricted else ("", "sourcepulse")
    urls = {"broker": f"file://{tmp_path}/log.db", "restricted_broker": f"file://{tmp_path}/restricted.db"}
    url = BrokerUrl.parse(urls[f"{prefix}broker"])
    filled(url, exchange)
    settings = load({**urls, "heartbeat_s": 600}, environ={})
    with (
        Consumer(url, ["system.queue.#"], exchange=exchange, state=":memory:") as consumer,
        Consumer(BrokerUrl.parse(urls["broker"]), ["#"], state=":memory:") as public,
        Outbox.open(tmp_path / "o.db") as outbox,
        open_relay(outbox.path, settings, stop := threading.Event()) as relay,
    ):
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            event = consumer.receive(LIMIT_SECONDS)
        finally:
            stop.set()
            thread.join(LIMIT_SECONDS)
        assert event is not None
        assert (event.type, event.subject, event.numbers) == (OVERGROWN, f"queue/{QUEUE}", None)
        check(event.type, event.data)
        assert data_as(event, SystemQueueOvergrown)["depth"] == 9
        # The public exchange does not name a queue of restricted events.
        heard = []
        while (other := public.receive(0.2)) is not None:
            heard.append(other.type)
            public.acknowledge()
        assert (OVERGROWN in heard) == (not restricted)


def filled(url: BrokerUrl, exchange: str) -> None:
    """Make a queue of at most 10 events with 9 in it, and no reader."""
    limits = QueueLimits(max_length=10)
    spec = SubscriptionSpec(exchange=exchange, patterns=("hg.#",), queue=QUEUE, durable=True, limits=limits)
    source = open_subscription(url, spec)
    source.open()
    source.close()
    sender = open_publisher(url, exchange=exchange)
    sender.open()
    send_all(sender, [message(number) for number in range(9)])
    sender.close()


def test_what_cannot_be_seen_is_logged_once_and_looked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "management"
    settings = {"broker": "amqp://relay@127.0.0.1:1/x", "management_url_file": str(file)}
    read = reader_of(load(settings, environ={}))
    assert read is not None
    watch = QueueWatch(read, {})
    for _ in range(3):
        watch.look(0.0)
    assert caplog.text.count("the queues cannot be seen") == 1
    file.touch(0o600)
    file.write_text("http://monitor:s3cret@127.0.0.1:1")
    watch.look(0.0)
    assert caplog.text.count("the queues cannot be seen") == 2
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"broker": "amqp://relay@h/x"},
        {"broker": "stomp+activemq://relay@h", "management_url": "http://h"},
        {},
    ],
)
def test_a_relay_that_can_see_no_queue_does_not_look(settings: dict[str, str]) -> None:
    assert reader_of(load(settings, environ={})) is None
