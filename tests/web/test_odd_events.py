# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events of other shapes than their schemas say: they cost a sentence or a frame, never a page or a stream."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sourcepulse.brokers import Message
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event
from sourcepulse.events.wire import encode
from sourcepulse_web.board.reduce import REDUCERS
from sourcepulse_web.board.shape import fits
from support.brokers.embedded_log import as_message, wait_until
from support.events.recorded import recorded_events
from support.web.board_events import REPO, Site, node
from support.web.bus import figure
from support.web.gateway import Gateway
from support.web.rows import push
from support.web.stream_server import ODD
from support.web.streams import StreamClient, serving

LIMIT_SECONDS = 30.0
RECORDED = [event for name in ("hg", "buildbot", "bugzilla") for event in recorded_events(name)]
#: What a value becomes: each kind of JSON, and texts that look almost like what is expected.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 1.5, 10**30, float("inf"), float("nan"), "", "x", "9" * 400, "\ud83d", "\u202e"),
    *("2026-13-45T99:99:99.000000Z", [], {}, [None], [{}], {"a": 1}, [[["deep"]]]),
)
ODD_EVENTS = 400
PAGES = ("/", "/?q=linux", "/?key=%23", "/trees", "/trees?format=json", "/catalogue", "/hooks", "/metrics")
VIEWS = ("", "?format=json&limit=200", "?wall=1", "?show=new", "?q=x")


def test_a_view_and_a_channel_that_fail_cost_their_frames_and_no_client(tmp_path: Path) -> None:
    with serving(tmp_path / "log.db") as server:
        rows = server.listen([("view", "rows")]).until(lambda client: client.named("hello"))
        board = server.listen([("board", ODD), ("board", "hg.push.fine")]).until(lambda client: client.named("hello"))
        events = server.listen().until(lambda client: client.named("hello"))
        server.append(push(1, repo="odd"), push(2, repo="odd"), push(3, repo="fine"))
        assert [row["key"] for row in rows.until(lambda client: client.named("row")).named("row")] == ["hg.push.fine"]
        assert [each["key"] for each in board.until(lambda client: client.named("board")).named("board")] == [
            "hg.push.fine"
        ]
        assert events.until(lambda client: len(client.messages) == 3).numbers == [1, 2, 3]
        late = StreamClient(server.port, [("view", "rows"), ("since", "0")]).until(lambda client: client.named("row"))
        assert [row["key"] for row in late.named("row")] == ["hg.push.fine"]
        metrics = server.get("/metrics").body.decode()
        assert figure(metrics, 'faults_total{part="rows"}') >= 2
        assert figure(metrics, 'faults_total{part="board"}') >= 1


def test_an_odd_event_is_shown_without_a_sentence_and_is_on_no_board(gateway: Gateway) -> None:
    site = Site()
    gateway.append(site.push(node(1), descs=("fine",)))
    listening = StreamClient(gateway.port).until(lambda client: client.named("hello"))
    odd = site.bug(1234, "changed", summary="s")
    closed = site.tree("closed", reason="x")
    gateway.append(
        odd._replace(data={**odd.data, "bug": {**odd.data["bug"], "id": 10**30}}),
        closed._replace(data={**closed.data, "reason": ["a", "list"]}),
    )
    listening.until(lambda client: len(client.messages) == 2)
    pages = ["/", "/trees", f"/trees/{REPO}", f"/changes/{node(1)}", "/ready"]
    assert {page: gateway.get(page).status for page in pages} == dict.fromkeys(pages, 200)
    assert "hg.tree.closed.v1" in gateway.get("/").text
    assert figure(gateway.get("/metrics").text, "board_unreadable_events_total") == 2
    rows = StreamClient(gateway.port, [("view", "rows"), ("since", "0")]).until(
        lambda client: len(client.named("row")) == 3
    )
    assert [row["type"] for row in rows.named("row")][1:] == [odd.type, closed.type]
    gateway.append(site.push(node(2), descs=("after it",)))
    listening.until(lambda client: len(client.messages) == 3)


@pytest.mark.parametrize("event", [each for each in RECORDED if each.type in REDUCERS], ids=lambda each: each.type)
def test_what_was_recorded_of_the_real_sources_is_on_the_board_also_with_members_of_tomorrow(event: Event) -> None:
    data = copy.deepcopy(dict(event.data))
    assert fits(event.type, data)
    assert fits(event.type, data | {"of_tomorrow": {"any": "thing"}})
    for name in (name for name, value in data.items() if not isinstance(value, dict) and value is not None):
        assert not fits(event.type, data | {name: {"an": "object"}}), name


def test_no_value_of_an_event_makes_a_page_fail(gateway: Gateway) -> None:
    check_pages(gateway, 1)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_values_of_events_make_no_page_fail(gateway: Gateway) -> None:
    for seed in range(1, 21):
        check_pages(gateway, seed)


def check_pages(gateway: Gateway, seed: int) -> None:
    """Append recorded events, each with one or more values replaced, and read every page that shows them."""
    chance = random.Random(seed)
    messages = [odd_message(chance, f"{seed}-{number}") for number in range(ODD_EVENTS)]
    with closing(LocalPublisher(BrokerUrl.parse(f"file://{gateway.log}"), exchange="sourcepulse")) as publisher:
        publisher.open()
        for tag, message in enumerate(messages):
            publisher.send(replace(message, tag=tag))
        publisher.settle(LIMIT_SECONDS)
    wait_until(lambda: figure(gateway.get("/metrics").text, 'log_position{place="board"}') == ODD_EVENTS * seed, 60)
    failed = {path for path in PAGES if gateway.get(path).status >= 500}
    boards = sorted(set(re.findall(r'href="(/trees/[^"?]+)', gateway.get("/trees").text)))
    assert boards
    for board in boards[:6]:
        failed |= {board + view for view in VIEWS if gateway.get(quote(board, safe="/%") + view).status >= 500}
    nodes = sorted({found for each in messages for found in re.findall(rb'"node": ?"([0-9a-f]{40})"', each.body)})
    failed |= {path for path in map(story_of, nodes[:12]) if gateway.get(path).status >= 500}
    assert failed == set(), gateway.stderr()[-3000:]
    assert gateway.get("/ready").status == 200


def story_of(digits: bytes) -> str:
    return f"/changes/{digits.decode()}"


def odd_message(chance: random.Random, name: str) -> Message:
    event = chance.choice(RECORDED)
    document = json.loads(encode(event))
    for _ in range(chance.choice([1, 1, 1, 3, 10])):
        inside = [document["data"]] if isinstance(document["data"], dict) else []
        places = list(_places(inside[0])) if inside and chance.random() < 0.9 else []
        places += [(document, name) for name in ("time", "subject", "sequence", "epoch")] if not places else []
        holder, key = chance.choice(places)
        holder[key] = copy.deepcopy(chance.choice(ODD_VALUES))
    document["id"] = f"{event.id}-{name}"
    body = json.dumps(document).encode()
    return replace(as_message(event), id=document["id"], body=body)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a JSON value that may be replaced."""
    names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        yield value, name
        yield from _places(value[name])
