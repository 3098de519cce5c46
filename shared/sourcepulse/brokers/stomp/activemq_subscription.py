# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Receiving from ActiveMQ over STOMP: temporary subscriptions read topics, durable ones queues of virtual topics."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from sourcepulse.brokers import Delivery, SubscriptionSpec
from sourcepulse.brokers.stomp.destinations import (
    activemq_dead_letters,
    activemq_patterns,
    activemq_queue,
    activemq_routing_key,
    activemq_topics,
    check_activemq_exchange,
)
from sourcepulse.brokers.stomp.frames import ErrorFrameError
from sourcepulse.brokers.stomp.subscription import QUEUE_HEADER, StompSubscription
from sourcepulse.events.topics import check_pattern

#: How often a queue is declared again, because ActiveMQ does not report to consumers that an admin removed it.
RENEW_SECONDS = 45.0
#: A selector that matches no message: a consumer with it receives nothing, but its SUBSCRIBE creates the queue.
_NOTHING = "1=0"

logger = logging.getLogger(__name__)


class StompActivemqSubscription(StompSubscription):
    """One consumer of ActiveMQ over STOMP, see `StompSubscription`.

    A durable subscription has a queue for each pattern; a message that matches two patterns is delivered twice, and
    the consumer drops the repeat. The queues of former patterns are emptied too, because no other client does;
    the consumer discards the messages that it no longer asks for.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._queues: tuple[str, ...] = ()
        self._renew_at = 0.0
        self._renewals = 0
        self._warned_of_renewal = False

    def receive(self, wait_seconds: float) -> Delivery | None:
        """Wait at most `wait_seconds` for one message; meanwhile recreates queues that an admin removed."""
        if self._queues and time.monotonic() >= self._renew_at:
            self._renew()
        return super().receive(wait_seconds)

    @property
    def notes(self) -> Sequence[str]:
        """What ActiveMQ does differently from the request."""
        return _notes(self._spec)

    def _check(self) -> None:
        super()._check()
        check_activemq_exchange(self._spec.exchange)
        for pattern in self._spec.patterns:
            check_pattern(pattern)

    def _subscribe(self) -> None:
        spec = self._spec
        patterns = activemq_patterns(spec.patterns)
        if spec.queue:
            former = tuple(sorted(set(activemq_patterns(self._former_patterns)) - set(patterns)))
            self._warn_of(former, spec.queue)
            destinations = [activemq_queue(spec.exchange, pattern, spec.queue) for pattern in patterns + former]
            headers = {} if spec.shared else {"activemq.exclusive": "true"}
            # The queues of former patterns are not renewed: they may be removed.
            self._queues = tuple(destinations[: len(patterns)])
        else:
            destinations = [activemq_topics(spec.exchange, pattern) for pattern in patterns]
            headers = {"activemq.maximumPendingMessageLimit": str(spec.limits.max_length)}
        headers["activemq.prefetchSize"] = str(max(1, spec.prefetch // len(destinations)))
        for number, destination in enumerate(destinations):
            self._connection.subscribe(number, destination, headers)
        # ActiveMQ does not report whether a queue was removed. A topic stores nothing for an absent subscriber.
        self.interrupted = self._stood and not spec.durable
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def _renew(self) -> None:
        """Recreate removed queues, by a consumer that subscribes with a selector for nothing and unsubscribes.

        ActiveMQ keeps the subscription to a removed queue, and connects it to a queue that is created later.
        """
        self._renew_at = time.monotonic() + RENEW_SECONDS
        for destination in self._queues:
            self._renewals += 1
            number = f"renewal-{self._renewals}"
            try:
                self._connection.subscribe(number, destination, {"selector": _NOTHING})
                self._connection.unsubscribe(number)
                self._warned_of_renewal = False
            except ErrorFrameError as error:
                if not self._warned_of_renewal:
                    logger.warning("cannot check whether %s still exists: %s", destination, error)
                self._warned_of_renewal = True

    def _warn_of(self, former: tuple[str, ...], name: str) -> None:
        if former and not self._stood:
            logger.warning(
                "the queues of former topics still receive messages and are emptied here, which would recreate them if "
                "they were removed; to get rid of %s, use another queue name and ask an admin to remove the old queues",
                ", ".join(activemq_queue(self._spec.exchange, pattern, name) for pattern in former),
            )

    def _routing_key(self, headers: dict[str, str]) -> str | None:
        return activemq_routing_key(self._spec.exchange, headers)

    def _bury(self, delivery: Delivery, headers: dict[str, str]) -> None:
        transaction = self._connection.receipt()
        requests = self._connection.requests
        requests.begin(transaction)
        requests.send(
            activemq_dead_letters(self._spec.queue or ""),
            delivery.body,
            content_type=delivery.content_type or None,
            headers={
                **headers,
                # A subscription has a queue for each pattern; the dead letter can be requeued only to this one.
                QUEUE_HEADER: self._handle_of(delivery).destination,
                "persistent": "true",
                "transaction": transaction,
            },
        )
        self._ack(delivery, transaction)
        self._connection.call(lambda receipt: requests.commit(transaction, receipt=receipt))


def _notes(spec: SubscriptionSpec) -> tuple[str, ...]:
    if not spec.durable:
        return ("ActiveMQ: of the limits of a temporary subscription only max_length is enforced",)
    notes = [
        (
            "ActiveMQ clients cannot limit a queue: max_length and expires_s are not enforced, and a message expires "
            "when its publisher said; ask an admin to set a policy"
        )
    ]
    if spec.shared and len(activemq_patterns(spec.patterns)) > 1:
        notes.append(
            "ActiveMQ: an event that matches two of the topics may go to two of the consumers that share the queue"
        )
    return tuple(notes)
