# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Shorthands for tests at the embedded log."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sourcepulse.brokers import Message, QueueLimits, Settlement, Subscription, SubscriptionSpec
from sourcepulse.brokers.file.subscription import LocalPublisher, LocalSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.events.event import Event, Numbers
from sourcepulse.events.wire import CONTENT_TYPE, encode

EXCHANGE = "test"


def log_url(directory: Path) -> BrokerUrl:
    return BrokerUrl(scheme="file", path=str(directory / "log.db"))


def message(number: int, key: str = "hg.push.a", body: bytes | None = None) -> Message:
    return Message(
        tag=number,
        id=str(number),
        type="hg.push.v1",
        time="2026-11-22T10:59:21.482913Z",
        routing_key=key,
        content_type="text/plain",
        body=b"%d" % number if body is None else body,
    )


def publisher(url: BrokerUrl, exchange: str = EXCHANGE) -> LocalPublisher:
    opened = LocalPublisher(url, exchange=exchange)
    opened.open()
    return opened


def publish(url: BrokerUrl, messages: Sequence[Message], exchange: str = EXCHANGE) -> list[Settlement]:
    """Publish in one commit, over a connection of its own."""
    opened = publisher(url, exchange)
    try:
        for each in messages:
            opened.send(each)
        return list(opened.settle(5))
    finally:
        opened.close()


def spec(
    *patterns: str,
    queue: str | None = None,
    exchange: str = EXCHANGE,
    shared: bool = False,
    prefetch: int = 100,
    from_start: bool = False,
    limits: QueueLimits | None = None,
) -> SubscriptionSpec:
    return SubscriptionSpec(
        exchange=exchange,
        patterns=patterns or ("#",),
        queue=queue,
        durable=queue is not None,
        shared=shared,
        prefetch=prefetch,
        from_start=from_start,
        limits=limits or QueueLimits(),
    )


def subscribe(url: BrokerUrl, asked: SubscriptionSpec) -> LocalSubscription:
    opened = LocalSubscription(url, asked)
    opened.open()
    return opened


def drain(subscription: Subscription, wait_seconds: float = 0.1, limit: int = 1_000_000) -> list[bytes]:
    """Receive and acknowledge until nothing comes for that long."""
    bodies: list[bytes] = []
    while len(bodies) < limit and (delivery := subscription.receive(wait_seconds)) is not None:
        bodies.append(delivery.body)
        subscription.acknowledge(delivery)
    return bodies


def push_event(
    number: int,
    *,
    source: str = "hg://host/repo",
    epoch: str = "one",
    words: Sequence[str] = ("repo",),
    type_: str = "hg.push.v1",
    typesequence: int | None = None,
) -> Event:
    """Make an event whose data contains its number."""
    return Event.of(
        type_,
        source=source,
        key=[epoch, str(number)],
        subject="repo",
        time=1795345161.482913,
        data={"number": number},
        words=words,
    ).numbered(Numbers(epoch=epoch, sequence=number, typesequence=typesequence or number))


def as_message(event: Event) -> Message:
    return Message(
        tag=0,
        id=event.id,
        type=event.type,
        time=event.time,
        routing_key=event.routing_key,
        content_type=CONTENT_TYPE,
        body=encode(event),
        source=event.source,
        subject=event.subject,
    )


def publish_events(url: BrokerUrl, *events: Event, exchange: str = "sourcepulse") -> None:
    publish(url, [as_message(event) for event in events], exchange)


def wait_until(condition: Callable[[], object], limit_seconds: float = 20.0) -> None:
    """Wait until a callable is true; AssertionError at the limit."""
    deadline = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
