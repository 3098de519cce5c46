# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A client that comes back misses nothing and gets nothing twice, or hears what is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.brokers import Message
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import format_time
from sourcepulse.events.wire import CONTENT_TYPE, encode
from support.web.event_source import EventSourceParser
from support.web.gateway import EXCHANGE, publish
from support.web.rows import push
from support.web.streams import LIMIT_SECONDS, StreamClient, StreamServer, serving

#: What is left of a log after `_trim`.
KEPT_BYTES = 6_000


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[StreamServer]]:
    """Two gateways on one log."""
    log = tmp_path_factory.mktemp("log") / "log.db"
    with serving(log) as one, serving(log) as other:
        yield [one, other]


@pytest.fixture
def server(servers: list[StreamServer]) -> StreamServer:
    return servers[0]


_number = count(1)


def _append(server: StreamServer, many: int = 1, padding: int = 0) -> list[int]:
    numbers = [next(_number) for _ in range(many)]
    server.append(*(push(number, padding=padding) for number in numbers))
    return numbers


def _trim(log: Path, last: int) -> None:
    """Append one more push, and drop the oldest events, as any append does once the log is full."""
    event = push(last)
    message = Message(
        tag=0,
        id=event.id,
        type=event.type,
        time=event.time,
        routing_key=event.routing_key,
        content_type=CONTENT_TYPE,
        body=encode(event),
    )
    url = BrokerUrl.parse(f"file://{log}")
    with closing(LocalPublisher(url, exchange=EXCHANGE, keep_bytes=KEPT_BYTES)) as publisher:
        publisher.open()
        publisher.send(message)
        publisher.settle(LIMIT_SECONDS)


@given(
    stays=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(1, 3_000), st.sampled_from([0, 700])), max_size=5
    )
)
@settings(max_examples=20)
def test_a_client_that_is_cut_at_any_byte_and_goes_on_at_another_gateway_gets_each_event_once(
    servers: list[StreamServer], stays: list[tuple[int, int, int, int]]
) -> None:
    parser = EventSourceParser()
    query = [("since", servers[0].place)]
    expected, got = _append(servers[0]), []
    for gateway, many, cut_after, padding in stays:
        client = servers[gateway].listen(query, parser=parser)
        expected += _append(servers[gateway], many, padding) if many else []
        if many:
            client.read(cut_after)
        client.close()
        got += client.numbers
    client = servers[0].listen(query, parser=parser)
    client.until(lambda client: len(got) + len(client.numbers) >= len(expected))
    assert got + client.numbers == expected
    assert client.named("reset") == []


def test_a_gateway_that_is_killed_costs_its_clients_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    parser = EventSourceParser()
    with serving(log) as first:
        client = first.listen(parser=parser).until(lambda client: client.named("hello"))
        first.append(push(1))
        client.until(lambda client: client.messages)
        first.kill()
        client.to_the_end()
    publish(log, [push(2), push(3)])
    with serving(log) as second:
        again = second.listen(parser=parser).until(lambda client: len(client.messages) == 2)
    assert client.numbers + again.numbers == [1, 2, 3]


def test_the_header_wins_over_the_query_and_over_since(server: StreamServer) -> None:
    early = server.place
    _append(server)
    late = server.place
    number = _append(server)
    client = server.listen([("last-event-id", early), ("since", "0")], last_id=late)
    assert client.until(lambda client: client.messages).numbers == number
    client = server.listen([("last-event-id", late), ("since", "0")])
    assert client.until(lambda client: client.messages).numbers == number


@pytest.mark.parametrize(
    ("last_id", "reason"),
    [("nonsense", "malformed"), ("x" * 4_000, "malformed"), ("feed.3", "unknown-log"), ("{token}.999999", "ahead")],
)
def test_an_id_that_leads_nowhere_is_a_reset_and_the_stream_begins_with_the_oldest_event(
    server: StreamServer, last_id: str, reason: str
) -> None:
    _append(server)
    token, _, end = server.place.partition(".")
    client = server.listen(last_id=last_id.format(token=token)).until(lambda client: client.numbers)
    (reset,) = client.named("reset")
    assert (reset["reason"], reset["oldest"], reset["lost"], reset["position"]) == (reason, 1, None, 0)
    assert reset["asked"][:100] == last_id.format(token=token)[:100]
    assert len(reset["asked"]) < 200
    assert [event.type for event in client.events[:3]] == ["hello", "reset", "message"]
    # Where the page said where to begin, that is where it begins.
    client = server.listen([("since", f"{token}.{end}")], last_id=last_id.format(token=token))
    client.until(lambda client: client.named("reset"))
    number = _append(server)
    assert client.until(lambda client: client.messages).numbers == number


def test_what_is_no_longer_kept_is_a_reset_with_how_many_are_lost(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server:
        publish(server.log, [push(number, padding=1_000) for number in range(1, 31)])
        token = server.place.partition(".")[0]
        _trim(server.log, 31)
        page = server.get("/events.json?limit=1").document
        oldest = page["oldest"]
        assert 2 < oldest < 31
        client = server.listen(last_id=f"{token}.2").until(lambda client: len(client.messages) == 32 - oldest)
        (reset,) = client.named("reset")
        assert reset == {
            "reason": "older-than-kept", "asked": f"{token}.2", "oldest": oldest, "end": 31, "lost": oldest - 3,
            "position": oldest - 1,
        }  # fmt: skip
        assert client.numbers == list(range(oldest, 32))
        # The oldest event that is kept follows the last one that is lost.
        assert server.listen(last_id=f"{token}.{oldest - 1}").until(lambda client: client.messages).named("reset") == []
        assert server.get(f"/events.json?after={token}.2").document["reset"] == reset
        reset = server.listen([("since", "2h")]).until(lambda client: client.named("reset")).named("reset")[0]
        assert (reset["reason"], reset["lost"], reset["asked"]) == ("older-than-kept", None, "2h")


def test_what_is_trimmed_while_a_slow_client_catches_up_is_a_reset_within_its_stream(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    publish(log, [push(number, padding=60_000) for number in range(1, 41)])
    with serving(log) as server:
        client = server.listen([("since", "0")], receive_bytes=4_096).until(lambda client: client.named("hello"))
        # By now the gateway has sent what the kernel holds, and waits for the client.
        server.listen().until(lambda client: client.named("hello"))
        _trim(log, 41)
        client.until(lambda client: 41 in client.numbers)
        (reset,) = client.named("reset")
        last = client.numbers.index(41)
        before = client.numbers[: client.events.index(next(each for each in client.events if each.type == "reset")) - 1]
        assert before == list(range(1, len(before) + 1))
        assert reset["asked"].partition(".")[2] == str(len(before))
        assert (reset["reason"], reset["lost"]) == ("older-than-kept", reset["oldest"] - 1 - len(before))
        assert client.numbers[len(before) : last + 1] == list(range(reset["oldest"], 42))


def test_since_is_a_time_a_span_a_position_or_an_id(server: StreamServer) -> None:
    _append(server)
    time.sleep(0.01)
    moment, place = time.time(), server.place
    time.sleep(0.01)
    numbers = _append(server, 2)
    position = place.partition(".")[2]
    zoned = format_time(moment).replace("Z", "+00:00")
    for since in (format_time(moment), zoned, zoned.replace("+", " "), position, place):
        client = server.listen([("since", since)]).until(lambda client: client.messages)
        assert client.numbers[0] == numbers[0], since
    assert len(server.listen([("since", "1h")]).until(lambda client: len(client.messages) >= 3).numbers) >= 3


def test_a_time_to_come_is_now(server: StreamServer) -> None:
    client = server.listen([("since", "2100-01-01T00:00:00Z")]).until(lambda client: client.named("hello"))
    numbers = _append(server)
    assert client.until(lambda client: client.messages).numbers == numbers
    assert client.named("reset") == []


def test_a_keep_alive_moves_a_page_whose_filter_passes_nothing(server: StreamServer) -> None:
    client = server.listen([("topic", "no.such.key")]).until(lambda client: client.named("hello"))
    _append(server, 3)
    place = server.place
    client.until(lambda client: client.parser.last_event_id == place)
    assert len(client.events) == 1


def test_a_log_that_took_the_place_of_another_is_named(tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    parser = EventSourceParser()
    with serving(log) as server:
        client = server.listen(parser=parser).until(lambda client: client.named("hello"))
        server.append(push(1))
        client.until(lambda client: client.messages)
        publish(tmp_path / "new.db", [push(2)])
        (tmp_path / "new.db").replace(log)
        for name in ("log.db-wal", "log.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        client.to_the_end()
        assert client.named("bye")[0]["reason"] in ("log-unreadable", "log-replaced")
        again: Any = None
        while again is None or again.ended:
            again = _attempt(server, parser)
        assert again.named("reset")[0]["reason"] == "unknown-log"
        assert again.numbers == [2]


def _attempt(server: StreamServer, parser: EventSourceParser) -> StreamClient:
    """Connect as a browser does until it is not sent away."""
    client = server.listen(parser=parser)
    while not client.ended and not client.messages:
        client.read()
    return client
