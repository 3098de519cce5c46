# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keeps one subscription open: opens it, notices a lost connection, and reopens it after a wait."""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import SystemRandom

from sourcepulse.brokers import Subscription, SubscriptionSpec, open_subscription
from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.consumer.order.coverage import Coverage
from sourcepulse.consumer.report import ConsumerReport
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError, ExchangeMissingError

#: The wait between two attempts: the first one, doubled with each failure up to the longest, each shortened at random.
RETRY_FIRST_SECONDS = 0.5
RETRY_MOST_SECONDS = 30.0
JITTER_SHARE = 0.5
log = logging.getLogger("sourcepulse.consumer")


class ReconnectingSubscription:
    """The connection to one queue, reopened as often as needed.

    `generation` counts the connections: a delivery of another generation can no longer be acknowledged.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.subscription: Subscription | None = None
        self.generation = 0
        #: Why the last attempt failed.
        self.failure: BrokerUnavailableError | None = None
        self._clock = clock
        self._failures = 0
        self._next_attempt_at = clock()
        self._random = SystemRandom()

    def due_in(self) -> float:
        """Return the seconds until the next attempt to open, 0 if it may start now."""
        return max(0.0, self._next_attempt_at - self._clock())

    def open(self, subscription: Subscription) -> Subscription | None:
        """Make one attempt to open the subscription; None if it failed and is to be retried after `due_in`.

        The broker's refusal (BrokerRefusedUsError) is raised until an attempt has succeeded; after that it is retried
        like any other failure. A missing exchange is always retried. Other errors are always raised.
        """
        try:
            subscription.open()
        except BrokerUnavailableError as error:
            subscription.abandon()
            if _is_refusal(error) and self.generation == 0:
                raise
            self._back_off(error)
            return None
        except BaseException:
            subscription.abandon()
            raise
        self.subscription = subscription
        self.generation += 1
        return subscription

    def works(self) -> None:
        """Note that the broker answered: the next failure starts with the shortest wait again."""
        self._failures = 0

    def lost(self, error: BrokerUnavailableError) -> None:
        """Abandon the connection; the next attempt starts after a wait."""
        self.drop()
        self._back_off(error)

    def drop(self) -> None:
        """Abandon the connection; the next attempt may start at once."""
        if self.subscription is not None:
            self.subscription.abandon()
            self.subscription = None

    def close(self) -> None:
        if self.subscription is not None:
            self.subscription.close()
            self.subscription = None

    def _back_off(self, error: BrokerUnavailableError) -> None:
        self.failure = error
        slow = _is_refusal(error)
        wait = backoff_seconds(
            self._failures, first=RETRY_MOST_SECONDS if slow else RETRY_FIRST_SECONDS, most=RETRY_MOST_SECONDS
        )
        wait *= 1.0 - JITTER_SHARE * self._random.random()
        self._failures += 1
        self._next_attempt_at = self._clock() + wait
        log.warning("%s; trying again in %.1f s", error, wait)


def _is_refusal(error: BrokerUnavailableError) -> bool:
    # A missing exchange is not a refusal: the relay declares it when it starts.
    return isinstance(error, BrokerRefusedUsError) and not isinstance(error, ExchangeMissingError)


class QueueBindings:
    """Creates the subscription and remembers the topics of a durable queue; every method may raise StateError."""

    def __init__(self, url: BrokerUrl, spec: SubscriptionSpec, state: ConsumerState) -> None:
        #: Whether the queue existed before this process and may therefore have lost messages since.
        self._stood_before = False
        self._url = url
        self._spec = spec
        self._state = state
        self._subscription: Subscription | None = None

    def connect(self, connection: ReconnectingSubscription, report: ConsumerReport) -> None:
        """Make one attempt to subscribe, unless connected; raises what `ReconnectingSubscription.open` raises."""
        if connection.subscription is not None:
            return
        again = connection.generation > 0
        subscription = connection.open(self._prepared())
        if subscription is None:
            return
        if self._spec.durable:
            self._state.settle_patterns(self._spec.patterns, forget_former=subscription.unbinds)
        report.stats.reconnects += again
        log.info("subscribed to %s at %s", ", ".join(self._spec.patterns), self._url)
        for note in () if again else subscription.notes:
            log.info("%s", note)
        if subscription.interrupted and (again or self._stood_before):
            report.interrupted()

    def _prepared(self) -> Subscription:
        """Return the subscription, always the same object, which finds its temporary queue again if it exists."""
        if self._subscription is None:
            former: tuple[str, ...] = ()
            if self._spec.durable:
                former = self._state.patterns()
                if former and not set(self._spec.patterns) <= set(former):
                    # What was published while no topic took it was not lost. (Over STOMP former ones stay listed.)
                    self._state.forget_lanes(Coverage(former).uses)
                self._stood_before = self._state.was_bound()
                # Recorded before opening, so that no binding is forgotten if opening fails halfway.
                self._state.intend_patterns(self._spec.patterns)
            self._subscription = open_subscription(self._url, self._spec, former_patterns=former)
        return self._subscription
