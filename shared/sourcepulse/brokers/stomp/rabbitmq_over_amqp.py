# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What STOMP cannot do at RabbitMQ, done over AMQP if it is reachable: declare an exchange and remove a binding."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sourcepulse.brokers.network.rabbitmq import amqp_beside
from sourcepulse.errors import BrokerUnavailableError, ExchangeMissingError

if TYPE_CHECKING:
    from sourcepulse.brokers.amqp.connection import AmqpConnection
    from sourcepulse.brokers.url import BrokerUrl

logger = logging.getLogger(__name__)


def declare_exchange_over_amqp(url: BrokerUrl, exchange: str, **limits: float) -> None:
    """Declare a missing exchange (durable, topic) at the hosts of a STOMP URL, with its login and its TLS.

    AMQP is tried at its usual port, or at `?amqp_port=`. ExchangeMissingError if that fails.
    """
    from sourcepulse.brokers.amqp.publisher import declare_exchange

    try:
        with _connected(url, limits) as connection:
            declare_exchange(connection, exchange)
    except BrokerUnavailableError as error:
        raise ExchangeMissingError(
            f"the exchange {exchange!r} is missing, STOMP cannot declare one, and AMQP, which could, fails ({error}); "
            "ask an admin to declare it (durable, topic), or name the port of AMQP with ?amqp_port="
        ) from None
    logger.info("the exchange %r was missing and was declared over AMQP at %s", exchange, url)


def unbind_over_amqp(url: BrokerUrl, exchange: str, queue: str, patterns: Iterable[str], **limits: float) -> None:
    """Remove bindings of a queue, with the hosts, login and TLS of `declare_exchange_over_amqp`.

    A missing binding is not an error. BrokerUnavailableError if the bindings cannot be removed.
    """
    from amqp import exceptions

    with _connected(url, limits) as connection:
        try:
            channel = connection.channel()
            # If the queue does not exist, this is another broker.
            connection.call(channel.queue_declare, queue, passive=True)
            for pattern in patterns:
                connection.call(channel.queue_unbind, queue, exchange, pattern)
        except exceptions.ChannelError as error:
            raise BrokerUnavailableError(f"{connection.host}: {error.reply_text}") from None


@contextmanager
def _connected(url: BrokerUrl, limits: dict[str, float]) -> Iterator[AmqpConnection]:
    # Imported here, because users of STOMP alone do not need AMQP.
    from sourcepulse.brokers.amqp.connection import AmqpConnection

    connection = AmqpConnection(amqp_beside(url), **limits)
    try:
        connection.open()
        yield connection
    finally:
        connection.close()
