# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What stops being public is not sent any more, and every client hears of it before anything later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.events.bugzilla_events import Site
from support.web.event_source import EventSourceParser
from support.web.gateway import publish
from support.web.rows import push
from support.web.streams import StreamClient, StreamServer, serving

SECRET = "the-quick-brown-secret"
#: More than the kernel holds for a connection that is not read.
BIG_BYTES = 900_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    with serving(tmp_path_factory.mktemp("log") / "log.db") as server:
        yield server


@pytest.fixture
def site(request: pytest.FixtureRequest) -> Site:
    return Site(f"bugzilla://{request.node.name}")


def _types(client: StreamClient) -> list[str]:
    return [json.loads(each.data)["type"] if each.type == "message" else each.type for each in client.events]


def test_clients_of_any_filter_hear_it_before_the_event_that_caused_it(server: StreamServer, site: Site) -> None:
    everything, other = server.listen(), server.listen([("topic", "hg.#")])
    for client in (everything, other):
        client.until(lambda client: client.named("hello"))
    first = site.changed(1, SECRET)
    server.append(first)
    everything.until(lambda client: client.messages)
    position = int(everything.parser.last_event_id.rpartition(".")[2])
    server.append(site.bug_hidden(1), push(1))
    everything.until(lambda client: len(client.messages) == 3)
    other.until(lambda client: client.messages)
    assert _types(everything)[1:] == ["bugzilla.bug.changed.v1", "withdraw", "bugzilla.bug.hidden.v1", "hg.push.v1"]
    assert _types(other)[1:] == ["withdraw", "hg.push.v1"]
    withdrawn = {"withdrawn": [{"position": position, "source": site.source, "id": first.id}]}
    assert everything.named("withdraw") == other.named("withdraw") == [withdrawn]


def test_a_client_that_was_away_hears_it_first_also_after_a_restart(tmp_path: Path) -> None:
    log, site = tmp_path / "log.db", Site()
    parser = EventSourceParser()
    with serving(log) as server:
        client = server.listen(parser=parser).until(lambda client: client.named("hello"))
        server.append(site.changed(1, SECRET))
        client.until(lambda client: client.messages)
        client.close()
        server.append(site.comment(1, 5, SECRET), push(1))
    publish(log, [site.bug_hidden(1)])
    with serving(log) as server:
        client = server.listen(parser=parser).until(lambda client: len(client.messages) == 3)
        assert _types(client) == [
            "hello", "withdraw", "system.event.withheld.v1", "hg.push.v1", "bugzilla.bug.hidden.v1",
        ]  # fmt: skip
        assert [each["position"] for each in client.named("withdraw")[0]["withdrawn"]] == [1, 2]
        assert not any(SECRET in event.data for event in client.events)
        # Who begins later has none of it.
        client = server.listen([("since", "1h")]).until(lambda client: len(client.messages) == 4)
        assert "withdraw" not in _types(client)
        assert not any(SECRET in event.data for event in client.events)


def test_what_waits_for_a_client_that_does_not_read_is_dropped(server: StreamServer, site: Site) -> None:
    parser = EventSourceParser()
    stalled = server.listen(parser=parser, receive_bytes=4_096).until(lambda client: client.named("hello"))
    other = server.listen().until(lambda client: client.named("hello"))
    server.append(site.comment(1, 5, "x" * BIG_BYTES + SECRET))
    other.until(lambda client: client.messages)
    server.append(site.bug_hidden(1))
    other.until(lambda client: client.named("withdraw"))
    stalled.to_the_end()
    assert stalled.messages == []
    assert SECRET.encode() not in stalled.unfinished
    again = server.listen(parser=parser).until(lambda client: len(client.messages) == 2)
    assert _types(again) == ["hello", "withdraw", "system.event.withheld.v1", "bugzilla.bug.hidden.v1"]


def test_what_waits_for_a_page_is_dropped_because_it_may_hold_words_of_earlier_events(
    server: StreamServer, site: Site
) -> None:
    server.append(site.changed(1, SECRET))
    query = [("board", "hg.push.inbound"), ("topic", "hg.#")]
    stalled = server.listen(query, receive_bytes=4_096).until(lambda client: client.named("hello"))
    other = server.listen([("topic", "bugzilla.#")]).until(lambda client: client.named("hello"))
    server.append(push(77, padding=BIG_BYTES), site.changed(2, "no secret"))
    other.until(lambda client: client.messages)
    server.append(site.bug_hidden(1))
    other.until(lambda client: client.named("withdraw"))
    stalled.to_the_end()
    assert (stalled.messages, stalled.named("board")) == ([], [])


def test_another_bug_s_event_that_names_a_hidden_bug_is_dropped_where_it_waits(
    server: StreamServer, site: Site
) -> None:
    stalled = server.listen(receive_bytes=4_096).until(lambda client: client.named("hello"))
    other = server.listen().until(lambda client: client.named("hello"))
    server.append(site.changed(2, "x" * (BIG_BYTES // 3), depends_on=[1]))
    other.until(lambda client: client.messages)
    server.append(site.bug_hidden(1))
    other.until(lambda client: client.messages[-1]["type"] == "bugzilla.bug.hidden.v1")
    stalled.to_the_end()
    assert stalled.messages == []


def test_a_page_of_json_names_what_its_events_withdrew(server: StreamServer, site: Site) -> None:
    begin = server.place
    first = site.changed(1, SECRET)
    server.append(first)
    kept = server.get(f"/events.json?after={begin}").document
    assert SECRET in json.dumps(kept["events"])
    server.append(push(2), site.bug_hidden(1))
    page = server.get(f"/events.json?after={kept['next']}&topic=hg.%23").document
    assert [each["id"] for each in page["withdrawn"]] == [first.id]
    assert len(page["events"]) == 1
    assert SECRET not in server.get(f"/events.json?after={begin}").text
