# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A board at a log of its own, to which tests append events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from sourcepulse.brokers import Message
from sourcepulse.brokers.file.publisher import LocalPublisher
from sourcepulse.events.event import Event
from sourcepulse_web.board.board import Board
from sourcepulse_web.board.documents import BoardDoc, FailureDoc, PushDoc, TreeDoc, WordDoc
from sourcepulse_web.settings import TreeSettings
from support.brokers.embedded_log import as_message, log_url, publish
from support.web.board_events import REPO, START

EXCHANGE = "sourcepulse"


class BoardLog:
    """A log in a directory and its board; `clock` is what the board's clock shows."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.url = log_url(directory)
        self.path = Path(self.url.path)
        self.trees: Mapping[str, TreeSettings] = {}
        self.clock = START + 3600
        publish(self.url, [], EXCHANGE)
        self.board = self.open()

    def open(self, slice_s: float | None = None) -> Board:
        """Open a board as another gateway would; with a slice of 0 s, each call reduces one event."""
        return Board(self.path, lambda: self.trees, lambda: self.clock, exchange=EXCHANGE, slice_s=slice_s)

    def append(self, *events: Event) -> None:
        """Append events in one commit, unknown to the board."""
        publish(self.url, [as_message(event) for event in events], EXCHANGE)

    def add(self, *events: Event) -> None:
        """Append events, and have the board reduce them."""
        self.append(*events)
        self.board.apply(events)

    def page(self, repo: str = REPO) -> BoardDoc:
        found = self.board.page(repo, limit=200)
        assert found is not None
        return found

    def pushes(self, repo: str = REPO) -> list[PushDoc]:
        return self.page(repo)["pushes"]

    def tree(self, repo: str = REPO) -> TreeDoc:
        return self.page(repo)["tree"]

    def close(self) -> None:
        self.board.close()


def words_of(push: PushDoc) -> dict[str, WordDoc]:
    return {word["place"]: word for line in push["lines"] for word in line["words"]}


def states_of(push: PushDoc) -> dict[str, str]:
    return {place: word["state"] for place, word in words_of(push).items()}


def verdicts_of(failures: Iterable[FailureDoc]) -> dict[str, str]:
    return {failure["test"]: failure["said"] for failure in failures}


def trim(log: BoardLog) -> None:
    """Publish a message by a publisher that keeps nothing before it."""
    with closing(LocalPublisher(log.url, exchange=EXCHANGE, keep_bytes=0)) as publisher:
        publisher.open()
        publisher.send(message_of(b"{}"))
        publisher.settle(5)


def message_of(body: bytes) -> Message:
    return Message(
        tag=0, id="odd", type="hg.push.v1", time="2026-11-22T10:59:21.482913Z", routing_key="hg.push.r",
        content_type="application/json", body=body,
    )  # fmt: skip
