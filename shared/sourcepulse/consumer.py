# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Subscribe: `for event in Consumer(url, topics=["hg.push.#"], queue="me", durable=True): ...`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sourcepulse.brokers import (
    DEFAULT_EXCHANGE,
    TEMPORARY_LIMITS,
    Delivery,
    QueueLimits,
    Subscription,
    SubscriptionSpec,
    open_subscription,
)
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer_link import Link
from sourcepulse.consumer_report import ConsumerReport, ConsumerStats
from sourcepulse.consumer_state import MEMORY, ConsumerState, default_path
from sourcepulse.coverage import Coverage
from sourcepulse.errors import BrokerUnavailableError, ConfigError, DecodeError
from sourcepulse.event import Event
from sourcepulse.gaps import HOLD_EVENTS, HOLD_SECONDS, Gap, Lane, Ordering, Reset
from sourcepulse.serialize import decode
from sourcepulse.topics import check_pattern

#: No wait inside lasts longer, so that `stop` is noticed.
SLICE_SECONDS = 0.2
#: The last look for what is missing, before it is given up.
LAST_LOOK_SECONDS = 0.05
#: How often `run` gives an event to a callback that fails, and the first wait between, doubled each time.
CALLBACK_ATTEMPTS = 5
CALLBACK_RETRY_SECONDS = 1.0

log = logging.getLogger("sourcepulse.consumer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    event: Event
    delivery: Delivery
    generation: int
    lane: Lane | None
    number: int


class Consumer:
    """One subscription to one broker; iterate over it, or call `receive` and `acknowledge`, or `run`.

    An event is acknowledged when the next one is asked for. Leaving the loop by `break` or an exception
    leaves it unacknowledged: it is the first event of this object's next loop, or comes again to the next
    process. A lost connection is opened again for as long as it takes.

    A repeat is recognised by its id among the last 100,000 handled and dropped; for a durable queue they are
    kept in a file. An id is recorded before its event is acknowledged, so that an event whose connection died
    while it was handled is not handled twice. An event replayed on request is dropped by consumers that
    handled it, and reaches those that lost it.

    Order and gaps are checked by the numbers in the events where the topics take whole sources or whole
    types; `unchecked` names the types of which they take a part only.

    Not for use by several threads at once, `stop` excepted.
    """

    def __init__(
        self,
        url: str | BrokerUrl,
        topics: Sequence[str] = ("#",),
        queue: str | None = None,
        *,
        durable: bool = False,
        shared: bool = False,
        exchange: str = DEFAULT_EXCHANGE,
        from_start: bool = False,
        prefetch: int = 100,
        limits: QueueLimits | None = None,
        timeout: float | None = None,
        state: str | Path | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        on_reset: Callable[[Reset], object] | None = None,
        on_bad: Callable[[DecodeError], object] | None = None,
        on_interrupted: Callable[[], object] | None = None,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        """Check the request; the broker is asked when the first event is, or by `open` or `with`.

        A `durable` queue has a name and outlives its consumers; without it there is a queue as long as the
        consumer stands. `shared` lets several consumers split a durable queue, at the price of order and gap
        checks. `from_start` asks for what is stored already, where the broker has any. `limits` bound what the
        queue may hold. `timeout` ends a loop after so many seconds of silence. `state` names the file that
        remembers for a durable queue, or is ":memory:". The callbacks are called from inside the wait for the
        next event; without them gaps, resets and bad messages are logged. ConfigError, or StateError if the
        state cannot be used.
        """
        self.url = BrokerUrl.parse(url) if isinstance(url, str) else url
        self.topics = (topics,) if isinstance(topics, str) else tuple(topics)
        _check(self.topics, queue, durable=durable, shared=shared, prefetch=prefetch)
        self.stats = ConsumerStats()
        self._spec = SubscriptionSpec(
            exchange=exchange,
            patterns=self.topics,
            queue=queue,
            durable=durable,
            shared=shared,
            # One that waits for its turn must leave room for the one before it.
            prefetch=prefetch if shared else max(2, prefetch),
            from_start=from_start,
            limits=limits or (QueueLimits() if durable else TEMPORARY_LIMITS),
        )
        self._timeout = timeout
        self._report = ConsumerReport(
            stats=self.stats, on_gap=on_gap, on_reset=on_reset, on_bad=on_bad, on_interrupted=on_interrupted
        )
        self._coverage = Coverage(self.topics)
        #: The known event types of which a lost event would leave no trace with these topics.
        self.unchecked = self._coverage.taken() if shared else self._coverage.unchecked()
        self._state = ConsumerState(self._state_path(state))
        self._ordering: Ordering[_Item] = Ordering(
            self._state,
            time.monotonic,
            hold_seconds=hold_seconds,
            hold_events=min(HOLD_EVENTS, max(1, prefetch // 2)),
        )
        self._link = Link(time.monotonic)
        self._subscription: Subscription | None = None
        self._stood_before = False
        self._current: _Item | None = None
        self._in_flight: set[str] = set()
        self._overdue_reads = 0
        self._stopping = False
        self._tell_unchecked()

    @property
    def connected(self) -> bool:
        """Whether a connection stands, as far as is known."""
        return self._link.subscription is not None

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping

    def open(self) -> None:
        """Subscribe now, in one attempt; a broker that is not there is tried again when events are asked for.

        BrokerRefusedUsError or SubscriptionError if the broker does not want us or cannot give what is asked.
        """
        if self._link.subscription is None:
            self._connect()

    def close(self) -> None:
        """Leave politely; an event that is not acknowledged comes again. May be called again."""
        self._link.close()
        self._forget_untaken()
        self._current = None
        self._state.close()

    def stop(self) -> None:
        """Have the loop end before the next event; may be called from a signal handler or another thread."""
        self._stopping = True

    def __enter__(self) -> Self:
        """Subscribe, as `open` does."""
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __del__(self) -> None:
        """Leave the queue to others at once: `for event in Consumer(...)` names nothing that could be closed."""
        link = getattr(self, "_link", None)
        if link is not None:
            link.drop()

    def __iter__(self) -> Iterator[Event]:
        """Give event after event, each acknowledged when the next is asked for."""
        while (event := self.receive(self._timeout)) is not None:
            yield event
            self.acknowledge()

    def receive(self, timeout: float | None = None) -> Event | None:
        """Give the next event, the same one until it is acknowledged; None after `timeout` seconds of silence.

        None also when `stop` was called. BrokerError if the broker fails in a way that no retry can heal.
        """
        if self._current is not None:
            return None if self._stopping else self._current.event
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            return self._next(deadline)
        except BaseException:
            # Ctrl-C may have come between the broker's hand and ours: have everything delivered again.
            self._link.drop()
            self._forget_untaken()
            raise

    def acknowledge(self) -> None:
        """Be done with the event that `receive` gave; without one nothing happens."""
        item = self._current
        if item is None:
            return
        self._state.record(item.event.id, item.lane, item.number)
        self._finish(item, lambda subscription: subscription.acknowledge(item.delivery))

    def reject(self, reason: str) -> None:
        """Put the event that `receive` gave aside, to the dead letters where the broker has any.

        Its id is not recorded: replayed, it comes again.
        """
        item = self._current
        if item is None:
            return
        self._state.record(None, item.lane, item.number)
        self.stats.rejected += 1
        log.warning("event %s is put aside: %s", item.event.id, reason)
        self._finish(item, lambda subscription: subscription.reject(item.delivery, reason))

    def run(
        self,
        callback: Callable[[Event], object],
        *,
        attempts: int = CALLBACK_ATTEMPTS,
        retry_seconds: float = CALLBACK_RETRY_SECONDS,
    ) -> None:
        """Call back with every event and acknowledge it when the callback returns.

        An event whose callback raises an Exception is tried again in its place, after a growing wait, and put
        aside after so many `attempts`. Ends after the `timeout` of the consumer in silence, by `stop`, and on
        SIGTERM if this is the main thread: then the event at work is finished first.
        """
        from sourcepulse.consumer_run import run

        run(self, callback, timeout=self._timeout, attempts=attempts, retry_seconds=retry_seconds)

    def _next(self, deadline: float | None) -> Event | None:
        while not self._stopping:
            step = self._ordering.take()
            match step:
                case None:
                    if deadline is not None and time.monotonic() >= deadline:
                        return None
                    self._fill(deadline)
                case Gap():
                    self._report.gap(step)
                case Reset():
                    self._report.reset(step)
                case _Item():
                    self._current = step
                    if self._was_tried_enough(step):
                        continue
                    self.stats.received += 1
                    return step.event
        return None

    def _fill(self, deadline: float | None) -> None:
        """Take in one delivery, or let some time pass."""
        left = SLICE_SECONDS if deadline is None else max(0.0, min(SLICE_SECONDS, deadline - time.monotonic()))
        subscription = self._link.subscription
        if subscription is None:
            retry_in = self._link.due_in()
            if retry_in > 0:
                time.sleep(min(left, retry_in))
            else:
                self._connect()
            return
        due_in = self._ordering.due_in()
        wait = left if due_in is None else min(left, max(due_in, LAST_LOOK_SECONDS))
        try:
            delivery = subscription.receive(wait)
            self._link.works()
            if delivery is not None:
                self._take_in(subscription, delivery)
        except BrokerUnavailableError as error:
            self._lost(error)
            return
        self._give_up_what_is_overdue(delivery)

    def _give_up_what_is_overdue(self, delivery: Delivery | None) -> None:
        # After a slow handler what seems missing may wait in the connection: only when the broker had
        # nothing more, or much else, is it given up.
        if self._ordering.due_in() != 0.0:
            self._overdue_reads = 0
            return
        self._overdue_reads += 1
        if delivery is None or self._overdue_reads > self._spec.prefetch:
            self._ordering.give_up()
            self._overdue_reads = 0

    def _take_in(self, subscription: Subscription, delivery: Delivery) -> None:
        if not self._coverage.takes(delivery.routing_key):
            self.stats.filtered += 1
            subscription.acknowledge(delivery)
            return
        try:
            event = decode(delivery.body, routing_key=delivery.routing_key)
        except DecodeError as error:
            self._report.bad(error)
            subscription.reject(delivery, str(error))
            return
        if event.id in self._in_flight or self._state.is_handled(event.id):
            self.stats.repeats += 1
            subscription.acknowledge(delivery)
            return
        lane, number = (None, 0) if self._spec.shared else self._coverage.lane(event)
        self._in_flight.add(event.id)
        self._ordering.offer(
            _Item(event=event, delivery=delivery, generation=self._link.generation, lane=lane, number=number),
            lane,
            number,
        )
        self.stats.late = self._ordering.late

    def _was_tried_enough(self, item: _Item) -> bool:
        # An event that kills its consumer must not do so for ever; not every broker counts deliveries.
        limit = self._spec.limits.max_deliveries
        if not item.delivery.redelivered or self._state.count_attempt(item.event.id) <= limit:
            return False
        self.reject(f"delivered more than {limit} times and never acknowledged")
        return True

    def _finish(self, item: _Item, tell: Callable[[Subscription], None]) -> None:
        self._current = None
        self._in_flight.discard(item.event.id)
        subscription = self._link.subscription
        if subscription is None or item.generation != self._link.generation:
            # It comes again, and is known by its id then.
            return
        try:
            tell(subscription)
        except BrokerUnavailableError as error:
            self._lost(error)

    def _connect(self) -> None:
        again = self._link.generation > 0
        subscription = self._link.open(self._the_subscription())
        if subscription is None:
            return
        if self._spec.durable:
            self._state.settle_patterns(self.topics)
        self.stats.reconnects += again
        log.info("subscribed to %s at %s", ", ".join(self.topics), self.url)
        if subscription.interrupted and (again or self._stood_before):
            self._report.interrupted()

    def _the_subscription(self) -> Subscription:
        # Opened again, a subscription finds its temporary queue if the broker still has it.
        if self._subscription is None:
            former: tuple[str, ...] = ()
            if self._spec.durable:
                former = self._state.patterns()
                self._stood_before = self._state.was_bound()
                # Whatever happens during the opening, no binding may be forgotten.
                self._state.intend_patterns(self.topics)
            self._subscription = open_subscription(self.url, self._spec, former_patterns=former)
        return self._subscription

    def _lost(self, error: BrokerUnavailableError) -> None:
        self._link.lost(error)
        self._forget_untaken()

    def _forget_untaken(self) -> None:
        self._ordering.forget_untaken()
        self._in_flight.clear()
        if self._current is not None:
            self._in_flight.add(self._current.event.id)

    def _state_path(self, state: str | Path | None) -> Path | str:
        if not self._spec.durable or self._spec.queue is None:
            return MEMORY
        if state is not None:
            return state
        hosts = ",".join(f"{host}:{port}" for host, port in self.url.hosts)
        place = self.url.path or f"{hosts}/{self.url.vhost}"
        return default_path(f"{place}\n{self._spec.exchange}", self._spec.queue)

    def _tell_unchecked(self) -> None:
        if self._spec.shared:
            log.info("the queue is shared: order and gaps are not checked")
        elif self.unchecked:
            log.info(
                "the topics take a part only of %s: a lost event of these leaves no trace",
                ", ".join(self.unchecked),
            )


def _check(topics: Sequence[str], queue: str | None, *, durable: bool, shared: bool, prefetch: int) -> None:
    if not topics:
        raise ConfigError("a consumer needs at least one topic, such as 'hg.push.#'")
    for topic in topics:
        check_pattern(topic)
    if durable and not queue:
        raise ConfigError("a durable subscription needs a name: pass queue=")
    if queue and not durable:
        raise ConfigError(f"the queue {queue!r} would not outlive its consumer: pass durable=True, or no queue")
    if shared and not durable:
        raise ConfigError("only a durable queue can be shared: pass queue= and durable=True")
    if prefetch < 1:
        raise ConfigError("prefetch is the number of messages on their way at once, at least 1")
