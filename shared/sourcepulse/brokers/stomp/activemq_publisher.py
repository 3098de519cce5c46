# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishing to ActiveMQ over STOMP: a transaction for each batch, with a receipt for its COMMIT."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from sourcepulse.brokers import Message
from sourcepulse.brokers.stomp.destinations import activemq_topic, check_activemq_exchange, is_activemq_name
from sourcepulse.brokers.stomp.publisher import StompPublisher

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: How many messages one transaction holds; a receipt for each message would cost a disk write each.
BATCH_MESSAGES = 100
#: One batch that is being committed and one that is written meanwhile.
WINDOW = 2 * BATCH_MESSAGES
#: ActiveMQ's clients cannot limit a queue, so a message that no consumer fetches is dropped after this time.
EXPIRES_SECONDS = 7 * 86_400
#: If an event is this far in the future, our clock is slow.
CLOCK_DOUBT_SECONDS = 86_400


class StompActivemqPublisher(StompPublisher):
    """Publishes to the virtual topics of ActiveMQ over STOMP, see `StompPublisher`.

    A batch is stored completely or not at all, and the next one is committed only after it, so a failure leaves no
    hole in the order.
    """

    window = WINDOW

    def __init__(self, url: BrokerUrl, *, exchange: str, **limits: float) -> None:
        #: The messages written in the open transaction.
        self._batch: list[Message] = []
        #: The number of transactions so far.
        self._begun = 0
        super().__init__(url, exchange=check_activemq_exchange(exchange), **limits)

    def _write(self, message: Message) -> None:
        if not self._batch:
            self._begun += 1
            self._connection.requests.begin(self._transaction())
        self._batch.append(message)
        self._request(message, {"transaction": self._transaction()})
        if len(self._batch) >= BATCH_MESSAGES:
            self._commit()

    def _proceed(self) -> None:
        super()._proceed()
        self._commit()

    def _commit(self) -> None:
        if self._batch and not self._unsettled:
            batch, self._batch = self._batch, []
            self._expect(batch, receipt := self._connection.receipt())
            self._connection.requests.commit(self._transaction(), receipt=receipt)

    def _destination(self, message: Message) -> str:
        return activemq_topic(self._exchange, message.routing_key)

    def _headers(self, message: Message) -> dict[str, str]:
        # In a consumer's queue the topic is no longer visible; ActiveMQ sets message-id and timestamp itself.
        headers = {
            "persistent": "true",
            "event-id": message.id,
            "event-time": str(int(datetime.fromisoformat(message.time).timestamp())),
            "type": message.type,
            "routing-key": message.routing_key,
        }
        now = time.time()
        # With a clock that is days slow, the broker would drop the event at once; then only its own policy limits it.
        if datetime.fromisoformat(message.time).timestamp() < now + CLOCK_DOUBT_SECONDS:
            headers["expires"] = str(int((now + EXPIRES_SECONDS) * 1000))
        return headers

    def _unwritable(self, message: Message) -> str | None:
        if not is_activemq_name(message.routing_key):
            # A ',' would send the message to two topics, a '*' or '>' to none.
            return "its routing key has characters other than letters, digits, '.', '-' and '_'"
        return super()._unwritable(message)

    def _transaction(self) -> str:
        return f"t{self._begun}"

    def _sent(self) -> list[Message]:
        return super()._sent() + self._batch

    def _forget_sent(self) -> None:
        super()._forget_sent()
        self._batch = []

    def _is_busy(self) -> bool:
        return bool(self._batch) or super()._is_busy()
