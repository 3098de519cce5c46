# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a stream sends, to browsers and to programs; real sockets, the resource in a process of its own."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.events.wire import encode
from support.web.rows import push
from support.web.stream_server import AWAY_NAME, LEFT_NAME, ORIGIN
from support.web.streams import StreamClient, StreamServer, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    with serving(tmp_path_factory.mktemp("log") / "log.db") as server:
        yield server


def test_a_stream_begins_now_with_hello_and_sends_the_very_bytes_of_events(server: StreamServer) -> None:
    server.append(push(1))
    client = server.listen().until(lambda client: client.named("hello"))
    place = server.place
    (hello,) = client.named("hello")
    assert f"{hello['token']}.{hello['position']}" == place == client.parser.last_event_id
    assert hello["end"] == hello["position"]
    assert client.parser.retry_ms is not None
    assert 1_000 <= client.parser.retry_ms <= 3_000
    server.append(push(2), push(3))
    client.until(lambda client: len(client.messages) == 2)
    assert [event.data.encode() for event in client.events[1:]] == [encode(push(2)), encode(push(3))]
    assert client.parser.last_event_id == server.place


def test_the_head_keeps_caches_and_proxies_out(server: StreamServer) -> None:
    head = server.listen().head.lower()
    assert "content-type: text/event-stream; charset=utf-8\r\n" in head
    assert "cache-control: no-store\r\n" in head
    assert "x-accel-buffering: no" in head
    assert "vary: origin" in head


def test_each_client_gets_what_passes_its_filter(server: StreamServer) -> None:
    here = server.listen([("topic", "hg.push.a"), ("topic", "hg.push.b")])
    there = server.listen([("exclude", "hg.*.a"), ("type", "hg.push.#")])
    nobody = server.listen([("source", "hg://elsewhere")])
    for client in (here, there, nobody):
        client.until(lambda client: client.named("hello"))
    server.append(push(4, repo="a"), push(5, repo="b"), push(6, repo="c"))
    here.until(lambda client: len(client.messages) == 2)
    there.until(lambda client: len(client.messages) == 2)
    assert (here.numbers, there.numbers, nobody.numbers) == ([4, 5], [5, 6], [])


def test_a_client_of_http_1_0_gets_bytes_without_chunks(server: StreamServer) -> None:
    client = server.listen(version="1.0")
    assert not client.is_chunked
    client.until(lambda client: client.named("hello"))
    server.append(push(7))
    assert client.until(lambda client: client.messages).numbers == [7]


def test_a_view_has_named_frames_in_place_of_events(server: StreamServer) -> None:
    client = server.listen([("view", "rows"), ("topic", "hg.push.#")]).until(lambda client: client.named("hello"))
    server.append(push(8, repo="unseen"), push(9, repo="seen"))
    client.until(lambda client: client.named("row"))
    assert [row["key"] for row in client.named("row")] == ["hg.push.seen"]
    assert client.messages == []


def test_pages_hear_at_once_that_all_is_well_because_no_script_hears_a_keep_alive(server: StreamServer) -> None:
    pages = [server.listen([("view", "rows")]), server.listen([("board", "tree")])]
    for page in pages:
        page.until(lambda client: client.named("alive"))
    program = server.listen().until(lambda client: client.named("hello"))
    server.append(push(40))
    assert program.until(lambda client: client.messages).numbers == [40]
    assert program.named("alive") == []


def test_a_channel_sends_what_changed_and_no_events_unless_asked_for(server: StreamServer) -> None:
    since = server.place
    server.append(push(10, repo="tree"), push(11, repo="tree"))
    only = server.listen([("board", "hg.push.tree"), ("board", "hg.push.other"), ("since", since)])
    both = server.listen([("board", "hg.push.tree"), ("topic", "hg.push.tree"), ("since", since)])
    only.until(lambda client: client.named("board"))
    both.until(lambda client: client.messages)
    server.append(push(12, repo="tree"), push(13, repo="other"))
    only.until(lambda client: len(client.named("board")) == 3)
    assert {(each["key"], each["count"]) for each in only.named("board")[1:]} == {
        ("hg.push.tree", 1),
        ("hg.push.other", 1),
    }
    assert only.named("board")[0]["count"] == 2
    assert only.messages == []
    both.until(lambda client: len(client.messages) == 3 and len(client.named("board")) == 2)
    assert only.parser.last_event_id == server.place


def test_lines_of_json_have_the_same_data_and_an_id_to_resume_by(server: StreamServer) -> None:
    since = server.place
    server.append(push(14))
    for query, header in (("&format=ndjson", "text/html"), ("", "application/x-ndjson")):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/events?since={since}{query}", headers={"Accept": header}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
            hello, event = json.loads(answer.readline()), json.loads(answer.readline())
        assert hello["hello"]["token"] == since.partition(".")[0]
        assert hello["id"] == since
        assert event == {"id": server.place, "event": json.loads(encode(push(14)))}


def test_a_page_of_another_site_reads_the_stream_only_if_its_origin_is_listed(server: StreamServer) -> None:
    allowed = server.listen(headers=[f"Origin: {ORIGIN}"])
    assert f"access-control-allow-origin: {ORIGIN}\r\n" in allowed.head.lower()
    ours = server.listen(headers=[f"Origin: http://127.0.0.1:{server.port}"])
    assert (ours.status, "access-control" in ours.head.lower()) == (200, False)
    for foreign in ("https://evil.example", f"{ORIGIN}.evil.example", "null"):
        answer = server.get("/events", headers={"Origin": foreign})
        assert answer.status == 403
        assert "an admin adds it to origins in [web]" in answer.text
    preflight = server.get("/events.json", method="OPTIONS", headers={"Origin": ORIGIN})
    assert preflight.status == 204
    assert preflight.headers["Access-Control-Allow-Headers"] == "Accept, Cache-Control, Last-Event-ID"
    assert preflight.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert server.get("/events", method="HEAD").body == b""


def test_where_the_broker_is_away_a_client_gets_what_is_kept_and_then_bye(server: StreamServer) -> None:
    away = server.log.parent / AWAY_NAME
    since = server.place
    server.append(push(15))
    away.touch()
    try:
        client = server.listen([("since", since)]).to_the_end()
    finally:
        away.unlink()
    assert [event.type for event in client.events] == ["hello", "message", "bye"]
    (bye,) = client.named("bye")
    assert bye["reason"] == "broker-away"
    assert client.parser.retry_ms == bye["retry_ms"] >= 2_000
    assert client.parser.last_event_id == server.place


def test_at_the_end_of_the_gateway_every_client_gets_the_last_event_and_bye(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server:
        clients = [server.listen().until(lambda client: client.named("hello")) for _ in range(5)]
        server.append(push(16))
        assert server.stop() == 0
        for client in clients:
            client.to_the_end()
            assert [event.type for event in client.events] == ["hello", "message", "bye"]
            assert client.named("bye")[0]["reason"] == "shutdown"
        assert len({client.parser.retry_ms for client in clients}) > 1


def test_a_stream_with_a_channel_waits_until_the_channel_has_read_the_log_and_misses_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server:
        left = tmp_path / LEFT_NAME
        query = [("topic", "#"), ("board", push(1).routing_key)]
        with closing(server.listen(query)) as early, closing(server.listen([("topic", "#")])) as plain:
            server.append(push(1))
            early.until(lambda each: each.numbers == [1] and each.named("board"))
            left.touch()
            server.append(push(2))
            plain.until(lambda each: each.numbers == [1, 2])
            with closing(server.listen(query, last_id=server.place)) as late:
                for number in range(3, 20):
                    server.append(push(number))
                plain.until(lambda each: each.numbers == list(range(1, 20)))
                # What keeps alive follows what was held back.
                early.until(lambda each: len(each.named("alive")) > 1)
                assert (early.numbers, len(early.named("board"))) == ([1], 1)
                left.unlink()
                for client, numbers in ((early, list(range(1, 20))), (late, list(range(3, 20)))):
                    client.until(lambda each, all_=numbers: each.numbers == all_)
                    client.until(lambda each, all_=numbers: _counted(each) == len(all_))


def _counted(client: StreamClient) -> int:
    """Return how many events the frames of the channel counted."""
    return sum(frame["count"] for frame in client.named("board"))
