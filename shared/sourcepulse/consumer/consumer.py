# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The public `Consumer`: `for event in Consumer(url, topics=["hg.push.#"], queue="me", durable=True): ...`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from sourcepulse.brokers import QueueLimits
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.arguments import log_unchecked, state_path, subscription_spec
from sourcepulse.consumer.order.ordering import HOLD_SECONDS
from sourcepulse.consumer.received_event import Item
from sourcepulse.consumer.receiver import Receiver
from sourcepulse.consumer.report import ConsumerReport, ConsumerStats
from sourcepulse.consumer.silence.expected import check_expected
from sourcepulse.consumer.threads.background import SLICE_SECONDS, BackgroundReceiver
from sourcepulse.errors import ConfigError, DecodeError
from sourcepulse.events.event import Event
from sourcepulse.gaps import Gap, Reset, Silence

if TYPE_CHECKING:
    from sourcepulse.consumer.threads.asynchronous import AsyncEvents

#: How often `run` tries a callback that fails, and the wait before the first retry, doubled each time.
CALLBACK_ATTEMPTS = 5
CALLBACK_RETRY_SECONDS = 1.0
#: How long `close` waits for the thread of an interrupted `run`.
THREAD_LIMIT_SECONDS = 2.0


class Consumer:
    """One subscription to one broker.

    Iterate over it, `run` a callback, or use `async with`:

        with Consumer(url, topics=["hg.push.#"], queue="reader.my-tool", durable=True) as events:
            for event in events:
                print(event.source, event.data["user"])

    An event is acknowledged when you ask for the next one. If your loop is fast, acknowledgements are batched:
    at most 50 events or 20 ms, longer only while your next handler runs; a killed program receives at most this batch
    again. If you leave the loop by `break` or an exception, the current event stays unacknowledged: the next loop over
    this object starts with it, or the next process receives it. A lost connection is reopened, however long that takes.

    The ids of the last 100,000 handled events are remembered, and repeats are dropped; for a durable queue the
    ids are kept in a file. An id is recorded before its event is acknowledged, so an event is not handled twice.

    Order and gaps are checked by the numbers in the events, where the topics cover whole sources or whole event
    types. `unchecked` lists the types that the topics cover only in part. `stats` holds counts.

    Not thread-safe, except for `stop`. Connecting is left to `open`, `with`, or the first event that is requested.

    Args:
        url: the broker, such as `amqps://user:password@host/vhost` or `file:///path/log.db`.
        topics: patterns of routing keys.
        queue: the name of a durable queue.
        durable: keep the queue when the consumer ends; otherwise it is removed.
        shared: allow several consumers to split a durable queue; order and gaps are then not checked.
        exchange: the exchange to subscribe to.
        from_start: start with the events that are already stored, if the broker stores any, or with those stored since
            a time, in seconds since 1970.
        prefetch: how many unacknowledged events the broker may send.
        limits: what the queue may hold.
        timeout: end the loop after this many seconds without an event.
        state: the file that stores the memory of a durable queue, or ":memory:".
        on_gap: called with a Gap when events are missing.
        on_reset: called with a Reset when a source starts its numbers again.
        on_bad: called with a DecodeError for a message that is not an event.
        on_interrupted: called when the queue may have lost messages.
        on_silent, on_heard: called with a Silence when an expected source falls silent, and when it is heard again.
        expect: after how many seconds without a message each of these sources is silent.
        heartbeats: receive the relays' heartbeats, by which a lost last event is noticed.
        hold_seconds: how long an early event waits for the events before it.

    The callbacks run in the thread that keeps the connection: the loop's own, or one of the library with `run` and
    `async with`. What has no callback is logged, an interruption always.

    Raises:
        ConfigError: the arguments are invalid or contradict each other.
        StateError: the state file cannot be used.
    """

    _background: BackgroundReceiver | None = None
    _current: Item | None = None
    _events: AsyncEvents | None = None

    def __init__(
        self,
        url: str | BrokerUrl,
        topics: Sequence[str] = ("#",),
        queue: str | None = None,
        *,
        durable: bool = False,
        shared: bool = False,
        exchange: str = DEFAULT_EXCHANGE,
        from_start: bool | float = False,
        prefetch: int = 100,
        limits: QueueLimits | None = None,
        timeout: float | None = None,
        state: str | Path | None = None,
        on_gap: Callable[[Gap], object] | None = None,
        on_reset: Callable[[Reset], object] | None = None,
        on_bad: Callable[[DecodeError], object] | None = None,
        on_interrupted: Callable[[], object] | None = None,
        on_silent: Callable[[Silence], object] | None = None,
        on_heard: Callable[[Silence], object] | None = None,
        expect: Mapping[str, float] | None = None,
        heartbeats: bool = False,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self.url = BrokerUrl.parse(url) if isinstance(url, str) else url
        spec = subscription_spec(
            self.url,
            topics,
            queue,
            exchange=exchange,
            durable=durable,
            shared=shared,
            prefetch=prefetch,
            from_start=from_start,
            limits=limits,
        )
        self.topics = spec.patterns
        wanted = check_expected(expect or {}, spec, heartbeats=heartbeats)
        place = state_path(self.url, spec, state)
        self.stats = ConsumerStats()
        report = ConsumerReport(self.stats, on_gap, on_reset, on_bad, on_interrupted, on_silent, on_heard)
        self._receiver = Receiver(self.url, spec, wanted, state=place, report=report, hold_seconds=hold_seconds)
        #: The known event types for which these topics cannot reveal a lost event.
        self.unchecked = log_unchecked(self._receiver.unchecked, shared=shared)
        self._timeout = timeout

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._receiver.connected

    @property
    def silent(self) -> tuple[str, ...]:
        """The expected sources that are silent now."""
        return self._receiver.listening.silent

    @property
    def stopped(self) -> bool:
        return self._receiver.stopping

    def open(self) -> None:
        """Subscribe now, in one attempt; an unreachable broker is tried again when events are requested.

        Raises:
            BrokerRefusedUsError: the broker refuses the login or a right.
            SubscriptionError: the broker cannot provide such a subscription.
        """
        self._receiver.connect()

    def close(self) -> None:
        """Disconnect; unacknowledged events are redelivered. May be called more than once."""
        self._current = None
        if self._background is not None and not self._background.join(THREAD_LIMIT_SECONDS):
            # The thread is waiting for the broker; that wait is bounded, and the thread then drops the connection.
            return
        self._receiver.close()

    def stop(self) -> None:
        """Make the loop end before the next event; may be called from a signal handler or another thread."""
        self._receiver.stopping = True

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        """Release the queue at once: `for event in Consumer(...)` leaves no name on which to call `close`."""
        receiver = getattr(self, "_receiver", None)
        if receiver is not None and (self._background is None or self._background.join(0)):
            receiver.drop()

    def __iter__(self) -> Iterator[Event]:
        """Yield the events; each is acknowledged when the next one is requested. Raises the same errors as `run`."""
        try:
            while (event := self.receive(self._timeout)) is not None:
                yield event
                item, self._current = self._current, None
                if item is not None:
                    self._receiver.finish(item)
            if not self.stopped:
                self._receiver.check_was_reached()
        finally:
            # However the loop ended, the events before the current one were handled.
            self._receiver.flush()

    def receive(self, timeout: float | None = None) -> Event | None:
        """Return the next event, or the current one until it is acknowledged.

        Returns None after `timeout` seconds without an event, or after `stop`.

        Raises:
            BrokerError: the broker fails in a way that retrying cannot fix.
        """
        self._check_idle()
        if self._current is None:
            deadline = None if timeout is None else time.monotonic() + timeout
            try:
                self._next(deadline)
            except BaseException:
                # Ctrl-C may have interrupted between receiving and storing: have everything redelivered.
                self._current = None
                self._receiver.drop()
                raise
        return None if self.stopped or self._current is None else self._current.event

    def acknowledge(self) -> None:
        """Acknowledge the event that `receive` returned, at once; does nothing if there is none."""
        item, self._current = self._current, None
        if item is not None:
            self._receiver.acknowledge(item)

    def reject(self, reason: str) -> None:
        """Move the current event to the dead letters, if the broker keeps any; otherwise drop it.

        Its id is not recorded, so a replay delivers it again.
        """
        item, self._current = self._current, None
        if item is not None:
            self._receiver.reject(item, reason)

    def run(
        self,
        callback: Callable[[Event], object],
        *,
        workers: int = 1,
        attempts: int = CALLBACK_ATTEMPTS,
        retry_seconds: float = CALLBACK_RETRY_SECONDS,
    ) -> None:
        """Call `callback` with every event and acknowledge the event when it returns.

            consumer.run(lambda event: print(event.type, event.subject), workers=4)

        A thread of the library keeps the connection, however long a callback takes. Events of one source are
        handled in order and one at a time; events of different sources may overtake each other. `run` ends after
        `timeout` without an event, after `stop`, and on SIGTERM or Ctrl-C if called in the main thread: events in
        progress are finished, the others are returned to the queue. A second Ctrl-C raises KeyboardInterrupt at once.

        Args:
            callback: called with each event. If it raises an Exception, the event is retried in its place.
            workers: how many threads call `callback`; 1 is the calling thread itself.
            attempts: after this many failures the event is moved to the dead letters.
            retry_seconds: the wait before the first retry, doubled each time; other sources go on meanwhile.

        Raises:
            ConfigError: `workers` is less than 1.
            BrokerUnavailableError: `timeout` has passed and the broker was never reached.
            BrokerError: the broker fails in a way that retrying cannot fix.
        """
        from sourcepulse.consumer.threads.callback import Retry, run

        if workers < 1:
            raise ConfigError("workers is the number of callbacks at once, at least 1")
        background = self._start_background(workers, on_change=None, closing=False)
        run(background, callback, stop=self.stop, workers=workers, retry=Retry(attempts, retry_seconds))

    def __aiter__(self) -> NoReturn:
        raise TypeError("write `async with consumer as events:`, then `async for event in events:`")

    async def __aenter__(self) -> AsyncEvents:
        """Subscribe and return the events for `async for`.

        A thread of the library keeps the connection, so the event loop never waits for the broker.
        """
        from sourcepulse.consumer.threads.asynchronous import AsyncEvents

        events = AsyncEvents(lambda on_change: self._start_background(1, on_change=on_change, closing=True))
        await events.open()
        self._events = events
        return events

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._events is not None:
            await self._events.close()

    def replay(self, missing: Gap | float, *, outbox: str | Path) -> int:
        """Read the missing events from the outbox that stored them; they come next, to this consumer only.

        They are marked as replayed, and each passes the check of visibility when it is next. Those that were handled
        before are left out. Returns how many events of a gap will come, including those that the relay has yet to send.

        Args:
            missing: what `on_gap` was called with, or a time in seconds since 1970, for all events stored since then.
            outbox: the source's outbox file, which this process must be able to write.

        Raises:
            ConfigError: the gap is of a restricted source, and this consumer reads the public exchange.
            NothingThereError: the file does not exist, or holds none of these events any more.
            OutboxError: the file cannot be used.
        """
        return self._receiver.pulls.add(missing, Path(outbox))

    def _next(self, deadline: float | None) -> None:
        over = False
        while not self.stopped:
            item = self._receiver.take()
            if item is not None:
                if not item.ready and not self._receiver.make_ready(item):
                    continue
                self._current = item
                self.stats.received += 1
                return
            if over:
                return
            left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
            over = left <= 0
            self._receiver.step(max(0.0, left))

    def _start_background(
        self, slots: int, *, on_change: Callable[[], None] | None, closing: bool
    ) -> BackgroundReceiver:
        self._check_idle()
        first, self._current = self._current, None
        self._background = BackgroundReceiver(
            self._receiver,
            slots=slots,
            silence_s=self._timeout,
            on_change=on_change,
            closing=closing,
            first=first,
        )
        self._background.start()
        return self._background

    def _check_idle(self) -> None:
        if self._background is not None and not self._background.join(0):
            raise RuntimeError("this consumer is in use: its events go to the callback of run, or to async for")
