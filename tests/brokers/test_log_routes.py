# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Which queues a message is for is found among many patterns at once, also when messages are trimmed unread."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.brokers.file.admin import queue_statistics
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.file.routes import PatternTree, Router, Span
from sourcepulse.events.topics import matches
from support.brokers.embedded_log import EXCHANGE, drain, log_url, message, publish, spec, subscribe

WORDS = st.sampled_from(["a", "b", "c"])
KEYS = st.lists(WORDS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.lists(st.one_of(WORDS, st.sampled_from(["*", "#"])), min_size=1, max_size=5).map(".".join)
QUEUES = 30


@given(st.lists(PATTERNS, max_size=20), st.lists(KEYS, max_size=5))
def test_a_tree_of_patterns_finds_those_that_match_each_of_them_once(patterns: list[str], keys: list[str]) -> None:
    tree = PatternTree()
    for number, pattern in enumerate(patterns):
        tree.add(pattern, Span(number, 0, None))
    for key in keys:
        found = sorted(span.queue for span in tree.find(key))
        assert found == [number for number, pattern in enumerate(patterns) if matches(pattern, key)]


def test_a_router_knows_the_queues_of_now_and_the_positions_of_former_bindings() -> None:
    router = Router(1, [(1, "one", "a.#", 5, None), (1, "one", "#", 7, None), (2, "one", "a.*", 2, 9)])
    assert router.queues("one", "a.b") == (1,)
    assert router.queues("two", "a.b") == ()
    spans = router.spans("one", "a.b")
    assert sorted(span.queue for span in spans if span.has(6)) == [1, 2]
    assert sorted(span.queue for span in spans if span.has(10)) == [1, 1]


def test_a_publisher_that_trims_past_queues_without_consumers_reads_the_bindings_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = log_url(tmp_path)
    for number in range(QUEUES):
        subscribe(url, spec(f"hg.push.{number % 2}.#", queue=f"q{number}")).close()
    publish(url, [message(number, f"hg.push.{number % 2}.x") for number in range(100)])
    statements: list[str] = []
    connect = sqlite3.connect

    def connected(*arguments: object, **options: object) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        db.set_trace_callback(statements.append)
        return db

    monkeypatch.setattr(sqlite3, "connect", connected)
    with closing(LocalPublisher(url, exchange=EXCHANGE, keep_bytes=1)) as publisher:
        publisher.open()
        for number in (100, 101):
            publisher.send(message(number, "hg.push.0.x"))
            publisher.settle(5)
    assert sum("FROM bindings" in statement for statement in statements) == 1
    monkeypatch.undo()
    lost = [queue.lost for queue in queue_statistics(url)]
    assert sorted(lost) == [50] * (QUEUES // 2) + [52] * (QUEUES // 2)


def test_what_is_trimmed_counts_as_lost_by_the_bindings_of_its_position(tmp_path: Path) -> None:
    url = log_url(tmp_path)
    queue = subscribe(url, spec("a.#", queue="q"))
    publish(url, [message(1, "a.x"), message(2, "b.x")])
    assert drain(queue, limit=1) == [b"1"]
    queue.close()
    subscribe(url, spec("b.#", queue="q")).close()
    publish(url, [message(3, "a.x"), message(4, "b.x"), message(5, "b.y")])
    with closing(LocalPublisher(url, exchange=EXCHANGE, keep_bytes=1)) as publisher:
        publisher.open()
        publisher.send(message(6, "c"))
        publisher.settle(5)
    (row,) = queue_statistics(url)
    assert (row.lost, row.pending) == (2, 0)
