# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The dead letters of a queue, the same for every broker: read them, requeue them, or drop them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sourcepulse.errors import DecodeError, NothingThereError
from sourcepulse.events.safe_text import plain
from sourcepulse.events.wire import decode

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl
    from sourcepulse.events.event import Event

#: The headers of a dead letter: the reason, and the key that its message was published under, because a message that is
#: sent to one queue has the queue's name as its routing key.
REASON_HEADER = "x-reason"
KEY_HEADER = "x-routing-key"
#: The id of a body that is not an event: this prefix and the beginning of its digest.
RAW_PREFIX = "raw:"
DIGEST_CHARACTERS = 16
#: How many dead letters are requeued or dropped at once.
CHUNK = 100
#: How many ids an error names.
IDS_SHOWN = 10


class DeadLetter(NamedTuple):
    """One message that a consumer buried; `handle` identifies it to the broker on this connection."""

    handle: object
    routing_key: str
    reason: str
    content_type: str
    body: bytes
    #: The broker's own name for the queue that the message came from, where one subscription has several.
    queue: str = ""
    #: Why it cannot be requeued; empty if it can.
    obstacle: str = ""

    def event(self) -> Event | None:
        """Decode the body; None if it is not an event."""
        try:
            return decode(self.body, routing_key=self.routing_key)
        except DecodeError:
            return None

    def id(self) -> str:
        """Return the id of the event, or a digest of the body if it is not an event."""
        event = self.event()
        return event.id if event else RAW_PREFIX + hashlib.sha256(self.body).hexdigest()[:DIGEST_CHARACTERS]


class DeadLetters(Protocol):
    """The dead letters of one queue, over one connection; those that are neither requeued nor dropped stay.

    Each method may raise NothingThereError and BrokerError.
    """

    def read(self, limit: int) -> list[DeadLetter]:
        """Return the next dead letters, oldest first; fewer than `limit` only if there are no more.

        Those that a consumer rejects again after a requeue are not among them, so that reading ends.
        """

    def requeue(self, letters: Sequence[DeadLetter]) -> None:
        """Put dead letters back into their queue and only then remove them here; a kill in between leaves both.

        Raises NothingThereError and requeues none if one of them has an obstacle.
        """

    def drop(self, letters: Sequence[DeadLetter]) -> None:
        """Remove dead letters for good."""


@contextmanager
def open_dead_letters(url: BrokerUrl, queue: str, *, limit: int | None = None) -> Iterator[DeadLetters]:
    """Connect to the dead letters of a queue, of which at most `limit` will be read.

    NothingThereError if there are none and never were, BrokerError if the broker does not answer or refuses.
    """
    if url.scheme == "file":
        from sourcepulse.brokers.file.admin import open_local_dead_letters

        with open_local_dead_letters(url, queue) as letters:
            yield letters
    elif url.scheme.startswith("stomp"):
        from sourcepulse.brokers.stomp.dead_letters import open_stomp_dead_letters

        with open_stomp_dead_letters(url, queue, limit) as letters:
            yield letters
    else:
        from sourcepulse.brokers.amqp.dead_letters import open_amqp_dead_letters

        with open_amqp_dead_letters(url, queue) as letters:
            yield letters


def check_no_obstacle(letters: Sequence[DeadLetter]) -> None:
    """Raise NothingThereError, with the ids, if some of the dead letters cannot be requeued."""
    stuck = [letter for letter in letters if letter.obstacle]
    if stuck:
        ids = list(dict.fromkeys(letter.id() for letter in stuck))
        more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
        raise NothingThereError(
            f"not requeued: {', '.join(plain(name) for name in ids[:IDS_SHOWN])}{more}; {stuck[0].obstacle}"
        )


def find(letters: DeadLetters, ids: Sequence[str]) -> list[DeadLetter]:
    """Return every dead letter that has one of the ids; NothingThereError if an id matches none."""
    found: list[DeadLetter] = []
    while True:
        chunk = letters.read(CHUNK)
        found += [letter for letter in chunk if letter.id() in ids]
        if len(chunk) < CHUNK:
            break
    known = {letter.id() for letter in found}
    if missing := [name for name in ids if name not in known]:
        raise NothingThereError(f"not among the dead letters, so nothing was done: {', '.join(missing)}")
    return found


def each_chunk(letters: DeadLetters, act: Callable[[list[DeadLetter]], None]) -> int:
    """Act on all dead letters, a chunk at a time, and return how many there were.

    A dead letter that returns meanwhile, because its consumer rejected it again, is left alone.
    """
    count = 0
    while True:
        chunk = letters.read(CHUNK)
        if chunk:
            act(chunk)
        count += len(chunk)
        if len(chunk) < CHUNK:
            return count
