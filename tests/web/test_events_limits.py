# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Clients that ask for too much, read too little, or are too many cost the others nothing and are answered clearly."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.url import BrokerUrl
from support.web.event_source import EventSourceParser
from support.web.gateway import publish
from support.web.rows import push
from support.web.stream_server import PATTERNS_MAX
from support.web.streams import StreamServer, serving

#: What one event of the flood has, and how many there are: a few times what the kernel and the gateway hold.
FLOOD_BYTES, FLOOD_EVENTS = 60_000, 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    with serving(tmp_path_factory.mktemp("log") / "log.db") as server:
        yield server


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ([("topics", "hg.#")], "there is no parameter 'topics'; did you mean topic=?"),
        ([("lastEventId", "x")], "did you mean last-event-id=?"),
        ([("topic", "hg.p*")], "the word 'p*'"),
        ([("topic", "a" * 256)], "256 bytes"),
        ([("topic", f"a.{number}") for number in range(51)], "topic= occurs 51 times; at most 50"),
        ([("since", "yesterday")], "is not a time with its zone"),
        ([("since", "2026-11-29T12:00:00")], "is not a time with its zone"),
        ([("view", "cards")], "view='cards' does not exist; there is rows"),
        ([("format", "xml")], "there is sse, ndjson"),
        ([("board", "")], "must have a name"),
        ([("board", f"r{number}") for number in range(51)], "board= occurs 51 times"),
        ([("since", "1"), ("since", "2")], "since= occurs 2 times"),
    ],
)
def test_what_no_later_attempt_can_mend_is_400_with_the_reason(
    server: StreamServer, query: list[tuple[str, str]], sentence: str
) -> None:
    answer = server.get(f"/events?{urlencode(query)}")
    assert (answer.status, sentence in answer.text) == (400, True), answer.text


def test_a_query_that_is_not_utf_8_and_a_method_that_changes_things_are_refused(server: StreamServer) -> None:
    assert server.get("/events?topic=%FF").status == 400
    answer = server.get("/events", method="POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_thousands_of_topics_and_huge_headers_are_refused_before_they_cost_anything(server: StreamServer) -> None:
    topics = urlencode([("topic", f"hg.push.{number}") for number in range(5_000)])
    assert server.get(f"/events?{topics}").status in (400, 414, 431)
    assert server.get("/events", headers={"Last-Event-ID": "x" * 20_000}).status == 431
    assert server.listen(last_id="x" * 8_000).until(lambda client: client.named("reset")).status == 200


def test_one_client_too_many_is_sent_away_in_its_stream_and_may_come_back(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db", clients_max=2) as server:
        first, _ = [server.listen().until(lambda client: client.named("hello")) for _ in range(2)]
        refused = server.listen().to_the_end()
        assert refused.status == 200
        assert [event.type for event in refused.events] == ["bye"]
        assert refused.named("bye")[0]["reason"] == "overload"
        assert refused.parser.retry_ms is not None
        assert refused.parser.retry_ms >= 2_000
        first.close()
        words: list[str] = []
        while "hello" not in words:
            client = server.listen().until(lambda client: client.events)
            words.append(client.events[0].type)
        assert set(words) <= {"bye", "hello"}


def test_filters_that_would_cost_too_much_together_are_sent_away_and_shared_ones_are_not(tmp_path: Path) -> None:
    def topics(name: str) -> list[tuple[str, str]]:
        return [("topic", f"#.{name}.{number}.#") for number in range(50)]

    with serving(tmp_path / "log.db") as server:
        assert PATTERNS_MAX < 150
        clients = [server.listen(topics(name)).until(lambda client: client.events) for name in "abcba"]
        assert [client.events[0].type for client in clients] == ["hello", "hello", "bye", "hello", "hello"]


def test_the_end_does_not_wait_for_a_client_that_reads_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server:
        stalled = server.listen(receive_bytes=4_096).until(lambda client: client.named("hello"))
        reading = server.listen().until(lambda client: client.named("hello"))
        server.append(push(1, padding=900_000))
        reading.until(lambda client: client.messages)
        assert server.stop() == 0
        assert reading.to_the_end().named("bye")[0]["reason"] == "shutdown"
        stalled.to_the_end()


def test_a_log_that_is_gone_and_comes_back_costs_no_page_its_stream(tmp_path: Path) -> None:
    log, parser = tmp_path / "log.db", EventSourceParser()
    with serving(log) as server:
        client = server.listen(parser=parser).until(lambda client: client.named("hello"))
        log.rename(tmp_path / "away.db")
        assert client.to_the_end().named("bye")[0]["reason"] == "log-unreadable"
        refused = server.listen(parser=parser).to_the_end()
        assert (refused.status, refused.named("bye")[0]["reason"]) == (200, "log-unreadable")
        answer = server.get("/events.json")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        (tmp_path / "away.db").rename(log)
        words: list[str] = []
        while "hello" not in words:
            client = server.listen(parser=parser).until(lambda client: client.events)
            words.append(client.events[0].type)
        server.append(push(1))
        assert client.until(lambda client: client.messages).numbers == [1]
        assert client.named("reset") == []


def test_a_client_that_stops_reading_is_cut_and_comes_back_by_its_id_without_loss(server: StreamServer) -> None:
    parser = EventSourceParser()
    stalled = server.listen(parser=parser, receive_bytes=4_096).until(lambda client: client.named("hello"))
    others = [server.listen([("topic", topic)]) for topic in ("hg.#", "#")]
    for number in range(FLOOD_EVENTS):
        server.append(push(number, padding=FLOOD_BYTES))
        for client in others:
            client.until(lambda client, number=number: len(client.messages) == number + 1)  # type: ignore[misc]
    stalled.to_the_end()
    assert len(stalled.numbers) < FLOOD_EVENTS
    again = server.listen(parser=parser).until(
        lambda client: len(stalled.numbers) + len(client.numbers) >= FLOOD_EVENTS
    )
    assert stalled.numbers + again.numbers == list(range(FLOOD_EVENTS))
    assert again.named("reset") == []


def test_a_client_that_reads_slowly_but_reads_is_not_cut(server: StreamServer) -> None:
    slow = server.listen([("topic", "hg.push.slow")], receive_bytes=4_096).until(lambda client: client.named("hello"))
    for number in range(20):
        server.append(push(number, repo="slow", padding=FLOOD_BYTES))
        slow.until(lambda client, number=number: len(client.numbers) >= number - 1)  # type: ignore[misc]
    assert slow.until(lambda client: len(client.numbers) == 20).numbers == list(range(20))


def test_a_client_that_looks_through_a_long_log_keeps_nobody_waiting(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    with closing(LocalPublisher(BrokerUrl.parse(f"file://{log}"), exchange="sourcepulse")) as publisher:
        publisher.open()
    for begin in range(0, 8_000, 500):
        publish(log, [push(number, repo="dull") for number in range(begin, begin + 500)])
    with serving(log) as server:
        live = server.listen().until(lambda client: client.named("hello"))
        searching = server.listen([("since", "0"), ("topic", "hg.push.rare")])
        searching.until(lambda client: client.named("hello"))
        server.append(push(7, repo="rare"))
        live.until(lambda client: client.messages)
        # The search reads 8,000 events and has not come to its end when the others have the new one.
        assert searching.until(lambda client: client.messages).numbers == [7]


def test_a_connection_that_asks_for_nothing_is_closed_and_a_quiet_stream_is_not(server: StreamServer) -> None:
    with closing(server.listen()) as stream:
        stream.until(lambda each: each.named("hello"))
        with closing(socket.create_connection(("127.0.0.1", server.port), timeout=30.0)) as idle:
            assert idle.recv(1) == b""
        server.append(push(9_999))
        stream.until(lambda each: each.messages)
