# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Listens for signs of life: reads the heartbeats beside the consumer's queue and reports what fell silent."""

from __future__ import annotations

import math
import time
from datetime import datetime

from sourcepulse.brokers import SubscriptionSpec
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.order.coverage import Coverage
from sourcepulse.consumer.order.ordering import Ordering
from sourcepulse.consumer.received_event import Item
from sourcepulse.consumer.reconnect import ReconnectingSubscription
from sourcepulse.consumer.report import ConsumerReport
from sourcepulse.consumer.silence.expected import HEARTBEAT_KEY, HEARTBEAT_SCHEME, HEARTBEAT_TYPE, Wanted
from sourcepulse.consumer.silence.heartbeat import claims
from sourcepulse.consumer.silence.side import HeartbeatConnection
from sourcepulse.consumer.silence.watch import Watch, Way
from sourcepulse.errors import DecodeError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import decode

#: The queue is empty if nothing came for this long although there was room: a broker refills the room at once.
QUIET_SECONDS = 0.5


class Listening:
    """What the receiver of a consumer hears besides events; used by the same thread.

    Heartbeats have a connection of their own if they are wanted and the topics do not bring them, or may bring them to
    another consumer of a shared queue. The numbers in them are claimed in `ordering`, and settled when the queue is
    empty, because a heartbeat may overtake events that wait in the queue.
    """

    def __init__(
        self,
        url: BrokerUrl,
        spec: SubscriptionSpec,
        wanted: Wanted,
        connection: ReconnectingSubscription,
        *,
        coverage: Coverage,
        ordering: Ordering[Item],
        report: ConsumerReport,
    ) -> None:
        self._spec = spec
        self._connection = connection
        self._coverage = coverage
        self._ordering = ordering
        self._report = report
        self._queue = Way()
        self._delivered_at = -math.inf
        #: The connection over which the queue was last served; a consumer that stands by receives nothing.
        self._served = 0
        #: At ActiveMQ each topic has a queue.
        self._is_one_queue = not spec.shared and not url.scheme.endswith("+activemq")
        is_wanted = wanted.heartbeats or any(map(_is_relay, wanted.expect))
        is_apart = is_wanted and (spec.shared or not coverage.takes(HEARTBEAT_KEY))
        self._side = HeartbeatConnection(url, spec.exchange) if is_apart else None
        #: Without either there is nothing to do at each read.
        self._is_active = is_apart or bool(wanted.expect)
        self._watch = Watch(
            {
                source: (seconds, self._side.way if self._side is not None and _is_relay(source) else self._queue)
                for source, seconds in wanted.expect.items()
            }
        )

    @property
    def silent(self) -> tuple[str, ...]:
        """Return the sources that are silent now."""
        return self._watch.silent

    def connect(self) -> None:
        """Subscribe to the heartbeats, if they have a connection of their own."""
        if self._side is not None:
            self._side.connect()

    def begin(self) -> None:
        """Read the heartbeats that have a connection of their own; call it before the queue is read."""
        if not self._is_active:
            return
        self._note()
        self._watch.begin()
        # Only while the queue is bound: the numbers of events that were sent before would look lost.
        for delivery in () if self._side is None else self._side.read(may_open=self._queue.connected):
            try:
                self._heard(decode(delivery.body, routing_key=delivery.routing_key), redelivered=delivery.redelivered)
            except DecodeError as error:
                self._report.bad(error)

    def delivered(self, event: Event, *, redelivered: bool) -> None:
        """Note an event from the queue."""
        self._delivered_at = time.monotonic()
        self._served = self._connection.generation
        if event.type == HEARTBEAT_TYPE and self._is_one_queue:
            # What earlier heartbeats name was before them in this queue, however busy it is.
            self._ordering.settle_claims()
        if self._is_active or event.type == HEARTBEAT_TYPE:
            self._heard(event, redelivered=redelivered)

    def found_empty(self, unsettled: int) -> None:
        """Note that the broker had nothing more, with so many events that are not settled."""
        # With several topics each may have its own share of the prefetch.
        if unsettled and unsettled >= self._spec.prefetch // len(self._spec.patterns):
            return
        self._queue.empty_at = time.monotonic()
        if self._queue.empty_at >= self._delivered_at + QUIET_SECONDS:
            self._ordering.settle_claims()

    def end(self) -> None:
        """Report what fell silent; call it after the queue was read."""
        if not self._is_active:
            return
        self._note()
        for silence in self._watch.fallen_silent():
            self._report.silent(silence)

    def drop(self) -> None:
        """Abandon the connection; never raises."""
        if self._side is not None:
            self._side.drop()

    def close(self) -> None:
        """Close the connection cleanly; it may be opened again."""
        if self._side is not None:
            self._side.close()

    def _heard(self, event: Event, *, redelivered: bool) -> None:
        if event.replayed:
            # It shows that the relay lives, not that the source does.
            return
        if self._watch.expects(event.source):
            sent_at = datetime.fromisoformat(event.time).timestamp()
            ended = self._watch.heard(event.source, sent_at, redelivered=redelivered)
            if ended is not None:
                self._report.heard(ended)
        if event.type != HEARTBEAT_TYPE or self._spec.shared:
            return
        if self._is_served():
            for lane, number in claims(event, self._coverage):
                self._ordering.claim(lane, number)

    def _is_served(self) -> bool:
        """Return whether what is sent comes to this consumer, and not to one that it stands by for."""
        subscription = self._connection.subscription
        return subscription is not None and (self._served == self._connection.generation or subscription.served)

    def _note(self) -> None:
        self._queue.connected = self._connection.subscription is not None
        self._queue.generation = self._connection.generation


def _is_relay(source: str) -> bool:
    return source.startswith(f"{HEARTBEAT_SCHEME}://")
