# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Helpers for tests of programs that use sourcepulse: a broker in memory, and events to send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.events.event import Event


@dataclass
class MemoryBroker:
    """A broker inside this process; `messages` are in the order of arrival.

    `judge` returns each message's outcome, or raises BrokerUnavailableError like a broker that disconnects.
    """

    messages: list[Message] = field(default_factory=list)
    judge: Callable[[Message], Outcome] = lambda _: Outcome.DELIVERED
    connections: int = 0

    def publisher(self) -> MemoryPublisher:
        """Return a new publisher to this broker."""
        return MemoryPublisher(self)


class MemoryPublisher:
    """A publisher to a MemoryBroker."""

    window = 100

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._unsettled: list[Message] = []

    def open(self) -> None:
        """Count a connection."""
        self._broker.connections += 1

    def send(self, message: Message) -> None:
        """Queue one message until `settle`."""
        self._unsettled.append(message)

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:  # noqa: ARG002 - the port's own signature
        """Settle the oldest message."""
        if not self._unsettled:
            return []
        outcome = self._broker.judge(self._unsettled[0])
        message = self._unsettled.pop(0)
        if outcome is not Outcome.REFUSED:
            self._broker.messages.append(message)
        return [Settlement(message.tag, outcome, "refused by the test" if outcome is Outcome.REFUSED else "")]

    def abandon(self) -> None:
        """Drop the connection."""
        self._unsettled.clear()

    def close(self) -> None:
        """Close the connection."""
        self._unsettled.clear()


def system_event(
    number: int, *, source: str = "system://test", message: str | None = None, state: str = "degraded"
) -> Event:
    """Make the system event with this number as its natural key; the same number makes the same id."""
    return Event.of(
        f"system.test.{state}.v1",
        source=source,
        key=[str(number)],
        subject="test",
        time=1_795_345_170.0 + number,
        data={
            "message": message if message is not None else f"event {number}",
            "until": None,
            "url": None,
            "figures": None,
        },
    )
