# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An exchange for STOMP at RabbitMQ: STOMP can use one but not declare it, so that this is done over AMQP."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from sourcepulse.brokers.url import SCHEMES
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

logger = logging.getLogger(__name__)


def declare_exchange_over_amqp(url: BrokerUrl, exchange: str, *, connect_limit_s: float, call_limit_s: float) -> None:
    """Declare a missing exchange (durable, topic) at the hosts of a STOMP URL, with its login and its TLS.

    AMQP is looked for at its usual port, or at `?amqp_port=`. BrokerRefusedUsError if it cannot be done so.
    """
    # Only here, for who has STOMP alone needs none of it.
    from sourcepulse.brokers.amqp_connection import AmqpConnection
    from sourcepulse.brokers.amqp_publisher import declare_exchange

    scheme = "amqps" if url.tls else "amqp"
    port = int(url.option("amqp_port") or SCHEMES[scheme])
    amqp_url = replace(url, scheme=scheme, hosts=tuple((host, port) for host, _ in url.hosts))
    connection = AmqpConnection(amqp_url, connect_limit_s=connect_limit_s, call_limit_s=call_limit_s)
    try:
        connection.open()
        declare_exchange(connection, exchange)
    except BrokerUnavailableError as error:
        raise BrokerRefusedUsError(
            f"the exchange {exchange!r} is missing, STOMP cannot make one, and AMQP, which could, fails ({error}); "
            "have an admin declare it (durable, topic), or name the port of AMQP by ?amqp_port="
        ) from None
    finally:
        connection.close()
    logger.info("the exchange %r was missing and is declared over AMQP at %s", exchange, amqp_url)
