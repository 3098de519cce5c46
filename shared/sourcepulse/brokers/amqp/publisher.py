# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to RabbitMQ: a sliding window of messages, each confirmed, matched by our own count of delivery tags."""

from __future__ import annotations

import logging
import re
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import takewhile
from typing import Any

from amqp import exceptions

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.brokers.amqp.connection import (
    ACCESS_REFUSED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    AmqpConnection,
    describe,
)
from sourcepulse.brokers.amqp.frames import content_frames, publish_method
from sourcepulse.brokers.network.publisher import ConfirmedPublisher
from sourcepulse.errors import BrokerBlockedError, BrokerRefusedUsError, BrokerUnavailableError, ExchangeMissingError

#: How many messages may be unconfirmed; more is not faster, and a lost connection repeats all of them.
WINDOW = 1000
#: How often an idle publisher checks its exchange: later than consumers do, so that they notice that it was removed.
RENEW_SECONDS = 75.0

#: RabbitMQ's message for a routing key that we may not use; a missing right to the exchange has another one.
_TOPIC_REFUSED = re.compile(r"ACCESS_REFUSED - (?:write )?access to topic '")
#: Errors for what AMQP's types cannot express: a key over 255 bytes, half a surrogate pair, a body that is too large.
_UNWRITABLE = (struct.error, ValueError, OverflowError)

logger = logging.getLogger(__name__)


class AmqpPublisher(ConfirmedPublisher):
    """Publishes to one topic exchange of RabbitMQ over AMQP 0-9-1, see `Publisher`.

    A negative acknowledgement raises BrokerUnavailableError, because a quorum queue without a leader may nack
    forever on the same channel. An error that one message causes (it is too large, or we may not use its routing
    key) closes the channel; the search for the message continues on a new one.
    """

    window = WINDOW
    _Connection = AmqpConnection
    _Refusal = exceptions.ChannelError
    _connection: AmqpConnection

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        exchange = self._exchange
        # Few routing keys make up most events.
        self._method = lru_cache(maxsize=1024)(lambda channel, key: publish_method(channel, exchange, key))
        self._channel: Any = None
        self._last_tag = 0
        self._returned: set[str] = set()
        self._renew_at = 0.0

    def open(self) -> None:
        """Connect and declare the exchange; if we may not declare it, it must exist."""
        super().open()
        declare_exchange(self._connection, self._exchange)
        self._renew_at = time.monotonic() + RENEW_SECONDS
        self._open_channel()

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        """Read confirms until some have arrived, or the wait is over; an idle publisher checks its exchange."""
        settled = super().settle(wait_seconds)
        if not settled and not self._is_busy():
            self._renew()
        return settled

    def abandon(self) -> None:
        """Drop the connection and forget the unsettled messages."""
        super().abandon()
        self._channel = None
        self._returned.clear()

    def _renew(self) -> None:
        """Declare the exchange again from time to time while idle, so that waiting consumers can subscribe."""
        now = time.monotonic()
        if now < self._renew_at or self._channel is None:
            return
        self._renew_at = now + RENEW_SECONDS
        if not exchange_stands(self._connection, self._exchange):
            logger.warning(
                "the exchange %r was removed at %s; declaring it again", self._exchange, self._connection.host
            )
            declare_exchange(self._connection, self._exchange)

    def _open_channel(self) -> None:
        channel = self._connection.channel()
        self._connection.call(channel.confirm_select)
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel = channel
        self._last_tag = 0

    def _write(self, message: Message) -> None:
        channel = self._channel
        if channel is None or channel.connection is None:
            raise BrokerUnavailableError(f"the connection to {self._connection.host or self._url} is closed")
        number = channel.channel_id
        try:
            frames = self._method(number, message.routing_key) + content_frames(
                number, message, channel.connection.frame_max
            )
        except _UNWRITABLE as error:
            self._settled.append(Settlement(message.tag, Outcome.REFUSED, f"cannot be written in AMQP: {error}"))
            return
        self._last_tag += 1
        self._expect((message,), self._last_tag)
        self._connection.write_frames(frames)

    def _read(self, wait_s: float) -> bool:
        return self._connection.read(wait_s)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for message in self._confirmed(tag, multiple):
            outcome = Outcome.DELIVERED
            if message.id in self._returned:
                self._returned.discard(message.id)
                outcome = Outcome.UNROUTABLE
            self._settled.append(Settlement(message.tag, outcome))
        self._progress_at = time.monotonic()

    def _on_nack(self, tag: int, multiple: bool) -> None:
        # A later acknowledgement with `multiple` does not include messages that were refused before it.
        self._confirmed(tag, multiple)
        # Raised later: py-amqp must finish with the frame first.
        self._failure = BrokerUnavailableError(
            f"{self._connection.host} refused to store a message for now: "
            "a queue is full and rejects publishes, or has no leader"
        )

    def _confirmed(self, tag: int, multiple: bool) -> list[Message]:
        """Remove and return the messages that a confirm settles."""
        if multiple:
            tags = list(takewhile(lambda known: known <= tag, self._unsettled))
        else:
            tags = [tag] if tag in self._unsettled else []
        return [message for known in tags for message in self._unsettled.pop(known)]

    def _on_return(self, _error: Exception, _exchange: str, _routing_key: str, message: Any) -> None:
        # A returned message is acknowledged as well, right after this.
        self._returned.add(message.properties.get("message_id", ""))

    def _fail(self, error: BrokerUnavailableError) -> None:
        """Store why the connection is unusable; the broker's last message explains it best."""
        if self._failure is not None:
            return
        try:
            with suppress(exceptions.ChannelError):
                self._connection.read_last_words()
        except BrokerRefusedUsError as reason:
            error = reason
        except BrokerUnavailableError:
            pass
        if self._connection.blocked:
            error = BrokerBlockedError(f"{self._connection.host} blocks publishers: memory or disk alarm")
        self._failure = error

    def _reopen(self) -> None:
        try:
            self._open_channel()
        except exceptions.ChannelError as error:
            raise describe(error, self._connection.host, self._url.vhost) from None

    def _refuse(self, message: Message, error: Any) -> None:
        self._settled.append(Settlement(message.tag, Outcome.REFUSED, str(error.reply_text)))

    def _raise_unless_a_message_is_to_blame(self, error: Any, under_way: int) -> None:  # noqa: ARG002 - see STOMP
        text = str(error.reply_text)
        if error.reply_code == PRECONDITION_FAILED or (
            error.reply_code == ACCESS_REFUSED and _TOPIC_REFUSED.match(text)
        ):
            return
        if error.reply_code == NOT_FOUND:
            raise BrokerUnavailableError(f"the exchange {self._exchange!r} is gone: {text}") from None
        raise describe(error, self._connection.host, self._url.vhost) from None


def exchange_stands(connection: AmqpConnection, exchange: str) -> bool:
    """Return whether an exchange exists; this needs no rights."""
    try:
        _declare(connection, exchange, passive=True)
    except exceptions.ChannelError as error:
        return bool(error.reply_code != NOT_FOUND)
    return True


def declare_exchange(connection: AmqpConnection, exchange: str) -> None:
    """Declare a durable topic exchange if it is missing; BrokerRefusedUsError if it is missing and we may not."""
    try:
        _declare(connection, exchange, durable=True, auto_delete=False)
        return
    except exceptions.ChannelError as error:
        if error.reply_code == PRECONDITION_FAILED:
            raise BrokerRefusedUsError(
                f"the exchange {exchange!r} at {connection.host} is not a durable topic exchange; "
                f"remove it or choose another name: {error.reply_text}"
            ) from None
        if error.reply_code != ACCESS_REFUSED:
            raise BrokerUnavailableError(f"{connection.host} cannot declare {exchange!r}: {error.reply_text}") from None
    # Without the right to declare exchanges it is enough that this one exists.
    try:
        _declare(connection, exchange, passive=True)
    except exceptions.ChannelError as error:
        raise ExchangeMissingError(
            f"the exchange {exchange!r} is missing at {connection.host} and we may not declare it; "
            f"ask an admin to declare it (durable, topic) or to allow us to configure it: {error.reply_text}"
        ) from None


def _declare(connection: AmqpConnection, exchange: str, **how: bool) -> None:
    # On a separate channel, because an error closes the channel.
    channel = connection.channel()
    connection.call(channel.exchange_declare, exchange, "topic", **how)
    connection.call(channel.close)
