# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Subscribe: `for event in Consumer(url, topics=["hg.push.#"], queue="me", durable=True): ...`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sourcepulse.brokers import TEMPORARY_LIMITS, QueueLimits, SubscriptionSpec
from sourcepulse.brokers.address import DEFAULT_EXCHANGE, check_place
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.feed import Feed
from sourcepulse.consumer.intake import Intake
from sourcepulse.consumer.item import Item
from sourcepulse.consumer.memory.coverage import Coverage
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.consumer.report import ConsumerReport, ConsumerStats
from sourcepulse.consumer.request import check_request, state_path, tell_unchecked
from sourcepulse.errors import ConfigError, DecodeError
from sourcepulse.events.event import Event
from sourcepulse.gaps import HOLD_SECONDS, Gap, Reset

if TYPE_CHECKING:
    from sourcepulse.consumer.asynchronous import AsyncEvents

#: No wait inside lasts longer, so that `stop` is noticed.
SLICE_SECONDS = 0.2
#: How often `run` gives an event to a callback that fails, and the first wait between, doubled each time.
CALLBACK_ATTEMPTS = 5
CALLBACK_RETRY_SECONDS = 1.0
#: How long `close` waits for the thread of a `run` that was interrupted.
THREAD_LIMIT_SECONDS = 2.0


class Consumer:
    """One subscription to one broker; iterate over it, `run` a callback, or say `async with` and iterate.

    An event is acknowledged when the next one is asked for; one of many that a loop handles within milliseconds
    is noted then, and acknowledged with the others at most 50 events or, unless the next handler takes longer,
    20 ms later. Leaving the loop by `break` or an exception
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
        queue may hold. `timeout` ends a loop after so many seconds of silence; BrokerUnavailableError if the broker was
        never reached in them. `state` names the file that
        remembers for a durable queue, or is ":memory:". `on_gap` and the others are called by the thread that
        keeps the connection: a loop's own, or that of `run` and `async with`; without them gaps, resets and bad
        messages are logged. ConfigError, or StateError if the state cannot be used.
        """
        self.url = BrokerUrl.parse(url) if isinstance(url, str) else url
        self.topics = (topics,) if isinstance(topics, str) else tuple(topics)
        check_request(self.topics, queue, durable=durable, shared=shared, prefetch=prefetch, limits=limits)
        check_place(self.url, exchange)
        self.stats = ConsumerStats()
        spec = SubscriptionSpec(
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
        coverage = Coverage(self.topics)
        #: The known event types of which a lost event would leave no trace with these topics.
        self.unchecked = coverage.taken() if shared else coverage.unchecked()
        self._timeout = timeout
        self._feed: Feed | None = None
        self._current: Item | None = None
        self._intake = Intake(
            self.url,
            spec,
            coverage=coverage,
            state=ConsumerState(state_path(self.url, spec, state)),
            report=ConsumerReport(
                stats=self.stats, on_gap=on_gap, on_reset=on_reset, on_bad=on_bad, on_interrupted=on_interrupted
            ),
            hold_seconds=hold_seconds,
        )
        self._events: AsyncEvents | None = None
        tell_unchecked(self.unchecked, shared=shared)

    @property
    def connected(self) -> bool:
        """Whether a connection stands, as far as is known."""
        return self._intake.connected

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._intake.stopping

    def open(self) -> None:
        """Subscribe now, in one attempt; a broker that is not there is tried again when events are asked for.

        BrokerRefusedUsError or SubscriptionError if the broker does not want us or cannot give what is asked.
        """
        self._intake.connect()

    def close(self) -> None:
        """Leave politely; an event that is not acknowledged comes again. May be called again."""
        self._current = None
        if self._feed is not None and not self._feed.join(THREAD_LIMIT_SECONDS):
            # Its thread is in a wait of the broker's, which has a limit, and abandons the connection after it.
            return
        self._intake.close()

    def stop(self) -> None:
        """Have the loop end before the next event; may be called from a signal handler or another thread."""
        self._intake.stopping = True

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
        intake = getattr(self, "_intake", None)
        if intake is not None and (self._feed is None or self._feed.join(0)):
            intake.drop()

    def __iter__(self) -> Iterator[Event]:
        """Yield event after event, each acknowledged when the next is asked for."""
        try:
            while (event := self.receive(self._timeout)) is not None:
                yield event
                item, self._current = self._current, None
                if item is not None:
                    self._intake.finish(item)
            if not self.stopped:
                self._intake.check_was_reached()
        finally:
            # However the loop was left, what it handled before is done with.
            self._intake.flush()

    def receive(self, timeout: float | None = None) -> Event | None:
        """Return the next event, the same one until it is acknowledged; None after `timeout` seconds of silence.

        None also when `stop` was called. BrokerError if the broker fails in a way that no retry can heal.
        """
        self._check_idle()
        if self._current is None:
            deadline = None if timeout is None else time.monotonic() + timeout
            try:
                self._next(deadline)
            except BaseException:
                # Ctrl-C may have come between the broker's hand and ours: have everything delivered again.
                self._current = None
                self._intake.drop()
                raise
        return None if self.stopped or self._current is None else self._current.event

    def acknowledge(self) -> None:
        """Be done with the event that `receive` gave; without one nothing happens."""
        item, self._current = self._current, None
        if item is not None:
            self._intake.acknowledge(item)

    def reject(self, reason: str) -> None:
        """Put the event that `receive` gave aside, to the dead letters where the broker has any.

        Its id is not recorded: replayed, it comes again.
        """
        item, self._current = self._current, None
        if item is not None:
            self._intake.reject(item, reason)

    def run(
        self,
        callback: Callable[[Event], object],
        *,
        workers: int = 1,
        attempts: int = CALLBACK_ATTEMPTS,
        retry_seconds: float = CALLBACK_RETRY_SECONDS,
    ) -> None:
        """Call back with every event and acknowledge it when the callback returns.

        With one worker the callback is called by the calling thread, with more by so many threads. A thread of
        the library keeps the connection meanwhile, however long a callback takes. Events of one source stay in
        order and are never at work in two workers at once; those of different sources overtake each other.

        An event whose callback raises an Exception is tried again in its place, after a growing wait in which
        other sources go on, and put aside after so many `attempts`. Ends after the `timeout` of the consumer in
        silence, by `stop`, and on SIGTERM or Ctrl-C if this is the main thread: then the events at work are
        finished first, and the others given back. A second Ctrl-C is a KeyboardInterrupt at once.
        """
        from sourcepulse.consumer.run import Retry, run

        if workers < 1:
            raise ConfigError("workers is the number of callbacks at once, at least 1")
        feed = self._start_feed(workers, on_change=None, closing=False)
        run(feed, callback, stop=self.stop, workers=workers, retry=Retry(attempts, retry_seconds))

    async def __aenter__(self) -> AsyncEvents:
        """Subscribe, as `with` does, and give what to iterate over by `async for`.

        A thread of the library keeps the connection, so that the event loop never waits for the broker.
        """
        from sourcepulse.consumer.asynchronous import AsyncEvents

        events = AsyncEvents(lambda on_change: self._start_feed(1, on_change=on_change, closing=True))
        await events.open()
        self._events = events
        return events

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an event that is not acknowledged comes again."""
        if self._events is not None:
            await self._events.close()

    def replay(self, gap: Gap, *, outbox: str | Path) -> int:
        """Ask that the missing events of a gap be sent again, where this process may write the outbox file.

        Gives how many will come; fewer than are missing if some have expired or are buried, which is logged.
        They come marked as replayed, outside the order, to every consumer that has not handled them. Those of
        the restricted stream stay there. NothingThereError if there is no such file or it has none of them any
        more, another OutboxError if the file cannot be used.
        """
        from sourcepulse.consumer.replay import request_replay

        return request_replay(gap, Path(outbox))

    def _next(self, deadline: float | None) -> None:
        over = False
        while not self.stopped:
            item = self._intake.take()
            if item is not None:
                if item.spent:
                    self._intake.reject_spent(item)
                    continue
                self._intake.begin(item)
                self._current = item
                self.stats.received += 1
                return
            if over:
                return
            left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
            over = left <= 0
            self._intake.step(max(0.0, left))

    def _start_feed(self, slots: int, *, on_change: Callable[[], None] | None, closing: bool) -> Feed:
        self._check_idle()
        first, self._current = self._current, None
        self._feed = Feed(
            self._intake,
            slots=slots,
            silence_s=self._timeout,
            on_change=on_change,
            closing=closing,
            first=first,
        )
        self._feed.start()
        return self._feed

    def _check_idle(self) -> None:
        if self._feed is not None and not self._feed.join(0):
            raise RuntimeError("this consumer is at work: its events come to the callback of run, or to async for")
