# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The dead letters of a RabbitMQ queue over AMQP: copied from queue to queue, confirmed, then acknowledged."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import amqp
from amqp import exceptions

from sourcepulse.brokers.amqp.connection import NOT_FOUND, PRECONDITION_FAILED, AmqpConnection, describe
from sourcepulse.brokers.amqp.frames import PERSISTENT
from sourcepulse.brokers.dead_letters import KEY_HEADER, REASON_HEADER, DeadLetter
from sourcepulse.brokers.network.rabbitmq import DEAD_SUFFIX
from sourcepulse.errors import BrokerUnavailableError, NothingThereError
from sourcepulse.events.safe_text import reason_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sourcepulse.brokers import Delivery
    from sourcepulse.brokers.url import BrokerUrl

logger = logging.getLogger(__name__)


def bury(connection: AmqpConnection, name: str, delivery: Delivery, reason: str, arguments: Mapping[str, Any]) -> bool:
    """Copy a message to a queue that is declared with these arguments; False if the broker refuses.

    BrokerUnavailableError if the broker does not answer, or accepts no messages for now.
    """
    try:
        channel = _declare(connection, name, arguments)
        headers = {REASON_HEADER: reason_line(reason), KEY_HEADER: delivery.routing_key}
        arrived = _publish(connection, channel, name, [_message(delivery.body, delivery.content_type, headers)])
        connection.call(channel.close)
    except exceptions.ChannelError as error:
        logger.warning("a message is dropped because the queue %r cannot be used: %s", name, error.reply_text)
        return False
    if not arrived:
        raise BrokerUnavailableError(f"the queue {name!r} was removed meanwhile")
    return True


@contextmanager
def open_amqp_dead_letters(url: BrokerUrl, queue: str) -> Iterator[AmqpDeadLetters]:
    """Connect to the dead letters of a queue; those that are read and not acknowledged return to it at the end."""
    connection = AmqpConnection(url)
    try:
        connection.open()
        yield AmqpDeadLetters(connection, queue)
    except exceptions.ChannelError as error:
        if error.reply_code == NOT_FOUND:
            raise NothingThereError(f"the queue {queue!r} never had dead letters") from None
        raise describe(error, connection.host, url.vhost) from None
    finally:
        connection.close()


class AmqpDeadLetters:
    """The dead letters of a RabbitMQ queue, see `DeadLetters`."""

    def __init__(self, connection: AmqpConnection, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._channel = connection.channel()
        #: How many of the dead letters that were there at first are not read yet; None before the first is read.
        self._left: int | None = None

    def read(self, limit: int) -> list[DeadLetter]:
        """Return the next of the dead letters that were there at first, oldest first."""
        found: list[DeadLetter] = []
        # Those that are rejected again go to the end of the queue.
        while len(found) < limit and self._left != 0:
            got = self._connection.call(self._channel.basic_get, self._queue + DEAD_SUFFIX)
            if got is None:
                self._left = 0
                break
            self._left = got.delivery_info["message_count"] if self._left is None else self._left - 1
            headers = got.properties.get("application_headers", {})
            body = got.body if isinstance(got.body, bytes) else str(got.body or "").encode()
            found.append(
                DeadLetter(
                    handle=got.delivery_tag,
                    routing_key=str(headers.get(KEY_HEADER, "")),
                    reason=str(headers.get(REASON_HEADER, "")),
                    content_type=str(got.properties.get("content_type", "")),
                    body=body,
                )
            )
        return found

    def requeue(self, letters: Sequence[DeadLetter]) -> None:
        """Publish dead letters to their queue only, each confirmed, then remove them."""
        # On a separate channel, because an error closes the channel and returns everything that was read on it.
        channel = self._connection.channel()
        messages = [
            _message(letter.body, letter.content_type, {KEY_HEADER: letter.routing_key}, letter) for letter in letters
        ]
        if not _publish(self._connection, channel, self._queue, messages):
            raise NothingThereError(f"there is no queue {self._queue!r}; its consumer creates it when it subscribes")
        self._connection.call(channel.close)
        self.drop(letters)

    def drop(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self._connection.write(self._channel.basic_ack, letter.handle)
        # The broker's answer to this request comes after it has handled the acknowledgements.
        self._connection.call(self._channel.basic_qos, 0, 0, False)


def _message(body: bytes, content_type: str, headers: dict[str, str], letter: DeadLetter | None = None) -> amqp.Message:
    event = letter.event() if letter else None
    return amqp.Message(
        body,
        content_type=content_type,
        delivery_mode=PERSISTENT,
        application_headers=headers,
        **({"message_id": event.id, "type": event.type} if event else {}),
    )


def _publish(connection: AmqpConnection, channel: Any, queue: str, messages: Sequence[amqp.Message]) -> bool:
    """Publish to one queue and wait until each message is confirmed; False if there is no such queue."""
    confirmed: list[int] = []
    nacked: list[int] = []
    returned: list[object] = []
    channel.events["basic_ack"].add(lambda tag, multiple: confirmed.extend(range(1, tag + 1) if multiple else (tag,)))
    channel.events["basic_nack"].add(lambda tag, _multiple: nacked.append(tag))
    channel.events["basic_return"].add(lambda *details: returned.append(details))
    connection.call(channel.confirm_select)

    def publish(number: int, message: amqp.Message) -> None:
        channel._basic_publish(message, "", queue, mandatory=True)
        while number not in confirmed and not nacked:
            channel.connection.blocking_read()

    for number, message in enumerate(messages, 1):
        connection.call(publish, number, message)
        if nacked:
            raise BrokerUnavailableError(f"the queue {queue!r} accepts no messages for now")
        if returned:
            return False
    return True


def _declare(connection: AmqpConnection, name: str, arguments: Mapping[str, Any]) -> Any:
    channel = connection.channel()
    try:
        connection.call(channel.queue_declare, name, durable=True, auto_delete=False, arguments=arguments)
    except exceptions.ChannelError as error:
        if error.reply_code != PRECONDITION_FAILED:
            raise
        # The queue exists with earlier limits.
        return connection.channel()
    return channel
