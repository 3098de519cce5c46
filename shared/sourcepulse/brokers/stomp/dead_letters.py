# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The dead letters of a queue over STOMP, at RabbitMQ and at ActiveMQ."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sourcepulse.brokers.dead_letters import DeadLetter
from sourcepulse.brokers.stomp.activemq_publisher import EXPIRES_SECONDS
from sourcepulse.brokers.stomp.connection import StompConnection
from sourcepulse.brokers.stomp.destinations import VIRTUAL_TOPIC, activemq_dead_letters, rabbitmq_queue
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError
from sourcepulse.brokers.stomp.rabbitmq_subscription import DEAD_SUFFIX, MILLISECONDS
from sourcepulse.brokers.stomp.subscription import KEY_HEADER, PREFETCH_MAX, QUEUE_HEADER, REASON_HEADER
from sourcepulse.errors import BrokerRefusedUsError, NothingThereError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: If the broker sends nothing for this long, there are no more dead letters.
SILENCE_SECONDS = 1.0
_NUMBER = 1


@contextmanager
def open_stomp_dead_letters(url: BrokerUrl, queue: str, limit: int | None) -> Iterator[StompDeadLetters]:
    """Connect to the dead letters of a queue; those that are read and not acknowledged return to it at the end."""
    kind = _ActivemqDeadLetters if url.scheme.endswith("+activemq") else _RabbitmqDeadLetters
    connection = StompConnection(url)
    try:
        connection.open()
        letters = kind(url, connection, queue)
        letters.subscribe(limit or PREFETCH_MAX)
        yield letters
    except ErrorFrameError as error:
        if error.blame is Blame.MISSING:
            raise NothingThereError(f"the queue {queue!r} never had dead letters") from None
        raise BrokerRefusedUsError(f"{connection.host} refuses us: {error}") from None
    finally:
        connection.close()


class StompDeadLetters(ABC):
    """The dead letters of a queue over STOMP, see `DeadLetters`."""

    def __init__(self, url: BrokerUrl, connection: StompConnection, queue: str) -> None:
        self._url = url
        self._connection = connection
        self._queue = queue

    @abstractmethod
    def subscribe(self, prefetch: int) -> None:
        """Subscribe to the dead letters; each is acknowledged separately."""

    @abstractmethod
    def requeue(self, letters: Sequence[DeadLetter]) -> None:
        """Put dead letters back into their queue, then remove them."""

    def read(self, limit: int) -> list[DeadLetter]:
        """Return the next dead letters, oldest first."""
        found: list[DeadLetter] = []
        while len(found) < limit and (frame := self._connection.read(SILENCE_SECONDS)) is not None:
            if frame.cmd == "MESSAGE":
                headers = frame.headers
                found.append(
                    DeadLetter(
                        handle=headers.get("ack", ""),
                        routing_key=headers.get(KEY_HEADER, ""),
                        reason=headers.get(REASON_HEADER, ""),
                        content_type=headers.get("content-type", ""),
                        body=frame.body,
                        queue=headers.get(QUEUE_HEADER, ""),
                    )
                )
        return found

    def drop(self, letters: Sequence[DeadLetter]) -> None:
        """Acknowledge dead letters and wait for the broker's receipt."""
        requests = self._connection.requests
        for letter in letters[:-1]:
            requests.ack(letter.handle)
        for letter in letters[-1:]:
            self._connection.call(lambda receipt, letter=letter: requests.ack(letter.handle, receipt=receipt))  # type: ignore[misc]

    def _consume(self, destination: str, headers: dict[str, str]) -> None:
        _consume(self._connection, destination, headers)

    def _send(self, destination: str, letter: DeadLetter, headers: dict[str, str]) -> None:
        """Send a dead letter to one queue and wait for the broker's receipt."""
        event = letter.event()
        self._connection.call(
            lambda receipt: self._connection.requests.send(
                destination,
                letter.body,
                content_type=letter.content_type or None,
                headers={
                    **headers, **({"type": event.type} if event else {}), "persistent": "true", "receipt": receipt
                },
            )
        )  # fmt: skip


class _RabbitmqDeadLetters(StompDeadLetters):
    def subscribe(self, prefetch: int) -> None:
        self._consume(rabbitmq_queue(self._queue + DEAD_SUFFIX), {"prefetch-count": str(prefetch)})

    def requeue(self, letters: Sequence[DeadLetter]) -> None:
        # RabbitMQ sends a receipt even for a message to a queue that does not exist.
        self._check_queue()
        for letter in letters:
            event = letter.event()
            headers = {KEY_HEADER: letter.routing_key} | ({"amqp-message-id": event.id} if event else {})
            self._send(rabbitmq_queue(self._queue), letter, headers)
        self._check_queue()
        self.drop(letters)

    def _check_queue(self) -> None:
        """Check the queue by consuming from it; messages that arrive return to it when the connection ends."""
        connection = StompConnection(self._url)
        try:
            connection.open()
            _consume(connection, rabbitmq_queue(self._queue), {"prefetch-count": "1"})
        except ErrorFrameError as error:
            if error.blame is Blame.MISSING:
                raise NothingThereError(
                    f"there is no queue {self._queue!r}; its consumer creates it when it subscribes"
                ) from None
            raise
        finally:
            connection.close()


class _ActivemqDeadLetters(StompDeadLetters):
    def subscribe(self, prefetch: int) -> None:
        self._consume(activemq_dead_letters(self._queue), {"activemq.prefetchSize": str(prefetch)})

    def requeue(self, letters: Sequence[DeadLetter]) -> None:
        # A client that may write to the dead letters must not make us write to another queue; a ',' would name two.
        ours = activemq_dead_letters(self._queue).removesuffix("dead") + VIRTUAL_TOPIC
        if any(not letter.queue.startswith(ours) or "," in letter.queue for letter in letters):
            raise NothingThereError(
                f"a dead letter of {self._queue!r} does not name the queue of this subscription that it came from; "
                "publish its event again with `sourcepulse outbox replay ID`"
            )
        requests = self._connection.requests
        transaction = self._connection.receipt()
        requests.begin(transaction)
        expires = {"expires": str(int((time.time() + EXPIRES_SECONDS) * MILLISECONDS)), "transaction": transaction}
        for letter in letters:
            event = letter.event()
            headers = {"routing-key": letter.routing_key} | ({"event-id": event.id} if event else {})
            self._send(letter.queue, letter, {**headers, **expires})
        for letter in letters:
            requests.ack(letter.handle, transaction=transaction)
        self._connection.call(lambda receipt: requests.commit(transaction, receipt=receipt))


def _consume(connection: StompConnection, destination: str, headers: dict[str, str]) -> None:
    connection.call(
        lambda receipt: connection.requests.subscribe(
            destination, _NUMBER, ack="client-individual", headers={**headers, "receipt": receipt}
        )
    )
