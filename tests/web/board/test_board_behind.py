# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A board that has not read all of the log yet: what it sends, what it must not keep, and that it becomes right."""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from sourcepulse.events.event import Event
from sourcepulse_web.board.board import NEAR_ROWS, Board
from sourcepulse_web.board.documents import NOTHING_SEEN
from support.brokers.embedded_log import as_message
from support.web.board_events import REPO, Build, Site, node
from support.web.board_histories import history, interleaved
from support.web.board_log import BoardLog, states_of, trim
from support.web.gateway import Gateway, MakeGateway, publish
from support.web.streams import StreamClient

LIMIT_SECONDS = 60.0
#: A log that takes seconds to read.
BUILDS = 300
SENTENCE = re.compile(r"[Tt]he board has read \d?\d % of the log")
LOCKED = "the board waits, because another program has locked the log"
SECRET = "a crash that stays secret"


def calls(board: Board) -> int:
    """Read on until the board is level, and return how many calls that took."""
    count = 1
    while not board.read_on():
        count += 1
    return count


@pytest.mark.parametrize("seed", range(4))
def test_a_log_that_is_read_in_slices_while_it_is_written_makes_the_same_board(log: BoardLog, seed: int) -> None:
    events = interleaved(history(seed), seed)
    random = Random(seed)
    log.append(*events[: len(events) // 2])
    with closing(log.open(slice_s=0)) as slow:
        for event in events[len(events) // 2 :]:
            log.append(event)
            slow.apply([event])
            for _ in range(random.randrange(3)):
                slow.read_on()
            slow.page(REPO)
        calls(slow)
        assert slow.behind() == ""
        followed = slow.page(REPO, limit=200), slow.trees()
        log.board.rebuild()
        assert followed == (log.page(), log.board.trees())


def test_two_gateways_share_the_reading_of_a_long_log(site: Site, log: BoardLog) -> None:
    events = [site.push(node(number)) for number in range(20)]
    log.append(*events)
    with closing(log.open(slice_s=0)) as one, closing(log.open(slice_s=0)) as other:
        # Each has read an event when it was opened.
        for _ in range(6):
            one.read_on()
            other.read_on()
        assert one.position == other.position == 14
        # The last call finds nothing.
        assert calls(one) == 7


def test_a_board_that_is_behind_names_how_far_it_is_and_says_nothing_of_what_it_does_not_know(
    site: Site, log: BoardLog
) -> None:
    build = Build(site, "linux64-opt-unit", node(0)).started()
    log.append(site.push(node(0)), build, *(site.push(node(number)) for number in range(1, 2 * NEAR_ROWS)))
    with closing(log.open(slice_s=0)) as board:
        assert board.behind() == "the board has read 0 % of the log"
        while board.position < NEAR_ROWS:
            board.read_on()
        assert board.behind() == "the board has read 49 % of the log"
        assert not board.is_level()
        assert board.seen(json.loads(as_message(build).body)) == NOTHING_SEEN
        board.read_on()
        # So little is left that the page that asks reads it.
        assert board.behind() == ""
        assert board.is_level()
        assert board.seen(json.loads(as_message(build).body))["push"] == 1


@pytest.mark.parametrize("read", [6, 7, 8])
def test_what_is_withdrawn_leaves_a_board_that_has_not_read_why(site: Site, log: BoardLog, read: int) -> None:
    log.append(site.bug(1234, summary=f"a.py: {SECRET}"), site.push(node(1)))
    log.append(*Build(site, "linux64-opt-unit", node(1)).story("failure", "tests/a.py"))
    with closing(log.open(slice_s=0)) as board:
        while board.position < read:
            board.read_on()
        assert SECRET in json.dumps(board.page(REPO))
        before = board.position
        log.append(*(site.push(node(number)) for number in range(2, 9)), site.hidden(1234), site.push(node(9)))
        assert SECRET not in json.dumps([board.page(REPO), board.trees(), board.story(node(1))])
        assert board.position == before
        assert SECRET.encode() not in b"".join(path.read_bytes() for path in log.path.parent.iterdir())
        update = board.frames(REPO, before, 100)
        assert SECRET.encode() not in b"".join(update)
        calls(board)
        followed = board.page(REPO)
        log.board.rebuild()
        again = log.page()
        assert followed == again
        assert [push["changed"] for push in again["pushes"]][-1] == 16


def test_pushes_that_the_log_trimmed_leave_an_open_board(site: Site, log: BoardLog) -> None:
    log.add(site.push(node(1)), site.push(node(2)), site.push(node(3), repo="try"))
    before = log.page()["position"]
    trim(log)
    log.add(site.push(node(4), repo="try"))
    update = log.board.changed(REPO, before, before + 2)
    assert update is not None
    assert (update["gone"], update["pushes"], update["tree"]["newest"]) == ([1, 2], [], None)
    other = log.board.changed("try", before, before + 2)
    assert other is not None
    assert other["gone"] == [3]
    assert log.board.changed(REPO, before + 2, before + 2) is None


def long_log(path: Path, site: Site) -> list[Event]:
    found = [site.push(node(number)) for number in range(20)]
    for number in range(BUILDS):
        found += Build(site, f"linux64-opt-t{number % 40}", node(number % 20)).story()
    publish(path, found)
    return found


def test_a_gateway_serves_at_once_while_the_board_reads_and_goes_on_there_after_a_kill(
    make_gateway: MakeGateway, site: Site
) -> None:
    gateway = make_gateway()
    events = long_log(gateway.log, site)
    with held(gateway.log):
        gateway.launch()
        until(gateway, lambda: gateway.get("/live").status == http.client.OK)
        ready = gateway.get("/ready")
        assert (ready.status, ready.document["warnings"]) == (http.client.OK, [LOCKED])
        page = gateway.get(f"/trees/{REPO}", {"Accept": "text/html"})
        assert (page.status, page.headers["Retry-After"], page.headers["Refresh"]) == (503, "2", "2")
        assert LOCKED in page.text.replace("The board", "the board")
        for path in (f"/trees/{REPO}?format=json", "/trees", f"/changes/{node(1)}.json"):
            answer = gateway.get(path)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), path
        assert gateway.get("/").status == http.client.OK
        assert gateway.get("/events.json?limit=1").document["end"] == len(events)
        after = gateway.get("/events.json?after=10&limit=1").document["events"][0]["id"]
    until(gateway, lambda: SENTENCE.search(gateway.get(f"/trees/{REPO}", {"Accept": "text/html"}).text) is not None)
    until(gateway, lambda: percent(gateway) >= 0)
    reached = percent(gateway)
    gateway.kill()
    gateway.launch()
    until(gateway, lambda: gateway.get("/live").status == http.client.OK)
    assert percent(gateway) >= reached
    with (
        closing(StreamClient(gateway.port, [("since", "0")])) as plain,
        closing(StreamClient(gateway.port, [("board", REPO)], last_id=after)) as board,
    ):
        plain.until(lambda each: len(each.messages) > 100)
        board.until(lambda each: each.named("board"))
        until(gateway, lambda: percent(gateway) == 100)
        assert {push["node"] for push in board.named("board")[0]["pushes"]} == {node(n) for n in range(20)}
    document = gateway.get(f"/trees/{REPO}?format=json").document
    passed = [list(states_of(push).values()).count("passed") for push in document["pushes"]]
    # Each push has builds of two of the builders.
    assert passed == [2] * 20


@contextmanager
def held(log: Path) -> Iterator[None]:
    """Hold the lock of the writers, so that no board reads on meanwhile, however slow the machine is."""
    with closing(sqlite3.connect(log, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def percent(gateway: Gateway) -> int:
    """Return how much the board has read; -1 while /ready still warns of the lock."""
    [*warnings] = gateway.get("/ready").document["warnings"]
    if warnings == [LOCKED]:
        return -1
    found = re.search(r"(\d+) %", warnings[0]) if warnings else None
    return int(found[1]) if found else 100


def until(gateway: Gateway, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        gateway.check_runs()
        try:
            if holds():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, gateway.stderr()
        time.sleep(0.02)
