# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A page of the log as one document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from sourcepulse.brokers.file.reader import LogReader
from support.web.rows import push
from support.web.streams import StreamServer, serving

EVENTS = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    with serving(tmp_path_factory.mktemp("log") / "log.db") as server:
        server.append(*(push(number, repo="even" if number % 2 == 0 else "odd") for number in range(1, EVENTS + 1)))
        yield server


def _numbers(document: Any) -> list[int]:
    return [each["event"]["data"]["number"] for each in document["events"]]


def test_pages_follow_each_other_by_their_next(server: StreamServer) -> None:
    seen: list[int] = []
    page = server.get("/events.json?limit=7").document
    while page["events"]:
        assert (page["oldest"], page["end"], page["reset"], page["withdrawn"]) == (1, EVENTS, None, [])
        assert page["events"][-1]["id"] == page["next"]
        seen += _numbers(page)
        page = server.get(f"/events.json?limit=7&after={page['next']}").document
    assert seen == list(range(1, EVENTS + 1))
    assert page["next"] == f"{page['token']}.{EVENTS}"


def test_a_filter_leads_past_what_it_leaves_out(server: StreamServer) -> None:
    page = server.get("/events.json?after=3&topic=hg.push.even&limit=1000").document
    assert _numbers(page) == list(range(4, EVENTS + 1, 2))
    page = server.get("/events.json?topic=hg.push.none").document
    assert (page["events"], page["next"]) == ([], f"{page['token']}.{EVENTS}")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=0", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("limit=x", "from 1 to 1000"),
        ("since=5", "there is no parameter 'since'"),
        ("after=1&after=2", "after= occurs 2 times"),
        ("after=yesterday", "is not a time with its zone"),
        ("topics=hg.%23", "did you mean topic=?"),
    ],
)
def test_what_cannot_be_asked_for_is_400_with_the_reason(server: StreamServer, query: str, sentence: str) -> None:
    answer = server.get(f"/events.json?{query}")
    assert answer.status == 400
    assert sentence in answer.text


def test_a_position_of_another_log_is_a_reset(server: StreamServer) -> None:
    page = server.get("/events.json?after=feed.12").document
    assert page["reset"] == {
        "reason": "unknown-log", "asked": "feed.12", "oldest": 1, "end": EVENTS, "lost": None, "position": 0,
    }  # fmt: skip
    assert _numbers(page) == list(range(1, EVENTS + 1))


def test_what_is_too_much_for_one_answer_comes_with_the_next(server: StreamServer) -> None:
    with closing(LogReader(server.log, "sourcepulse")) as reader:
        begin = reader.bounds().end
    server.append(*(push(1_000 + number, repo="big", padding=900_000) for number in range(6)))
    page = server.get(f"/events.json?after={begin}").document
    rest = server.get(f"/events.json?after={page['next']}").document
    assert len(page["events"]) == 5
    assert _numbers(page) + _numbers(rest) == list(range(1_000, 1_006))
