# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to RabbitMQ over STOMP: a sliding window of messages, each with its receipt."""

from __future__ import annotations

from datetime import datetime

from sourcepulse.brokers import Message
from sourcepulse.brokers.stomp.destinations import RABBITMQ_SLASH, rabbitmq_key
from sourcepulse.brokers.stomp.frames import ErrorFrameError
from sourcepulse.brokers.stomp.publisher import StompPublisher
from sourcepulse.brokers.stomp.rabbitmq_over_amqp import declare_exchange_over_amqp

#: How many messages may wait for a receipt; more is not faster, and a lost connection repeats all of them.
WINDOW = 500


class StompRabbitmqPublisher(StompPublisher):
    """Publishes to one topic exchange of RabbitMQ over STOMP, see `StompPublisher`.

    The receipt comes when the message is safe in every queue that receives it. Transactions prove nothing here
    (RabbitMQ sends a receipt for a COMMIT whose messages it refused), and a queue that rejects a message closes the
    connection without a reason. A missing exchange is declared over AMQP, if that is reachable.
    """

    window = WINDOW
    _made_exchange = False

    def _write(self, message: Message) -> None:
        self._write_alone(message)

    def _make_exchange(self, error: ErrorFrameError) -> None:
        if self._made_exchange:
            super()._make_exchange(error)
        declare_exchange_over_amqp(self._url, self._exchange, **self._limits)
        self._made_exchange = True

    def _unwritable(self, message: Message) -> str | None:
        if RABBITMQ_SLASH in message.routing_key:
            return f"its routing key has {RABBITMQ_SLASH}, which RabbitMQ reads as another one"
        return super()._unwritable(message)

    def _destination(self, message: Message) -> str:
        return rabbitmq_key(self._exchange, message.routing_key)

    def _headers(self, message: Message) -> dict[str, str]:
        # RabbitMQ turns these headers into the properties that the message would have over AMQP.
        headers = {"persistent": "true", "amqp-message-id": message.id, "type": message.type}
        seconds = int(datetime.fromisoformat(message.time).timestamp())
        # AMQP's timestamp cannot express a time before 1970, and the event itself contains it.
        if seconds >= 0:
            headers["timestamp"] = str(seconds)
        return headers
