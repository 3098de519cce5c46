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

#: Commits follow each other no sooner, because each waits for the disk.
DELAY_SECONDS = 0.05
#: While more arrives without a wait, a commit is put off until there is so much of it: a backlog needs few commits.
MOST_MESSAGES = 1_000
MOST_BYTES = 4 << 20
HOLD_SECONDS = 0.25


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
    """What the next commit has; due DELAY_SECONDS after the last one, and full when no more is to be added."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._committed_at = clock() - DELAY_SECONDS
        self._begun_at = 0.0
        self._bytes = 0
        self.taken: list[Taken] = []

    def add(self, delivery: Delivery) -> None:
        """Add a delivery; DecodeError if it is not an event."""
        message = message_of(delivery, len(self.taken))
        if not self.taken:
            self._begun_at = self._clock()
        self.taken.append(Taken(delivery, message))
        self._bytes += len(message.body)

    def due_in(self) -> float:
        """Return the seconds until the batch may be committed, 0 if it may be now."""
        if self.is_full():
            return 0.0
        return max(0.0, self._committed_at + DELAY_SECONDS - self._clock())

    def is_full(self) -> bool:
        """Return whether the batch is to be committed although more has arrived."""
        return bool(self.taken) and (
            len(self.taken) >= MOST_MESSAGES
            or self._bytes >= MOST_BYTES
            or self._clock() >= self._begun_at + HOLD_SECONDS
        )

    def committed(self) -> None:
        """Forget what is in the log now."""
        self.forget()
        self._committed_at = self._clock()

    def forget(self) -> None:
        """Forget what the broker delivers again."""
        self.taken = []
        self._bytes = 0
