# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to RabbitMQ: a sliding window of messages, each confirmed, told apart by our own count of tags."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import amqp
from amqp import exceptions

from sourcepulse.brokers import Message, Outcome, Settlement
from sourcepulse.brokers.amqp_connection import CALL_LIMIT_SECONDS, CONNECT_LIMIT_SECONDS, AmqpConnection, describe
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: Messages that may be unconfirmed at once; more brings nothing, and a lost connection repeats them all.
WINDOW = 1000
#: How long the broker may confirm nothing while messages wait for it.
CONFIRM_LIMIT_SECONDS = 15.0

PERSISTENT = 2
ACCESS_REFUSED = 403
NOT_FOUND = 404
PRECONDITION_FAILED = 406

logger = logging.getLogger(__name__)


class AmqpPublisher:
    """Publishes to one topic exchange of RabbitMQ over AMQP 0-9-1, see `Publisher`.

    After a negative acknowledgement the channel is not trusted any more (a quorum queue without its leader
    may nack for ever on it): BrokerUnavailableError. An error that closes the channel and is one message's
    fault (too large, a routing key that we may not use) names no message: what is unsettled is sent again
    one by one on new channels until the culprit is found, which alone is refused.
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
        self._channel: Any = None
        self._last_tag = 0
        self._unsettled: dict[int, Message] = {}
        self._returned: set[str] = set()
        self._settled: list[Settlement] = []
        self._nacked = False
        self._progress_at = 0.0

    def open(self) -> None:
        """Connect and declare the exchange; one that we may not declare must be there."""
        self.abandon()
        self._connection.open()
        declare_exchange(self._connection, self._exchange)
        self._open_channel()

    def send(self, message: Message) -> None:
        """Write the message to the connection."""
        if not self._unsettled:
            self._progress_at = time.monotonic()
        self._unsettled[self._last_tag + 1] = message
        try:
            with self._connection.sending():
                self._publish(message)
        except exceptions.ChannelError as error:
            # It cannot be this one's: what closed the channel was read before.
            self._find_culprit(error)
        except BrokerUnavailableError:
            # The reason may have arrived just before the connection was closed.
            with suppress(exceptions.ChannelError):
                self._connection.read_available()
            raise

    def settle(self, wait_seconds: float) -> Sequence[Settlement]:
        """Read confirms until some have come, or the wait is over."""
        deadline = time.monotonic() + wait_seconds
        try:
            while not self._settled and self._unsettled:
                now = time.monotonic()
                overdue_at = self._progress_at + self._confirm_limit_s
                if now >= overdue_at:
                    raise BrokerUnavailableError(self._overdue_text())
                if now >= deadline:
                    break
                self._connection.read(min(deadline, overdue_at) - now)
                self._connection.tick()
                self._check_nack()
            if self._settled or not self._unsettled:
                self._connection.read_available()
                self._connection.tick()
                self._check_nack()
        except exceptions.ChannelError as error:
            self._find_culprit(error)
        settled, self._settled = self._settled, []
        return settled

    def abandon(self) -> None:
        """Drop the connection; what is unsettled is forgotten."""
        self._connection.abandon()
        self._forget()

    def close(self) -> None:
        """Say good-bye if nothing is unsettled, else abandon."""
        if not self._unsettled:
            self._connection.close()
        self.abandon()

    def _forget(self) -> None:
        self._channel = None
        self._last_tag = 0
        self._unsettled.clear()
        self._returned.clear()
        self._settled = []
        self._nacked = False

    def _open_channel(self) -> None:
        channel = self._connection.channel()
        self._connection.call(lambda _: channel.confirm_select())
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self._channel = channel
        self._last_tag = 0

    def _close_channel(self, _connection: Any) -> None:
        self._channel.close()

    def _publish(self, message: Message) -> None:
        self._channel._basic_publish(
            amqp.Message(
                message.body,
                content_type=message.content_type,
                delivery_mode=PERSISTENT,
                message_id=message.id,
                type=message.type,
                timestamp=_timestamp(message.time),
            ),
            self._exchange,
            message.routing_key,
            mandatory=True,
        )
        self._last_tag += 1

    def _on_ack(self, tag: int, multiple: bool) -> None:
        if multiple:
            tags = list(takewhile(lambda known: known <= tag, self._unsettled))
        else:
            tags = [tag] if tag in self._unsettled else []
        for known in tags:
            message = self._unsettled.pop(known)
            outcome = Outcome.DELIVERED
            if message.id in self._returned:
                self._returned.discard(message.id)
                outcome = Outcome.UNROUTABLE
            self._settled.append(Settlement(message.tag, outcome))
        self._progress_at = time.monotonic()

    def _on_nack(self, _tag: int, _multiple: bool) -> None:
        # Raised later: py-amqp must finish with the frame first.
        self._nacked = True

    def _on_return(self, _error: Exception, _exchange: str, _routing_key: str, message: Any) -> None:
        # A returned message is acknowledged as well, right after this.
        self._returned.add(message.properties.get("message_id", ""))

    def _check_nack(self) -> None:
        if self._nacked:
            raise BrokerUnavailableError(
                f"{self._connection.host} refused to store a message for now: "
                "a queue is full and rejects publishes, or has no leader"
            )

    def _overdue_text(self) -> str:
        host = self._connection.host
        if self._connection.blocked:
            return f"{host} blocks publishers: memory or disk alarm"
        return f"{host} confirmed nothing for {self._confirm_limit_s:g} s"

    def _find_culprit(self, error: exceptions.ChannelError) -> None:
        """Send what is unsettled one by one; the message that closes its channel is refused."""
        waiting = list(self._unsettled.values())
        self._unsettled.clear()
        self._raise_unless_a_message_is_to_blame(error)
        for message in waiting:
            self._open_channel()
            self._unsettled[1] = message
            self._progress_at = time.monotonic()
            try:
                with self._connection.sending():
                    self._publish(message)
                while self._unsettled:
                    if time.monotonic() >= self._progress_at + self._confirm_limit_s:
                        raise BrokerUnavailableError(self._overdue_text())
                    self._connection.read(self._confirm_limit_s)
                    self._check_nack()
                self._connection.call(self._close_channel)
            except exceptions.ChannelError as refusal:
                self._unsettled.clear()
                self._raise_unless_a_message_is_to_blame(refusal)
                self._settled.append(Settlement(message.tag, Outcome.REFUSED, refusal.reply_text))
        self._open_channel()

    def _raise_unless_a_message_is_to_blame(self, error: exceptions.ChannelError) -> None:
        code, text = error.reply_code, str(error.reply_text)
        if code == PRECONDITION_FAILED or (code == ACCESS_REFUSED and "topic" in text):
            return
        if code == NOT_FOUND:
            raise BrokerUnavailableError(f"the exchange {self._exchange!r} is gone: {text}") from None
        raise describe(error, self._connection.host, self._url.vhost) from None


def declare_exchange(connection: AmqpConnection, exchange: str) -> None:
    """Make sure of a durable topic exchange; BrokerRefusedUsError if it is missing and we may not make it."""
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
    # Without the right to make exchanges it is enough that this one is there.
    channel = connection.channel()
    try:
        connection.call(lambda _: channel.exchange_declare(exchange, "topic", passive=True))
        connection.call(lambda _: channel.close())
    except exceptions.ChannelError as error:
        raise BrokerRefusedUsError(
            f"the exchange {exchange!r} is missing at {connection.host} and we may not make it; "
            f"have an admin declare it (durable, topic) or allow us to configure it: {error.reply_text}"
        ) from None


@lru_cache(maxsize=1024)
def _timestamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
