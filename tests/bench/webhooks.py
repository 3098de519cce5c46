# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Webhooks: 50 hooks, 5 of them bad, 10,000 events, each for two hooks: from the append to the good receivers.

The receivers are in this process and the sender is another one, over the schedule of the tests. The same is measured
without the bad hooks first. Each good receiver must get each event once, each source in order.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.stats import AtLeast, AtMost, Figure, row
from support.brokers.embedded_log import publish_events
from support.webhooks.receiver import Manner, Reply, Request, redirect
from support.webhooks.rig import EXCHANGE, Got, Rig, Room

HOOKS = 50
EVENTS = 10_000
#: Each event goes to two hooks.
WORDS = 25
SOURCES = "abcdefghijklmnopqrst"
EVENTS_PER_SECOND = 50
BATCH_EVENTS = 4
POST_SECONDS = 2.0
REST_SECONDS = 300.0
REFUSING = 2
Answers = Callable[[Request, Got], Reply | None]
#: What the bad receivers do, one each; the hooks with these numbers.
BAD: dict[int, Answers] = {
    0: lambda _request, _event: Reply(manner=Manner.NEVER),
    1: lambda _request, _event: Reply(status=500),
    REFUSING: lambda _request, event: Reply(status=422) if event.number % 10 == 5 else None,
    3: lambda _request, _event: redirect("/elsewhere"),
    4: lambda _request, _event: Reply(status=200, body=b"x" * 100, manner=Manner.CUT),
}


@dataclass
class Run:
    """What the good receivers got."""

    #: Receivers that got each event once, each source in order.
    whole: int
    spent_ms: list[float]
    posts_per_second: float
    #: Of the receiver that refuses one in ten: what it neither got nor refused, and what waits nowhere.
    lost: int = 0

    def quantile(self, part: float) -> float:
        """Return the milliseconds within which this part of all events arrived."""
        return sorted(self.spent_ms)[min(len(self.spent_ms) - 1, int(part * len(self.spent_ms)))]


def main(events: int = EVENTS) -> None:
    """Print the table."""
    bad_ones: tuple[dict[int, Answers], ...] = ({}, BAD)
    for bad in bad_ones:
        run = measure(events, bad)
        at = f"webhooks, {HOOKS} hooks, {len(bad)} bad"
        row(f"{at}: good receivers with each event once, in order", _only(run.whole), AtLeast(HOOKS - len(bad)))
        row(f"{at}: p50 append to receiver, ms", _only(run.quantile(0.5)))
        row(f"{at}: p99 append to receiver, ms", _only(run.quantile(0.99)), AtMost(1_000.0))
        row(f"{at}: worst, ms", _only(run.quantile(1.0)))
        row(f"{at}: accepted by the good ones, POSTs/s", _only(run.posts_per_second))
        if bad:
            row(f"{at}: events that are lost for the one that refuses", _only(run.lost), AtMost(0))


def measure(events: int, bad: dict[int, Answers]) -> Run:
    """Publish events at a steady rate, and return what came of them."""
    with (
        tempfile.TemporaryDirectory(prefix=".sourcepulse-bench-", dir=Path.cwd()) as name,
        Rig(Path(name), post_seconds=POST_SECONDS) as rig,
    ):
        rooms = [rig.hook(f"hook-{number}", f"hg.push.{word_of(number)}") for number in range(HOOKS)]
        for number, answers in bad.items():
            rooms[number].answers = answers
        rig.launch()
        rig.wait_until(lambda: rig.store.sender_seen_at() is not None)
        began = time.monotonic()
        sent, appended = publish(rig, events, began)
        good = [number for number in range(HOOKS) if number not in bad]
        rig.wait_until(
            lambda: all(len(rooms[number].got) >= len(sent[word_of(number)]) for number in good), seconds=REST_SECONDS
        )
        took = time.monotonic() - began
        whole = sum(in_order(rooms[number], sent[word_of(number)]) for number in good)
        spent = [spent for number in good for spent in spent_ms(rooms[number], appended)]
        return Run(whole, spent, len(spent) / took, lost(rig, rooms[REFUSING], sent[word_of(REFUSING)]) if bad else 0)


def publish(rig: Rig, events: int, began: float) -> tuple[dict[str, list[Got]], dict[Got, float]]:
    """Append the events in small commits, and return them by the word of their hooks, and when each was appended."""
    chance = random.Random(events)
    sent: dict[str, list[Got]] = defaultdict(list)
    appended: dict[Got, float] = {}
    for first in range(0, events, BATCH_EVENTS):
        time.sleep(max(0.0, began + first / EVENTS_PER_SECOND - time.monotonic()))
        batch = [
            (word_of(first + place), rig.event(word_of(first + place), chance.choice(SOURCES)))
            for place in range(BATCH_EVENTS)
        ]
        publish_events(rig.url, *(event for _, event in batch), exchange=EXCHANGE)
        now = time.time()
        for word, event in batch:
            got = Got(event.source, event.data["number"])
            sent[word].append(got)
            appended[got] = now
    return sent, appended


def word_of(number: int) -> str:
    """Return the word of a hook, or of an event."""
    return f"w{number % WORDS}"


def in_order(room: Room, sent: list[Got]) -> bool:
    """Return whether a receiver got each event once, each source in order."""
    got = room.got
    return sorted(got) == sorted(sent) and all(numbers == sorted(numbers) for numbers in room.by_source().values())


def spent_ms(room: Room, appended: dict[Got, float]) -> list[float]:
    """Return for each event how long after its append its POST arrived."""
    spent = []
    for request in room.receiver.requests:
        body = json.loads(request.body)
        spent.append(max(0.0, request.at - appended[Got(body["source"], body["data"]["number"])]) * 1000)
    return spent


def lost(rig: Rig, room: Room, sent: list[Got]) -> int:
    """Return how many events a hook neither delivered nor set aside, and that do not wait for it either."""
    figures = rig.figures(room.name)
    return max(0, len(sent) - rig.standing(room.name).delivered - figures.waiting - figures.set_aside)


def _only(value: float) -> Figure:
    return Figure(value, value, value)
