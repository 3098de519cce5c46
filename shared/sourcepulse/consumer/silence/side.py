# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A second, temporary subscription for the heartbeats alone.

They do not go into the queue of the consumer: each relay would leave 20,000 of them in a week without a reader.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

from sourcepulse.brokers import Delivery, QueueLimits, SubscriptionSpec, open_subscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.reconnect import ReconnectingSubscription
from sourcepulse.consumer.silence.expected import HEARTBEAT_KEY
from sourcepulse.consumer.silence.watch import Way
from sourcepulse.errors import BrokerUnavailableError

#: How often it looks for heartbeats.
POLL_SECONDS = 0.25
#: The most heartbeats that are read at a time.
READ_MAX = 200
#: The queue: a relay sends one heartbeat in 30 seconds.
LIMITS = QueueLimits(max_length=1_000, message_ttl_s=3_600, expires_s=60)

log = logging.getLogger("sourcepulse.consumer")


class HeartbeatConnection:
    """The heartbeats of one exchange, over a connection of its own that is reopened as often as needed."""

    def __init__(self, url: BrokerUrl, exchange: str) -> None:
        self.way = Way()
        self._connection = ReconnectingSubscription(time.monotonic)
        spec = SubscriptionSpec(exchange=exchange, patterns=(HEARTBEAT_KEY,), queue=None, durable=False, limits=LIMITS)
        self._subscription = open_subscription(url, spec)
        self._polled_at = -POLL_SECONDS

    def connect(self) -> None:
        """Make one attempt to subscribe, unless connected; raises what `ReconnectingSubscription.open` raises."""
        if self._connection.subscription is None and self._connection.due_in() == 0:
            self._connection.open(self._subscription)
        self._note()

    def read(self, *, may_open: bool) -> Iterator[Delivery]:
        """Yield what came, acknowledged, if it is time to look; a lost connection is reopened if that is allowed."""
        now = time.monotonic()
        if now < self._polled_at + POLL_SECONDS:
            return
        self._polled_at = now
        if may_open:
            self.connect()
        try:
            for _ in range(READ_MAX):
                subscription = self._connection.subscription
                if subscription is None:
                    return
                delivery = subscription.receive(0)
                self._connection.works()
                if delivery is None:
                    self.way.empty_at = time.monotonic()
                    return
                subscription.acknowledge(delivery)
                yield delivery
        except BrokerUnavailableError as error:
            self._connection.lost(error)
            self._note()

    def drop(self) -> None:
        """Abandon the connection; never raises."""
        self._connection.drop()
        self._note()

    def close(self) -> None:
        """Close the connection cleanly; it may be opened again."""
        self._connection.close()
        self._note()

    def _note(self) -> None:
        self.way.connected = self._connection.subscription is not None
        self.way.generation = self._connection.generation
