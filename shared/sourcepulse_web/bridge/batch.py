# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What came from the broker and is not in the log yet, in the order of the bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sourcepulse.brokers import Delivery, Message
from sourcepulse.brokers.file.publisher import MESSAGE_MAX_BYTES
from sourcepulse.errors import DecodeError
from sourcepulse.events.wire import decode

#: A commit waits no longer than this for more events; it is made at once after a pause of that length.
DELAY_SECONDS = 0.05


class Taken(NamedTuple):
    """A delivery and the message that the log gets."""

    delivery: Delivery
    message: Message


def message_of(delivery: Delivery, tag: int) -> Message:
    """Return what the log gets of a delivery, its body unchanged; DecodeError if it is not an event of sourcepulse."""
    if delivery.defect:
        raise DecodeError(f"the message is not an event of sourcepulse: {delivery.defect}", delivery.body)
    if len(delivery.body) > MESSAGE_MAX_BYTES:
        raise DecodeError(f"the message has {len(delivery.body)} bytes, more than {MESSAGE_MAX_BYTES}", b"")
    event = decode(delivery.body, routing_key=delivery.routing_key)
    return Message(
        tag=tag,
        id=event.id,
        type=event.type,
        time=event.time,
        routing_key=delivery.routing_key,
        content_type=delivery.content_type,
        body=delivery.body,
        source=event.source,
        subject=event.subject,
    )


class Batch:
    """Up to `most` messages; due at once after a quiet moment, else DELAY_SECONDS after the last commit."""

    def __init__(self, clock: Callable[[], float], most: int) -> None:
        self._clock = clock
        self._most = most
        self._committed_at = clock() - DELAY_SECONDS
        self.taken: list[Taken] = []

    def add(self, delivery: Delivery) -> None:
        """Add a delivery; DecodeError if it is not an event."""
        self.taken.append(Taken(delivery, message_of(delivery, len(self.taken))))

    def due_in(self) -> float:
        """Return the seconds until the batch is to be committed, 0 if it is now."""
        if len(self.taken) >= self._most:
            return 0.0
        return max(0.0, self._committed_at + DELAY_SECONDS - self._clock())

    def committed(self) -> None:
        """Forget what is in the log now."""
        self.taken = []
        self._committed_at = self._clock()

    def forget(self) -> None:
        """Forget what the broker delivers again."""
        self.taken = []
