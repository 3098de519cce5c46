# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The path from a broker to the handlers: decode, filter, drop repeats, put in order, acknowledge."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sourcepulse.brokers import Delivery, Subscription, SubscriptionSpec
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.attempts import Attempts
from sourcepulse.consumer.memory.batch import BATCH_EVENTS, Batch
from sourcepulse.consumer.memory.event_name import name_of
from sourcepulse.consumer.memory.in_progress import InProgress
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.consumer.order.coverage import Coverage
from sourcepulse.consumer.order.ordering import HOLD_EVENTS, Ordering
from sourcepulse.consumer.order.patience import Patience
from sourcepulse.consumer.received_event import PULLED, Item
from sourcepulse.consumer.reconnect import QueueBindings, ReconnectingSubscription
from sourcepulse.consumer.replay import Pulls
from sourcepulse.consumer.report import ConsumerReport
from sourcepulse.consumer.silence.expected import Wanted
from sourcepulse.consumer.silence.listening import Listening
from sourcepulse.errors import BrokerUnavailableError, DecodeError, StateError
from sourcepulse.events.safe_text import reason_line, short
from sourcepulse.events.wire import decode
from sourcepulse.gaps import Gap, Reset, WentBack

#: The last wait for a missing event before it is given up.
LAST_LOOK_SECONDS = 0.05

#: How often the connection is served during a replay.
KEEP_ALIVE_SECONDS = 1.0

log = logging.getLogger("sourcepulse.consumer")


class Receiver:
    """One subscription with its memory, used by one thread at a time.

    `step` reads deliveries and `take` returns the items that are ready; each of them is acknowledged, rejected or
    given back. Unsettled events are redelivered after a reconnect, except those in progress. An id is recorded before
    its event is acknowledged: `finish`, one of the next calls of `step`, or `flush` does both, for one event or a
    batch. Set `stopping` (from any thread or signal handler) to make the callers of `take` stop.
    """

    def __init__(
        self,
        url: BrokerUrl,
        spec: SubscriptionSpec,
        wanted: Wanted,
        *,
        state: str | Path,
        report: ConsumerReport,
        hold_seconds: float,
    ) -> None:
        self.stopping = False
        self.report = report
        self._url = url
        self._spec = spec
        self._coverage = Coverage(spec.patterns)
        self._state = ConsumerState(state)
        self._stats = report.stats
        # At most half of the prefetch may wait, so that the broker keeps sending meanwhile.
        half = max(1, spec.prefetch // 2)
        self._ordering: Ordering[Item] = Ordering(
            self._state, time.monotonic, hold_seconds=hold_seconds, hold_events=min(HOLD_EVENTS, half)
        )
        self._connection = ReconnectingSubscription(time.monotonic)
        self.listening = Listening(
            url, spec, wanted, self._connection, coverage=self._coverage, ordering=self._ordering, report=report
        )
        self._bindings = QueueBindings(url, spec, self._state)
        self._progress = InProgress(self._state)
        self._attempts = Attempts(self._state, spec.limits.max_deliveries)
        self.pulls = Pulls(self._progress, self._coverage.takes, spec.exchange, are_ready=not self._attempts.counts_all)
        self._batch = Batch(time.monotonic, 1 if self._attempts.counts_all else min(BATCH_EVENTS, half))
        self._patience = Patience(spec.prefetch)
        self._stepped_at = 0.0
        #: What came while older events are pulled.
        self._aside: list[Delivery] = []

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The known event types for which the topics cannot reveal a lost event."""
        return self._coverage.taken() if self._spec.shared else self._coverage.unchecked()

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._connection.subscription is not None

    @property
    def full(self) -> bool:
        """Whether the broker sends nothing more before an event is settled."""
        return len(self._progress) >= self._spec.prefetch

    def connect(self) -> None:
        """Make one attempt to subscribe, unless connected; raises what `ReconnectingSubscription.open` raises."""
        self._bindings.connect(self._connection, self.report)
        if self.connected:
            self.listening.connect()

    def check_was_reached(self) -> None:
        """Raise BrokerUnavailableError if no attempt to subscribe ever succeeded."""
        if self._connection.generation == 0:
            reason = f": {self._connection.failure}" if self._connection.failure is not None else ""
            raise BrokerUnavailableError(f"the broker {self._url} was never reached{reason}")

    def step(self, wait_seconds: float) -> bool:
        """Read one delivery, waiting at most `wait_seconds`, and return whether one came; reopens a lost connection."""
        self._stepped_at = time.monotonic()
        self.listening.begin()
        came = self._read(wait_seconds)
        self.listening.end()
        return came

    def _read(self, wait_seconds: float) -> bool:
        subscription = self._connection.subscription
        if subscription is None:
            retry_in = self._connection.due_in()
            if retry_in > 0:
                time.sleep(min(wait_seconds, retry_in))
            else:
                self.connect()
            return False
        due_in = self._ordering.due_in()
        wait = wait_seconds if due_in is None else min(wait_seconds, max(due_in, LAST_LOOK_SECONDS))
        try:
            if self._batch:
                # Finished items are delayed by no more than a rush allows, and not if the broker waits for them.
                wait = 0.0 if self.full else min(wait, self._batch.due_in())
            delivery = subscription.receive(wait)
            self._connection.works()
            self._aside += [] if delivery is None else [delivery]
            while self._aside and not self.pulls.hold_back:
                self._take_in(subscription, self._aside.pop(0))
            if delivery is None:
                self.listening.found_empty(len(self._progress) + len(self._aside))
        except BrokerUnavailableError as error:
            self._lost(error)
            return False
        if delivery is None or self._batch.due:
            self.flush()
        self._patience.read(self._ordering, came=delivery is not None, full=self.full)
        return delivery is not None

    def take(self) -> Item | None:
        """Return the next item in order, None if nothing is ready; reports the gaps and resets before it."""
        while True:
            if self.pulls:
                if time.monotonic() >= self._stepped_at + KEEP_ALIVE_SECONDS:
                    # A long replay must not cost the connection.
                    self.step(0.0)
                if (item := self.pulls.next(self.flush)) is not None:
                    return item
            step = self._ordering.take()
            if self._ordering.passed:
                # What was reported missing is not reported again by the next process.
                self._state.record([(None, *passed) for passed in self._ordering.passed])
                self._ordering.passed.clear()
            match step:
                case None:
                    return None
                case Gap():
                    self.report.gap(step)
                case Reset():
                    self.report.reset(step)
                case WentBack():
                    self.report.went_back(step)
                case Item() if step.refused:
                    self._state.record([(None, step.lane, step.number)])
                case Item():
                    self._progress.hand_out(step)
                    return step

    def make_ready(self, item: Item) -> bool:
        """Count that an item is about to be handed over; False if it was too often, and the item is buried."""
        # Otherwise those before it would be handed over, and counted, again if it kills the process.
        self.flush()
        item.ready = self._attempts.count(item.name)
        if not item.ready:
            self.reject(item, f"delivered {self._spec.limits.max_deliveries} times and never acknowledged")
        return item.ready

    def acknowledge(self, item: Item) -> None:
        """Record and acknowledge an item at once."""
        self._batch.add(item)
        self.flush()

    def finish(self, item: Item) -> None:
        """Record and acknowledge an item soon, together with others if many are handled in quick succession."""
        self._batch.add(item)
        if self._batch.due or self.full:
            self.flush()

    def flush(self) -> None:
        """Record and acknowledge the finished items."""
        if not self._batch:
            return
        try:
            done = self._record_finished()
            subscription = self._connection.subscription
            # An item of an older connection is redelivered, and is then recognised by its id.
            known = [item.delivery for item in done if item.generation == self._connection.generation]
            if subscription is not None and known:
                subscription.acknowledge_all(known)
        except BrokerUnavailableError as error:
            self._lost(error)
        except BaseException:  # Ctrl-C may have interrupted a write halfway.
            self.drop()
            raise

    def reject(self, item: Item, reason: str) -> None:
        """Move an item to the dead letters, if the broker keeps any; its id is not recorded."""
        self._stats.rejected += 1
        log.warning("event %s is moved to the dead letters: %s", short(item.event.id), reason_line(reason))
        self.flush()
        try:
            self._state.record([(None, item.lane, item.number)])
            subscription = self._connection.subscription
            if subscription is not None and item.generation == self._connection.generation:
                subscription.reject(item.delivery, reason)
                self._state.forget_attempts(item.name)
        except BrokerUnavailableError as error:
            self._progress.settle(item)
            self._lost(error)
        except BaseException:
            self.drop()
            raise
        else:
            self._progress.settle(item)

    def give_back(self, items: Iterable[Item]) -> None:
        """Forget that these items were taken; they are redelivered over the next connection."""
        for item in sorted(items, key=lambda each: each.number, reverse=True):
            self._progress.settle(item)
            if item.generation == PULLED:
                self.pulls.give_back(item)
            if item.lane is not None:
                self._ordering.untake(item.lane, item.number)

    def drop(self) -> None:
        """Abandon the connection: all unsettled items are redelivered, including those in progress."""
        # Finished items that cannot be recorded are redelivered too; the reason is raised elsewhere.
        with suppress(StateError):
            self._record_finished()
        self._connection.drop()
        self.listening.drop()
        self._forget_all()

    def leave(self) -> None:
        """Close the connection cleanly; the next subscriber receives everything that is not settled."""
        try:
            self.flush()
        finally:
            self._connection.close()
            self.listening.close()
            self._forget_all()

    def close(self) -> None:
        """Leave and close the memory; may be called more than once."""
        try:
            self.leave()
        finally:
            self.pulls.close()
            self._state.close()

    def _take_in(self, subscription: Subscription, delivery: Delivery) -> None:
        if delivery.defect:
            text = f"the message is not an event of sourcepulse: {delivery.defect}"
            self._refuse(subscription, delivery, DecodeError(text, delivery.body))
            return
        if not self._coverage.takes(delivery.routing_key):
            self._stats.filtered += 1
            subscription.acknowledge(delivery)
            return
        try:
            event = decode(delivery.body, routing_key=delivery.routing_key)
        except DecodeError as error:
            self._refuse(subscription, delivery, error)
            return
        self.listening.delivered(event, redelivered=delivery.redelivered)
        name = name_of(event, delivery.body, delivery.content_type)
        lane, number = (None, 0) if self._spec.shared else self._coverage.lane(event)
        item = Item(
            event=event,
            name=name,
            delivery=delivery,
            generation=self._connection.generation,
            lane=lane,
            number=number,
            ready=not (delivery.redelivered or self._attempts.counts_all),
        )
        try:
            if (repeated := self._progress.repeats(name, event, delivery.body)) is not None:
                self._drop_repeat(subscription, delivery, repeated)
                return
            self._progress.add(name)
        except DecodeError as error:
            self._refuse(subscription, delivery, error)
            if lane is None:
                return
            item.refused = True
        self._ordering.offer(item, lane, number)
        self._stats.late = self._ordering.late

    def _refuse(self, subscription: Subscription, delivery: Delivery, error: DecodeError) -> None:
        self.report.bad(error)
        subscription.reject(delivery, str(error))

    def _drop_repeat(self, subscription: Subscription, delivery: Delivery, name: str) -> None:
        self._stats.repeats += 1
        at_work = self._progress.handed_out(name)
        if at_work is not None and at_work.generation != self._connection.generation:
            # The first delivery's connection was lost. If this one were acknowledged now, the event would be lost if
            # the process died.
            at_work.delivery, at_work.generation = delivery, self._connection.generation
        else:
            subscription.acknowledge(delivery)

    def _record_finished(self) -> list[Item]:
        items = self._batch.items()
        if items:
            self._state.record([(item.name, item.lane, item.number) for item in items])
            self._batch.clear()
            for item in items:
                self._progress.settle(item)
        return items

    def _lost(self, error: BrokerUnavailableError) -> None:
        self._connection.lost(error)
        # Otherwise the finished items would be handled again.
        self._record_finished()
        self._forget_untaken()

    def _forget_untaken(self) -> None:
        self._aside.clear()
        self._ordering.forget_untaken()
        self._progress.forget_waiting()

    def _forget_all(self) -> None:
        self._batch.clear()
        self.give_back(self._progress.all_handed_out())
        self._forget_untaken()
