# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What STOMP cannot do at RabbitMQ, done over AMQP if it is reachable: declare an exchange and remove a binding."""

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

    AMQP is tried at its usual port, or at `?amqp_port=`. ExchangeMissingError if that fails.
    """
    from sourcepulse.brokers.amqp.publisher import declare_exchange

    try:
        with _amqp_beside(url, connect_limit_s, call_limit_s) as connection:
            declare_exchange(connection, exchange)
    except BrokerUnavailableError as error:
        raise ExchangeMissingError(
            f"the exchange {exchange!r} is missing, STOMP cannot declare one, and AMQP, which could, fails ({error}); "
            "ask an admin to declare it (durable, topic), or name the port of AMQP with ?amqp_port="
        ) from None
    logger.info("the exchange %r was missing and was declared over AMQP at %s", exchange, url)


def unbind_over_amqp(
    url: BrokerUrl, exchange: str, queue: str, patterns: Iterable[str], *, connect_limit_s: float, call_limit_s: float
) -> None:
    """Remove bindings of a queue, with the hosts, login and TLS of `declare_exchange_over_amqp`.

    A missing binding is not an error. BrokerUnavailableError if the bindings cannot be removed.
    """
    from amqp import exceptions

    with _amqp_beside(url, connect_limit_s, call_limit_s) as connection:
        try:
            channel = connection.channel()
            # If the queue does not exist, this is another broker.
            connection.call(lambda _: channel.queue_declare(queue, passive=True))
            for pattern in patterns:
                connection.call(lambda _, pattern=pattern: channel.queue_unbind(queue, exchange, pattern))  # type: ignore[misc]
        except exceptions.ChannelError as error:
            raise BrokerUnavailableError(f"{connection.host}: {error.reply_text}") from None


@contextmanager
def _amqp_beside(url: BrokerUrl, connect_limit_s: float, call_limit_s: float) -> Iterator[AmqpConnection]:
    # Imported here, because users of STOMP alone do not need AMQP.
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
