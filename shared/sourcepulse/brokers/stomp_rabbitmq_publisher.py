# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to RabbitMQ over STOMP: a sliding window of messages, each with its receipt."""

from __future__ import annotations

from datetime import datetime

from sourcepulse.brokers import Message
from sourcepulse.brokers.stomp_destinations import rabbitmq_key
from sourcepulse.brokers.stomp_publisher import StompPublisher

#: Messages that may be without a receipt at once; more brings nothing, and a lost connection repeats them all.
WINDOW = 500


class StompRabbitmqPublisher(StompPublisher):
    """Publishes to one topic exchange of RabbitMQ over STOMP, see `StompPublisher`.

    The receipt comes when the message is safe in every queue that takes it. Transactions prove nothing here
    (RabbitMQ gives a receipt to a COMMIT whose messages it refused), and a queue that rejects closes the
    connection without a word. The exchange must be there.
    """

    window = WINDOW

    def _write(self, message: Message) -> None:
        self._write_alone(message)

    def _destination(self, message: Message) -> str:
        return rabbitmq_key(self._exchange, message.routing_key)

    def _headers(self, message: Message) -> dict[str, str]:
        # They become the properties that the message would have over AMQP.
        headers = {"persistent": "true", "amqp-message-id": message.id, "type": message.type}
        seconds = int(datetime.fromisoformat(message.time).timestamp())
        # AMQP's timestamp cannot tell a time before 1970, and the event itself does.
        if seconds >= 0:
            headers["timestamp"] = str(seconds)
        return headers
