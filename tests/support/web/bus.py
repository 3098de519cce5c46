# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Events on a real broker for the bridge of a gateway, and what its log has of them."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sourcepulse.brokers import Message, open_publisher
from sourcepulse.brokers.file.reader import LogReader, Row
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import CONTENT_TYPE, encode

SETTLE_LIMIT_SECONDS = 30.0
AGAIN_SECONDS = 0.2


def message_of(event: Event, tag: int = 0) -> Message:
    """Return an event as a relay publishes it."""
    return Message(
        tag=tag,
        id=event.id,
        type=event.type,
        time=event.time,
        routing_key=event.routing_key,
        content_type=CONTENT_TYPE,
        body=encode(event),
        source=event.source,
        subject=event.subject,
    )


def publish_to(url: str, exchange: str, messages: Sequence[Message]) -> None:
    """Publish messages in order; as a relay does, again from the first unsettled one where the broker went away."""
    deadline = time.monotonic() + SETTLE_LIMIT_SECONDS
    left = list(messages)
    while left:
        with closing(open_publisher(BrokerUrl.parse(url), exchange=exchange)) as publisher:
            try:
                publisher.open()
                while left:
                    batch = left[: publisher.window]
                    for tag, message in enumerate(batch):
                        publisher.send(_tagged(message, tag))
                    settled = 0
                    while settled < len(batch):
                        settled += len(publisher.settle(1.0))
                        assert time.monotonic() < deadline, "the broker settles nothing"
                    del left[: len(batch)]
            except BrokerUnavailableError:
                publisher.abandon()
                assert time.monotonic() < deadline, "the broker does not come back"
                time.sleep(AGAIN_SECONDS)


def _tagged(message: Message, tag: int) -> Message:
    return Message(
        tag=tag,
        id=message.id,
        type=message.type,
        time=message.time,
        routing_key=message.routing_key,
        content_type=message.content_type,
        body=message.body,
    )


def rows_of(log: Path, exchange: str) -> list[Row]:
    """Return everything that a log has."""
    with closing(LogReader(log, exchange)) as reader:
        rows: list[Row] = []
        while more := reader.read(rows[-1].position if rows else 0):
            rows += more
        return rows


def positions_of(log: Path, exchange: str) -> int:
    """Return how many messages were ever appended to a log."""
    with closing(LogReader(log, exchange)) as reader:
        return reader.bounds().end


def figure(metrics: str, name: str) -> float:
    """Return one sample of /metrics."""
    found = re.search(rf"^sourcepulse_web_{re.escape(name)} (\S+)$", metrics, re.MULTILINE)
    assert found is not None, f"no sample {name} in:\n{metrics}"
    return float(found[1])
