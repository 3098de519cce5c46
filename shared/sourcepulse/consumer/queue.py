# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The queue of a consumer over all its openings: what it is bound to, and what it may be bound to from before."""

from __future__ import annotations

from sourcepulse.brokers import Subscription, SubscriptionSpec, open_subscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.state import ConsumerState


class Queue:
    """Gives the subscription to open, and remembers the topics of a durable one; every method may raise StateError.

    `stood_before` says that the queue was subscribed to before this process, and so may have lost what came since.
    """

    def __init__(self, url: BrokerUrl, spec: SubscriptionSpec, state: ConsumerState) -> None:
        self.stood_before = False
        self._url = url
        self._spec = spec
        self._state = state
        self._subscription: Subscription | None = None

    def subscription(self) -> Subscription:
        """Give the subscription, the same each time: opened again, it finds its temporary queue if that is there."""
        if self._subscription is None:
            former: tuple[str, ...] = ()
            if self._spec.durable:
                former = self._state.patterns()
                self.stood_before = self._state.was_bound()
                # Whatever happens during the opening, no binding may be forgotten.
                self._state.intend_patterns(self._spec.patterns)
            self._subscription = open_subscription(self._url, self._spec, former_patterns=former)
        return self._subscription

    def opened(self, subscription: Subscription) -> None:
        """Remember what the queue is bound to now that it was opened."""
        if self._spec.durable:
            self._state.settle_patterns(self._spec.patterns, forget_former=subscription.unbinds)
