# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Checks whether a broker accepts our events without publishing any: one is sent and its transaction rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.brokers.exchange_names import check_place
from sourcepulse.errors import BrokerBlockedError, BrokerRefusedUsError, BrokerUnavailableError, ExchangeMissingError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

_BODY = b"taken back"
_TRANSACTION = "probe"


def probe(url: BrokerUrl, exchange: str, key: str) -> str:
    """Log in, check the exchange and the right to publish with this routing key, and return what was found.

    A missing AMQP exchange is declared, as the relay does. ConfigError and BrokerError describe what is wrong.
    """
    check_place(url, exchange)
    if url.scheme == "file":
        return _probe_log(url)
    if url.scheme.endswith("+rabbitmq"):
        return _probe_rabbitmq_over_stomp(url, exchange, key)
    if url.scheme.endswith("+activemq"):
        return _probe_activemq(url, exchange, key)
    return _probe_amqp(url, exchange, key)


def _probe_log(url: BrokerUrl) -> str:
    from sourcepulse.brokers.file.tables import LogFile, check_log_place

    path = Path(url.path)
    if not path.exists():
        check_log_place(path)
        return "the log does not exist yet: the first event creates it"
    log = LogFile(path, create=False)
    try:
        with log.write(durable=False):
            pass
    finally:
        log.close()
    return "the log can be written to"


def _probe_amqp(url: BrokerUrl, exchange: str, key: str) -> str:
    import amqp
    from amqp import exceptions

    from sourcepulse.brokers.amqp.connection import AmqpConnection, describe
    from sourcepulse.brokers.amqp.publisher import declare_exchange

    connection = AmqpConnection(url)
    try:
        connection.open()
        declare_exchange(connection, exchange)
        channel = connection.channel()
        try:
            connection.call(channel.tx_select)
            connection.call(channel._basic_publish, amqp.Message(_BODY), exchange, key)
            connection.call(channel.tx_rollback)
        except exceptions.ChannelError as error:
            raise describe(error, connection.host, url.vhost) from None
        if connection.blocked:
            raise BrokerBlockedError(f"{connection.host} blocks publishers: memory or disk alarm")
        return f"{connection.host} lets us publish to the exchange {exchange!r}"
    finally:
        connection.close()


def _probe_rabbitmq_over_stomp(url: BrokerUrl, exchange: str, key: str) -> str:
    from sourcepulse.brokers.network.rabbitmq import amqp_beside
    from sourcepulse.brokers.stomp.connection import StompConnection

    connection = StompConnection(url)
    try:
        connection.open()
        host = connection.host
    finally:
        connection.close()
    try:
        # Over STOMP, RabbitMQ checks the content of a transaction only when it is committed.
        found = _probe_amqp(amqp_beside(url), exchange, key)
    except (BrokerRefusedUsError, ExchangeMissingError):
        raise
    except BrokerUnavailableError as error:
        return (
            f"{host} accepts our login; whether we may publish to {exchange!r} cannot be checked over STOMP, and AMQP "
            f"is not available ({error})"
        )
    return f"{host} accepts our login, and {found}"


def _probe_activemq(url: BrokerUrl, exchange: str, key: str) -> str:
    from sourcepulse.brokers.stomp.connection import StompConnection
    from sourcepulse.brokers.stomp.destinations import activemq_topic
    from sourcepulse.brokers.stomp.frames import ErrorFrameError

    connection = StompConnection(url)
    try:
        connection.open()
        requests = connection.requests
        requests.begin(_TRANSACTION)
        try:
            connection.call(
                lambda receipt: requests.send(
                    activemq_topic(exchange, key), _BODY, headers={"transaction": _TRANSACTION, "receipt": receipt}
                )
            )
            connection.call(lambda receipt: requests.abort(_TRANSACTION, receipt=receipt))
        except ErrorFrameError as error:
            raise BrokerRefusedUsError(f"{connection.host} refuses us: {error}") from None
        return f"{connection.host} lets us publish to the exchange {exchange!r}"
    finally:
        connection.close()
