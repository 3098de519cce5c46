# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What tests do with the pieces of any broker: make messages, settle them, receive them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from sourcepulse import Consumer
from sourcepulse.brokers import Delivery, Message, Outcome, Publisher, Settlement, Subscription
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.events.event import Event

#: Generous: proves that nothing hangs.
WAIT_SECONDS = 30.0
#: The limit of a broker where a test is about larger messages.
SMALL_MESSAGE_BYTES = 100_000
#: How long nothing must come, for nothing to come.
SILENCE_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that was put aside, as an operator finds it."""

    routing_key: str
    body: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message as a client sees it that knows nothing of us; `time` in whole seconds since 1970."""

    routing_key: str
    body: bytes
    content_type: str
    id: str
    type: str
    time: str


def unique(kind: str) -> str:
    """Return a name that no other test uses."""
    return f"{kind}-{uuid.uuid4().hex}"


def message(number: int, *, key: str = "hg.push.repo", body: bytes | None = None) -> Message:
    """Make a message whose id and body say its number."""
    return Message(
        tag=number,
        id=f"id-{number}",
        type="hg.push.v1",
        time="2026-11-22T10:59:21.482913Z",
        routing_key=key,
        content_type="application/cloudevents+json",
        body=b"%d" % number if body is None else body,
    )


def send_all(sender: Publisher, messages: Iterable[Message]) -> list[Settlement]:
    """Send messages, never more than the window unsettled, and settle all of them."""
    settled: list[Settlement] = []
    sent = 0
    for each in messages:
        sender.send(each)
        sent += 1
        if sent - len(settled) >= sender.window:
            settled += settle(sender, sent - len(settled))
    return settled + settle(sender, sent - len(settled))


def settle(sender: Publisher, count: int) -> list[Settlement]:
    """Settle so many messages."""
    settled: list[Settlement] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(settled) < count:
        assert time.monotonic() < deadline, f"only {len(settled)} of {count} were settled"
        settled += sender.settle(0.5)
    assert len(settled) == count, settled
    return settled


def receive(source: Subscription, count: int) -> list[Delivery]:
    """Receive so many messages, without acknowledging them."""
    got: list[Delivery] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(got) < count:
        assert time.monotonic() < deadline, f"only {len(got)} of {count} came: {[each.body[:20] for each in got]}"
        if (delivery := source.receive(0.5)) is not None:
            got.append(delivery)
    return got


def bodies(source: Subscription, count: int) -> list[bytes]:
    """Receive and acknowledge so many messages, and give their bodies."""
    got: list[bytes] = []
    for _ in range(count):
        (delivery,) = receive(source, 1)
        source.acknowledge(delivery)
        got.append(delivery.body)
    return got


def is_silent(source: Subscription | Consumer) -> bool:
    """Return whether nothing more comes."""
    more = source.receive(SILENCE_SECONDS)
    assert more is None, more
    return True


def next_event(consumer: Consumer) -> Event:
    """Receive one event, without acknowledging it."""
    event = consumer.receive(WAIT_SECONDS)
    assert event is not None, "nothing came"
    return event


def take(consumer: Consumer, count: int) -> list[int]:
    """Handle so many events and give their numbers."""
    got: list[int] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while len(got) < count:
        event = consumer.receive(deadline - time.monotonic())
        assert event is not None, f"only {got} of {count} came"
        got.append(event.data["number"])
        consumer.acknowledge()
    return got


def settle_until_it_fails(sender: Publisher, wait_s: float = 60.0) -> tuple[list[Settlement], BrokerUnavailableError]:
    """Settle until the publisher says that it is of no more use; give what was settled before, and its word."""
    settled: list[Settlement] = []
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        try:
            settled += sender.settle(wait_s)
        except BrokerUnavailableError as error:
            return settled, error
    raise AssertionError(f"settled {len(settled)} and did not fail")


def outcomes(settled: Iterable[Settlement]) -> dict[int, Outcome]:
    """What became of each tag."""
    return {item.tag: item.outcome for item in settled}
