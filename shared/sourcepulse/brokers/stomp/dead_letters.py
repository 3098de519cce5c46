# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The dead letters of a queue over STOMP, at RabbitMQ and at ActiveMQ."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sourcepulse.brokers.dead_letters import KEY_HEADER, REASON_HEADER, DeadLetter, check_no_obstacle
from sourcepulse.brokers.network.rabbitmq import DEAD_SUFFIX, MILLISECONDS
from sourcepulse.brokers.network.subscription import PREFETCH_MAX
from sourcepulse.brokers.stomp.activemq_publisher import EXPIRES_SECONDS
from sourcepulse.brokers.stomp.connection import StompConnection
from sourcepulse.brokers.stomp.destinations import VIRTUAL_TOPIC, activemq_dead_letters, rabbitmq_queue
from sourcepulse.brokers.stomp.frames import Blame, ErrorFrameError
from sourcepulse.brokers.stomp.subscription import QUEUE_HEADER
from sourcepulse.errors import BrokerRefusedUsError, NothingThereError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: If the broker sends nothing for this long, there are no more dead letters.
SILENCE_SECONDS = 1.0
#: If dead letters keep arriving, because a consumer goes on rejecting, reading ends after this long in all.
READ_LIMIT_SECONDS = 120.0
#: More dead letters than any ActiveMQ holds; it has no word for "no limit".
ACTIVEMQ_PREFETCH_MAX = 1_000_000_000
_NUMBER = 1

logger = logging.getLogger(__name__)


@contextmanager
def open_stomp_dead_letters(url: BrokerUrl, queue: str, limit: int | None) -> Iterator[StompDeadLetters]:
    """Connect to the dead letters of a queue; those that are read and not acknowledged return to it at the end."""
    kind = _ActivemqDeadLetters if url.scheme.endswith("+activemq") else _RabbitmqDeadLetters
    connection = StompConnection(url)
    try:
        connection.open()
        letters = kind(url, connection, queue)
        letters.subscribe(limit)
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
        #: What was read ahead before the first requeue.
        self._ahead: deque[DeadLetter] = deque()
        self._is_complete = False
        self._read_s = 0.0

    @abstractmethod
    def subscribe(self, prefetch: int | None) -> None:
        """Subscribe to the dead letters, all at once if `prefetch` is None; each is acknowledged separately."""

    def read(self, limit: int) -> list[DeadLetter]:
        """Return the next of the dead letters that were there before the first requeue, oldest first."""
        found: list[DeadLetter] = []
        while len(found) < limit and (letter := self._next()) is not None:
            found.append(letter)
        return found

    def requeue(self, letters: Sequence[DeadLetter]) -> None:
        """Put dead letters back into their queue, then remove them."""
        # What comes later may be a dead letter that was requeued and rejected again; nothing in it shows that.
        while (letter := self._receive()) is not None:
            self._ahead.append(letter)
        self._requeue(letters)

    @abstractmethod
    def _requeue(self, letters: Sequence[DeadLetter]) -> None: ...

    def _obstacle(self, queue: str) -> str:  # noqa: ARG002 - ActiveMQ's needs it
        """Return why a dead letter cannot be requeued that came from this queue; empty if it can."""
        return ""

    def _next(self) -> DeadLetter | None:
        return self._ahead.popleft() if self._ahead else self._receive()

    def _receive(self) -> DeadLetter | None:
        """Return the next dead letter that the broker sends; None once it was silent."""
        while not self._is_complete:
            began = time.monotonic()
            frame = self._connection.read(SILENCE_SECONDS)
            self._read_s += time.monotonic() - began
            if frame is None:
                self._is_complete = True
            elif self._read_s > READ_LIMIT_SECONDS:
                self._is_complete = True
                logger.warning("dead letters of %r keep arriving; those that came late are left alone", self._queue)
            elif frame.cmd == "MESSAGE":
                headers = frame.headers
                queue = headers.get(QUEUE_HEADER, "")
                return DeadLetter(
                    handle=headers.get("ack", ""),
                    routing_key=headers.get(KEY_HEADER, ""),
                    reason=headers.get(REASON_HEADER, ""),
                    content_type=headers.get("content-type", ""),
                    body=frame.body,
                    queue=queue,
                    obstacle=self._obstacle(queue),
                )
        return None

    def drop(self, letters: Sequence[DeadLetter]) -> None:
        """Acknowledge dead letters and wait for the broker's receipt."""
        requests = self._connection.requests
        for letter in letters[:-1]:
            requests.ack(letter.handle)
        for letter in letters[-1:]:
            self._connection.call(lambda receipt, letter=letter: requests.ack(letter.handle, receipt=receipt))  # type: ignore[misc]

    def _send(self, destination: str, letter: DeadLetter, headers: dict[str, str]) -> None:
        """Send a dead letter to one queue and wait for the broker's receipt."""
        event = letter.event()
        self._connection.send(
            destination, letter.body, letter.content_type, headers | ({"type": event.type} if event else {})
        )


class _RabbitmqDeadLetters(StompDeadLetters):
    def subscribe(self, prefetch: int | None) -> None:
        # 0 is no limit (AMQP 0-9-1, basic.qos).
        count = min(prefetch or 0, PREFETCH_MAX)
        self._connection.subscribe(_NUMBER, rabbitmq_queue(self._queue + DEAD_SUFFIX), {"prefetch-count": str(count)})

    def _requeue(self, letters: Sequence[DeadLetter]) -> None:
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
            connection.subscribe(_NUMBER, rabbitmq_queue(self._queue), {"prefetch-count": "1"})
        except ErrorFrameError as error:
            if error.blame is Blame.MISSING:
                raise NothingThereError(
                    f"there is no queue {self._queue!r}; its consumer creates it when it subscribes"
                ) from None
            raise
        finally:
            connection.close()


class _ActivemqDeadLetters(StompDeadLetters):
    def subscribe(self, prefetch: int | None) -> None:
        size = prefetch or ACTIVEMQ_PREFETCH_MAX
        self._connection.subscribe(_NUMBER, activemq_dead_letters(self._queue), {"activemq.prefetchSize": str(size)})

    def _requeue(self, letters: Sequence[DeadLetter]) -> None:
        check_no_obstacle(letters)
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

    def _obstacle(self, queue: str) -> str:
        # A client that may write to the dead letters must not make us write to another queue; a ',' would name two.
        ours = activemq_dead_letters(self._queue).removesuffix("dead") + VIRTUAL_TOPIC
        if queue.startswith(ours) and "," not in queue:
            return ""
        return (
            "such a dead letter does not name the queue of this subscription that it came from; publish its event "
            "again with `sourcepulse outbox replay ID`, and drop it"
        )
