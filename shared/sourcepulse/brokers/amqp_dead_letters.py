# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What is put aside from a queue of RabbitMQ over AMQP: copied to another queue, confirmed, with the reason."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import amqp
from amqp import exceptions

from sourcepulse.brokers.amqp_connection import PRECONDITION_FAILED
from sourcepulse.brokers.amqp_frames import PERSISTENT
from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.text import reason_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sourcepulse.brokers import Delivery
    from sourcepulse.brokers.amqp_connection import AmqpConnection

#: What was put aside is kept in a queue of this name, bounded as the queue itself.
DEAD_SUFFIX = ".dead"

logger = logging.getLogger(__name__)


def bury(connection: AmqpConnection, name: str, delivery: Delivery, reason: str, arguments: Mapping[str, Any]) -> bool:
    """Copy a message to a queue that is declared with these arguments; False if the broker does not let us.

    BrokerUnavailableError if the broker does not answer, or takes no message for now.
    """
    call = connection.call
    try:
        channel = _declare(connection, name, arguments)
        call(lambda _: channel.confirm_select())
        confirmed: list[int] = []
        nacked: list[int] = []
        channel.events["basic_ack"].add(lambda tag, _multiple: confirmed.append(tag))
        channel.events["basic_nack"].add(lambda tag, _multiple: nacked.append(tag))
        message = amqp.Message(
            delivery.body,
            content_type=delivery.content_type,
            delivery_mode=PERSISTENT,
            application_headers={
                "x-reason": reason_line(reason),
                "x-routing-key": delivery.routing_key,
            },
        )

        def publish(connection: Any) -> None:
            channel._basic_publish(message, "", name)
            while not confirmed and not nacked:
                connection.blocking_read()

        call(publish)
        call(lambda _: channel.close())
    except exceptions.ChannelError as error:
        logger.warning("a message is dropped, for %r cannot be used: %s", name, error.reply_text)
        return False
    if nacked:
        raise BrokerUnavailableError(f"the queue {name!r} takes no message for now")
    return True


def _declare(connection: AmqpConnection, name: str, arguments: Mapping[str, Any]) -> Any:
    channel = connection.channel()
    try:
        connection.call(lambda _: channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments))
    except exceptions.ChannelError as error:
        if error.reply_code != PRECONDITION_FAILED:
            raise
        # It is there, with the limits of an earlier time.
        return connection.channel()
    return channel
