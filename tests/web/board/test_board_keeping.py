# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The board in the log's file: several gateways, kills, what was trimmed, other versions, events that are none."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from random import Random

import pytest

from sourcepulse.brokers import Message
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from sourcepulse.events.wire import encode
from sourcepulse_web.board import keeper
from support.brokers.embedded_log import publish
from support.web.board_events import REPO, START, Build, Site, node
from support.web.board_histories import history, interleaved
from support.web.board_log import EXCHANGE, BoardLog, message_of, states_of, trim

KILLS = 4
#: A gateway that does nothing but keep the board; it prints once it is imported.
PROGRAM = """
import sys, time
from pathlib import Path
from sourcepulse_web.board import keeper
from sourcepulse_web.board.board import Board
keeper.BATCH_ROWS = 3
print("ready", flush=True)
board = Board(Path(sys.argv[1]), dict, time.time)
print("done", flush=True)
"""


def test_two_gateways_at_one_log_reduce_each_event_once_and_agree(log: BoardLog) -> None:
    events = interleaved(history(3), 3)
    with closing(log.open()) as other:
        for number, event in enumerate(events):
            log.append(event)
            (log.board if number % 2 else other).apply([event])
        assert log.board.trees() == other.trees()
        assert log.page() == other.page(REPO, limit=200)
        log.board.rebuild()
        assert log.page() == other.page(REPO, limit=200)


def test_a_gateway_that_is_killed_while_it_reduces_leaves_a_board_that_goes_on(log: BoardLog) -> None:
    log.append(*interleaved(history(5, size=40), 5))
    random = Random(5)
    for _ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(log.path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(random.random() * 0.15)
        process.kill()
        process.communicate()
    with closing(log.open()) as board:
        followed = board.page(REPO, limit=200)
        board.rebuild()
        assert board.page(REPO, limit=200) == followed


def test_what_the_log_trimmed_leaves_the_board_but_the_trees_state_and_the_places_stay(
    site: Site, log: BoardLog
) -> None:
    log.add(site.tree("closed", reason="trimmed", until="2026-11-23T00:00:00.000000Z"), site.push(node(1)))
    log.add(*Build(site, "linux64-opt-unit", node(1)).story("failure", "a.py"), site.bug(1234, summary="gone"))
    trim(log)
    log.add(site.push(node(2)))
    for _ in range(2):
        [push] = log.pushes()
        assert push["node"] == node(2)
        assert states_of(push) == {"linux64-opt-unit": "none"}
        assert push["descs"][0]["bugs"][0]["summary"] is None
        assert (log.tree()["state"], log.tree()["reason"], log.tree()["failing"]) == ("closed", "trimmed", [])
        assert log.board.story(node(1)) == []
        log.board.rebuild()
    with closing(sqlite3.connect(log.path)) as db:
        counts = {name: db.execute(f"SELECT count(*) FROM board_{name}").fetchone()[0] for name in keeper.TABLES}
    left = {"trees": 1, "pushes": 1, "marks": 1, "nodes": 1, "named": 1, "places": 1}
    assert {name: count for name, count in counts.items() if count} == left


def test_a_board_of_an_older_sourcepulse_is_made_again_and_of_a_newer_one_is_not_touched(
    site: Site, log: BoardLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(site.tree("closed"), site.push(node(1)), *Build(site, "linux64-opt-unit", node(1)).story())
    page = log.page()
    monkeypatch.setattr(keeper, "REDUCER_VERSION", keeper.REDUCER_VERSION + 1)
    with closing(log.open()) as newer:
        assert newer.page(REPO, limit=200) == page
    monkeypatch.undo()
    log.add(site.push(node(2)))
    with pytest.raises(BrokerRefusedUsError, match="restart this gateway"):
        log.page()


def test_a_log_that_was_replaced_is_read_from_its_beginning(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), site.push(node(2)))
    for path in log.path.parent.iterdir():
        path.unlink()
    publish(log.url, [], EXCHANGE)
    log.append(site.push(node(3)))
    with pytest.raises(BrokerUnavailableError):
        log.page()
    assert [push["node"] for push in log.pushes()] == [node(3)]


def test_what_is_not_an_event_or_cannot_be_stored_is_passed_over_and_logged(
    site: Site, log: BoardLog, caplog: pytest.LogCaptureFixture
) -> None:
    good = site.push(node(1))
    envelope = json.loads(encode(good))
    data = dict(good.data)
    odd: list[object] = [
        [], {}, "text", {**envelope, "data": []}, {**envelope, "data": data | {"repo": "half \ud800 a character"}},
        {**envelope, "data": data | {"count": "many"}}, {**envelope, "sequence": "nine"},
        {**envelope, "type": "bugzilla.bug.hidden.v1", "data": {"id": 10**30}},
    ]  # fmt: skip
    for number, document in enumerate(odd):
        if isinstance(document, dict) and document:
            document["id"] = f"x{number}"
        message = Message(
            tag=number, id=f"x{number}", type="hg.push.v1", time=good.time, routing_key="hg.push.r",
            content_type="application/json", body=json.dumps(document).encode(),
        )  # fmt: skip
        publish(log.url, [message], EXCHANGE)
        log.board.apply([message])
    publish(log.url, [message_of(b"\xff\xfe not JSON"), message_of(b"[" * 100_000)], EXCHANGE)
    log.add(good)
    assert [push["node"] for push in log.pushes()] == [node(1)]
    passed_over = [record.getMessage() for record in caplog.records]
    assert len(passed_over) == log.board.unreadable == len(odd) + 2
    assert passed_over[5] == (
        "the board passes over the event at position 6: hg.push.v1 of hg://hg.example.org/integration/inbound: "
        "at /count: expected integer, got string"
    )
    assert [tree["repo"] for tree in log.board.trees()] == [REPO]


def test_text_of_hostile_pushers_stays_text(site: Site, log: BoardLog) -> None:
    evil = "<script>alert(1)</script> \u202e ' OR 1=1 --"
    log.add(site.push(node(1), user=evil, descs=[evil]))
    log.add(*Build(site, f"linux64-opt-{evil}", node(1), repository="").story("failure", evil))
    [push] = log.pushes()
    assert (push["user"], push["descs"][0]["text"], push["failures"][0]["test"]) == (evil, evil, evil)
    assert log.board.page("' OR 1=1 --") is None


def test_the_clock_of_the_board_is_the_events_own(site: Site, log: BoardLog) -> None:
    log.clock = START + 10 * 365 * 86_400
    closed = site.tree("closed", until="2026-11-23T00:00:00.000000Z")
    log.add(closed, site.push(node(1)))
    assert log.tree()["since"] == closed.time
    assert log.tree()["overdue"]
