# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""While another program holds the lock of the log, the gateway answers and its streams go on; what is hidden waits."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sourcepulse.brokers.file.log import append
from sourcepulse.brokers.file.routes import Router
from sourcepulse.brokers.file.tables import LogFile
from sourcepulse.events.event import Event
from support.brokers.embedded_log import as_message, wait_until
from support.web.board_events import REPO, Site, node
from support.web.gateway import EXCHANGE, Gateway
from support.web.streams import StreamClient

LIMIT_SECONDS = 60.0
#: How long the second test holds the lock.
HOLD_SECONDS = 2.0
SECRET = "a crash that stays secret"

Append = Callable[[Event], None]


@contextmanager
def locked(path: Path) -> Iterator[Append]:
    """Hold the lock of the log's writers, and yield what appends all the same."""
    with closing(LogFile(path)) as log, log.exclusive(), closing(sqlite3.connect(path, isolation_level=None)) as db:

        def add(event: Event) -> None:
            db.execute("BEGIN IMMEDIATE")
            append(db, Router.load(db, None), EXCHANGE, [as_message(event)], time.time())
            db.execute("COMMIT")

        yield add


def are_answered(gateway: Gateway, seconds: float) -> None:
    """Ask for /live for so long; a stalled reactor would answer once or twice."""
    until = time.monotonic() + seconds
    answers = 0
    while time.monotonic() < until or answers < 5:
        assert gateway.get("/live").status == 200
        answers += 1
    assert answers >= 5


def test_streams_get_what_is_appended_and_pages_say_why_they_wait(gateway: Gateway) -> None:
    site = Site()
    gateway.append(site.push(node(1), descs=["before"]))
    with closing(StreamClient(gateway.port)) as old, closing(StreamClient(gateway.port, [("board", REPO)])) as page:
        old.until(lambda each: each.named("hello"))
        page.until(lambda each: each.named("hello"))
        with locked(gateway.log) as add:
            for number in (2, 3):
                add(site.push(node(number), descs=["under the lock"]))
                old.until(lambda each, many=number - 1: len(each.messages) == many)
            with closing(StreamClient(gateway.port, [("since", "0")])) as new:
                new.until(lambda each: len(each.messages) == 3)
            are_answered(gateway, 0)
            answer = gateway.get(f"/trees/{REPO}")
            assert answer.status == 503
            assert "another program has locked the log" in answer.text
            assert page.named("board") == []
        page.until(lambda each: each.named("board"))
        assert "under the lock" in json.dumps(page.named("board"))
        wait_until(lambda: "under the lock" in gateway.get(f"/trees/{REPO}").text, LIMIT_SECONDS)
        assert old.named("bye") == page.named("bye") == []


def test_what_was_hidden_meanwhile_is_not_shown_and_withdrawn_before_anything_else_is_sent(gateway: Gateway) -> None:
    site = Site()
    gateway.append(site.push(node(1), descs=["Bug 7 - x"]), site.bug(7, summary=SECRET))
    wait_until(lambda: SECRET in gateway.get(f"/changes/{node(1)[:12]}").text, LIMIT_SECONDS)
    with closing(StreamClient(gateway.port)) as old:
        old.until(lambda each: each.named("hello"))
        with locked(gateway.log) as add:
            add(site.hidden(7))
            add(site.push(node(2), descs=["later"]))
            are_answered(gateway, HOLD_SECONDS)
            assert SECRET not in gateway.get(f"/changes/{node(1)[:12]}").text
        old.until(lambda each: each.messages and each.messages[-1]["type"] == "hg.push.v1")
        assert next(each.type for each in old.events if each.type != "hello") == "withdraw"
        assert old.named("bye") == []
    wait_until(lambda: gateway.get(f"/changes/{node(1)[:12]}").status == 200, LIMIT_SECONDS)
    assert SECRET not in gateway.get(f"/changes/{node(1)[:12]}").text
