# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What STOMP cannot do at RabbitMQ, declare an exchange and undo a binding: done over AMQP, where that can be had."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sourcepulse.brokers.url import SCHEMES
from sourcepulse.errors import BrokerUnavailableError, ExchangeMissingError

if TYPE_CHECKING:
    from sourcepulse.brokers.amqp.connection import AmqpConnection
    from sourcepulse.brokers.url import BrokerUrl

logger = logging.getLogger(__name__)


def declare_exchange_over_amqp(url: BrokerUrl, exchange: str, *, connect_limit_s: float, call_limit_s: float) -> None:
    """Declare a missing exchange (durable, topic) at the hosts of a STOMP URL, with its login and its TLS.

    AMQP is looked for at its usual port, or at `?amqp_port=`. ExchangeMissingError if it cannot be done so.
    """
    from sourcepulse.brokers.amqp.publisher import declare_exchange

    try:
        with _amqp_beside(url, connect_limit_s, call_limit_s) as connection:
            declare_exchange(connection, exchange)
    except BrokerUnavailableError as error:
        raise ExchangeMissingError(
            f"the exchange {exchange!r} is missing, STOMP cannot make one, and AMQP, which could, fails ({error}); "
            "have an admin declare it (durable, topic), or name the port of AMQP by ?amqp_port="
        ) from None
    logger.info("the exchange %r was missing and is declared over AMQP at %s", exchange, url)


def unbind_over_amqp(
    url: BrokerUrl, exchange: str, queue: str, patterns: Iterable[str], *, connect_limit_s: float, call_limit_s: float
) -> None:
    """Undo bindings of a queue, where and as whom `declare_exchange_over_amqp` would declare.

    A binding that is not there is no error. BrokerUnavailableError if it cannot be done.
    """
    from amqp import exceptions

    with _amqp_beside(url, connect_limit_s, call_limit_s) as connection:
        try:
            channel = connection.channel()
            # A queue that is not there says that this is another broker.
            connection.call(lambda _: channel.queue_declare(queue, passive=True))
            for pattern in patterns:
                connection.call(lambda _, pattern=pattern: channel.queue_unbind(queue, exchange, pattern))  # type: ignore[misc]
        except exceptions.ChannelError as error:
            raise BrokerUnavailableError(f"{connection.host}: {error.reply_text}") from None


@contextmanager
def _amqp_beside(url: BrokerUrl, connect_limit_s: float, call_limit_s: float) -> Iterator[AmqpConnection]:
    # Only here, for who has STOMP alone needs none of it.
    from sourcepulse.brokers.amqp.connection import AmqpConnection

    scheme = "amqps" if url.tls else "amqp"
    port = int(url.option("amqp_port") or SCHEMES[scheme])
    amqp_url = replace(url, scheme=scheme, hosts=tuple((host, port) for host, _ in url.hosts))
    connection = AmqpConnection(amqp_url, connect_limit_s=connect_limit_s, call_limit_s=call_limit_s)
    try:
        connection.open()
        yield connection
    finally:
        connection.close()
