# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to RabbitMQ: a sliding window of messages, each confirmed, matched by our own count of delivery tags."""

from __future__ import annotations

import logging
import re
import struct
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from amqp import exceptions

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.brokers.amqp.connection import (
    ACCESS_REFUSED,
    CALL_LIMIT_SECONDS,
    CONNECT_LIMIT_SECONDS,
    NOT_FOUND,
    PRECONDITION_FAILED,
    AmqpConnection,
    describe,
)
from sourcepulse.brokers.amqp.frames import content_frames, publish_method
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, ExchangeMissingError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: How many messages may be unconfirmed; more is not faster, and a lost connection repeats all of them.
WINDOW = 1000
#: How long the broker may confirm nothing while messages wait for it.
CONFIRM_LIMIT_SECONDS = 15.0
#: How often an idle publisher checks its exchange: later than consumers do, so that they notice that it was removed.
RENEW_SECONDS = 75.0

#: RabbitMQ's message for a routing key that we may not use; a missing right to the exchange has another one.
_TOPIC_REFUSED = re.compile(r"ACCESS_REFUSED - (?:write )?access to topic '")
#: Errors for what AMQP's types cannot express: a key over 255 bytes, half a surrogate pair, a body that is too large.
_UNWRITABLE = (struct.error, ValueError, OverflowError)

logger = logging.getLogger(__name__)


class AmqpPublisher:
    """Publishes to one topic exchange of RabbitMQ over AMQP 0-9-1, see `Publisher`.

    A negative acknowledgement raises BrokerUnavailableError, because a quorum queue without a leader may nack
    forever on the same channel. An error that one message causes (it is too large, or we may not use its routing
    key) closes the channel without naming the message: all unsettled messages are then sent again one at a time,
    and only the one that fails is refused.
    """

    window = WINDOW

    def __init__(
        self,
        url: BrokerUrl,
        *,
        exchange: str,
        confirm_limit_s: float = CONFIRM_LIMIT_SECONDS,
        connect_limit_s: float = CONNECT_LIMIT_SECONDS,
        call_limit_s: float = CALL_LIMIT_SECONDS,
    ) -> None:
        self._url = url
        self._exchange = exchange
        self._confirm_limit_s = confirm_limit_s
        self._connection = AmqpConnection(url, connect_limit_s=connect_limit_s, call_limit_s=call_limit_s)
        # Few routing keys make up most events.
        self._method = lru_cache(maxsize=1024)(lambda channel, key: publish_method(channel, exchange, key))
        self._channel: Any = None
        self._last_tag = 0
        #: By delivery tag; only one while suspects are tried.
        self._unsettled: dict[int, Message] = {}
        #: One of these messages closed the channel; they have not been tried alone yet.
        self._suspects: deque[Message] = deque()
        #: Sent by the caller since then; published together after the last suspect.
        self._later: deque[Message] = deque()
        self._returned: set[str] = set()
        self._settled: list[Settlement] = []
        self._failure: BrokerUnavailableError | None = None
        self._progress_at = 0.0
        self._renew_at = 0.0

    def open(self) -> None:
        """Connect and declare the exchange; if we may not declare it, it must exist."""
        self.abandon()
        self._connection.open()
        declare_exchange(self._connection, self._exchange)
        self._renew_at = time.monotonic() + RENEW_SECONDS
        self._open_channel()

    def send(self, message: Message) -> None:
        """Buffer the message; it is sent when there are many, or when `settle` is called."""
        if self._failure is not None:
            raise self._failure
        if self._suspects or self._later:
            self._later.append(message)
            return
        try:
            self._publish(message)
        except exceptions.ChannelError as error:
            self._search(error)
        except BrokerUnavailableError as error:
            self._fail(error)

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        """Read confirms until some have arrived, or the wait is over."""
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                self._read_confirms(deadline)
            except exceptions.ChannelError as error:
                self._search(error)
            except BrokerUnavailableError as error:
                self._fail(error)
            # Settlements are returned before the failure is raised, so that these messages are not sent again.
            if self._settled:
                settled, self._settled = self._settled, []
                return settled
            if self._failure is not None:
                raise self._failure
            idle = not (self._unsettled or self._suspects or self._later)
            if idle:
                self._renew()
            if time.monotonic() >= deadline or idle:
                return []

    def abandon(self) -> None:
        """Drop the connection and forget the unsettled messages."""
        self._connection.abandon()
        self._channel = None
        self._last_tag = 0
        self._unsettled.clear()
        self._suspects.clear()
        self._later.clear()
        self._returned.clear()
        self._settled = []
        self._failure = None

    def close(self) -> None:
        """Disconnect cleanly if nothing is unsettled, else abandon."""
        if not (self._unsettled or self._suspects or self._later):
            self._connection.close()
        self.abandon()

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
        self._connection.call(lambda _: channel.confirm_select())
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel = channel
        self._last_tag = 0

    def _publish(self, message: Message) -> None:
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
        if not self._unsettled:
            self._progress_at = time.monotonic()
        self._last_tag += 1
        self._unsettled[self._last_tag] = message
        self._connection.write_frames(frames)

    def _read_confirms(self, deadline: float) -> None:
        """Read until something is settled or failed, or until the deadline; then read what else has arrived."""
        self._try_next_suspect()
        while self._unsettled and not self._settled and self._failure is None:
            now = time.monotonic()
            overdue_at = self._progress_at + self._confirm_limit_s
            if now >= overdue_at:
                raise BrokerUnavailableError(
                    f"{self._connection.host} confirmed nothing for {self._confirm_limit_s:g} s"
                )
            if now >= deadline:
                break
            self._connection.read(min(deadline, overdue_at) - now)
            self._try_next_suspect()
        self._connection.flush()
        self._connection.read_available()

    def _try_next_suspect(self) -> None:
        if self._failure is not None:
            return
        while self._suspects and not self._unsettled:
            self._publish(self._suspects.popleft())
        if not self._suspects and not self._unsettled:
            while self._later:
                self._publish(self._later.popleft())

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for message in self._take(tag, multiple):
            outcome = Outcome.DELIVERED
            if message.id in self._returned:
                self._returned.discard(message.id)
                outcome = Outcome.UNROUTABLE
            self._settled.append(Settlement(message.tag, outcome))
        self._progress_at = time.monotonic()

    def _on_nack(self, tag: int, multiple: bool) -> None:
        # A later acknowledgement with `multiple` does not include messages that were refused before it.
        self._take(tag, multiple)
        # Raised later: py-amqp must finish with the frame first.
        self._failure = BrokerUnavailableError(
            f"{self._connection.host} refused to store a message for now: "
            "a queue is full and rejects publishes, or has no leader"
        )

    def _take(self, tag: int, multiple: bool) -> list[Message]:
        """Remove and return the messages that a confirm settles."""
        if multiple:
            tags = list(takewhile(lambda known: known <= tag, self._unsettled))
        else:
            tags = [tag] if tag in self._unsettled else []
        return [self._unsettled.pop(known) for known in tags]

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
            error = BrokerUnavailableError(f"{self._connection.host} blocks publishers: memory or disk alarm")
        self._failure = error

    def _search(self, error: exceptions.ChannelError) -> None:
        """Continue after an error that closed the channel; a message that was alone on it caused the error."""
        waiting = list(self._unsettled.values())
        self._unsettled.clear()
        try:
            self._raise_unless_a_message_is_to_blame(error)
            if len(waiting) == 1:
                self._settled.append(Settlement(waiting[0].tag, Outcome.REFUSED, str(error.reply_text)))
            else:
                self._suspects.extendleft(reversed(waiting))
            self._open_channel()
        except exceptions.ChannelError as another:
            self._fail(describe(another, self._connection.host, self._url.vhost))
        except BrokerUnavailableError as another:
            self._fail(another)

    def _raise_unless_a_message_is_to_blame(self, error: exceptions.ChannelError) -> None:
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
    channel = connection.channel()
    try:
        connection.call(lambda _: channel.exchange_declare(exchange, "topic", passive=True))
        connection.call(lambda _: channel.close())
    except exceptions.ChannelError as error:
        return bool(error.reply_code != NOT_FOUND)
    return True


def declare_exchange(connection: AmqpConnection, exchange: str) -> None:
    """Declare a durable topic exchange if it is missing; BrokerRefusedUsError if it is missing and we may not."""
    channel = connection.channel()
    try:
        connection.call(lambda _: channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False))
        connection.call(lambda _: channel.close())
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
    channel = connection.channel()
    try:
        connection.call(lambda _: channel.exchange_declare(exchange, "topic", passive=True))
        connection.call(lambda _: channel.close())
    except exceptions.ChannelError as error:
        raise ExchangeMissingError(
            f"the exchange {exchange!r} is missing at {connection.host} and we may not declare it; "
            f"ask an admin to declare it (durable, topic) or to allow us to configure it: {error.reply_text}"
        ) from None
