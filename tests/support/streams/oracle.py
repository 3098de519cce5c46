# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What must hold of a stream whatever befell it: none lost, none invented, in order, a repeat is the same bytes."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sourcepulse.brokers import QueueLimits, SubscriptionSpec, open_subscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.repair import problems

#: After so much silence a queue is empty.
SILENCE_SECONDS = 2.0
DRAIN_LIMIT_SECONDS = 900.0
ACKNOWLEDGED_TOGETHER = 200
#: Each event of the stream, on the wire.
EVENT_BYTES = 1024


class Sighting(NamedTuple):
    """An event as it was seen: `digest` is that of its bytes."""

    id: str
    source: str
    sequence: int
    digest: str


class Witness:
    """A second queue that is read only at the end, below everything that drops repeats: what the broker was sent."""

    def __init__(self, url: str, *, exchange: str, queue: str) -> None:
        self._url = BrokerUrl.parse(url)
        self._spec = SubscriptionSpec(
            exchange=exchange,
            patterns=("#",),
            queue=queue,
            durable=True,
            prefetch=2 * ACKNOWLEDGED_TOGETHER,
            limits=QueueLimits(max_length=10_000_000),
        )

    def subscribe(self) -> None:
        """Make the broker keep everything from now on."""
        subscription = open_subscription(self._url, self._spec)
        subscription.open()
        subscription.close()

    def drain(self) -> list[Sighting]:
        """Return everything that was sent to the broker, in its order."""
        subscription = open_subscription(self._url, self._spec, former_patterns=self._spec.patterns)
        subscription.open()
        deadline = time.monotonic() + DRAIN_LIMIT_SECONDS
        seen: list[Sighting] = []
        waiting = []
        while (delivery := subscription.receive(SILENCE_SECONDS)) is not None:
            assert time.monotonic() < deadline, f"only {len(seen)} messages could be taken out"
            seen.append(_sighting(delivery.body))
            waiting.append(delivery)
            if len(waiting) == ACKNOWLEDGED_TOGETHER:
                subscription.acknowledge_all(waiting)
                waiting.clear()
        if waiting:
            subscription.acknowledge_all(waiting)
        subscription.close()
        return seen


def stored(outbox: Outbox, ids: Sequence[str]) -> list[Sighting]:
    """Return what the outbox holds, after checking that it is sound, holds these and no others, all delivered."""
    rows = delivered_rows(outbox)
    assert [row[0] for row in rows] == list(ids), "the outbox holds what was emitted"
    assert {len(row[3]) for row in rows} == {EVENT_BYTES}
    return [sighting_of(row) for row in rows]


def delivered_rows(outbox: Outbox) -> list[tuple[Any, ...]]:
    """Return id, source, sequence, body and state of each event, after checking that all were delivered."""
    assert problems(outbox) == []
    with outbox.reading() as db:
        rows = db.execute(
            "SELECT e.id, e.source, e.sequence, b.body, e.state FROM events e JOIN bodies b USING (position) "
            "ORDER BY e.position"
        ).fetchall()
    assert {row[4] for row in rows} == {"delivered"}
    return rows


def sighting_of(row: tuple[Any, ...]) -> Sighting:
    """Return what a row of `delivered_rows` should look like to a consumer."""
    return Sighting(row[0], row[1], row[2], hashlib.sha256(row[3]).hexdigest())


def handled(lines: Iterable[dict[str, Any]]) -> list[Sighting]:
    """Return what the consumer program wrote of its events."""
    return [Sighting(line["id"], line["source"], line["sequence"], line["digest"]) for line in lines]


def check(truth: Sequence[Sighting], seen: Sequence[Sighting]) -> int:
    """AssertionError unless all of the truth was seen, nothing else, first sights in order; gives the repeats."""
    known = {each.id: each for each in truth}
    first: dict[str, Sighting] = {}
    for each in seen:
        assert each == known.get(each.id), f"{each} was invented, or is not the same bytes"
        first.setdefault(each.id, each)
    lost = [each for each in truth if each.id not in first]
    assert not lost, f"{len(lost)} of {len(known)} were lost, the first is {lost[0]}"
    sequences = defaultdict(list)
    for each in first.values():
        sequences[each.source].append(each.sequence)
    for source, numbers in sequences.items():
        wrong = [(at, number) for at, number in enumerate(numbers, 1) if at != number]
        assert not wrong, f"{source}: at place {wrong[0][0]} came number {wrong[0][1]}"
    return len(seen) - len(first)


def _sighting(body: bytes) -> Sighting:
    event = json.loads(body)
    return Sighting(event["id"], event["source"], int(event["sequence"]), hashlib.sha256(body).hexdigest())
