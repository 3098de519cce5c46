# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The bridge: one durable subscription, appended to the log, acknowledged after the commit.

It runs in a thread of its own until it is stopped. Killed between commit and acknowledgement, it gets the same messages
again, and the log, unique by source and id, keeps one of each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from random import SystemRandom
from typing import NamedTuple

from sourcepulse.brokers import Delivery, Subscription, SubscriptionSpec, open_subscription
from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import DecodeError, SourcePulseError
from sourcepulse.events.safe_text import reason_line
from sourcepulse_web.bridge.batch import MOST_MESSAGES, Batch
from sourcepulse_web.bridge.own_log import OwnLog
from sourcepulse_web.bridge.state import StateBoard

#: How many messages the broker sends ahead: those of one commit, and those that arrive during it.
PREFETCH = 2 * MOST_MESSAGES
#: The pause after a failure: the first one, doubled with each more, each shortened at random.
RETRY_FIRST_SECONDS = 0.5
RETRY_MOST_SECONDS = 30.0
JITTER_SHARE = 0.5
#: How often a pause looks for corrected settings and for the end; the longest wait for a message.
LOOK_SECONDS = 0.5
#: How often a log that cannot be written is tried again.
LOG_RETRY_SECONDS = 1.0
TRIM_SECONDS = 60.0
#: Every event: numbered ones, withheld ones, and heartbeats.
EVERYTHING = "#"

logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """Where the bridge reads: a broker, its exchange, and the durable queue."""

    url: BrokerUrl
    exchange: str
    queue: str


class Bridge:
    """Fills a log from a broker.

    `source` reads the settings, each time a connection is opened, so that a corrected password takes effect. `appended`
    is called from the bridge's thread after each commit.
    """

    def __init__(
        self,
        source: Callable[[], Source],
        log: OwnLog,
        *,
        appended: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = StateBoard(clock)
        #: When the loop last turned, by the monotonic clock; it turns at least each LOOK_SECONDS but for one call.
        self.turned_at = time.monotonic()
        self._source = source
        self._log = log
        self._appended = appended
        self._clock = clock
        self._prepared_for: tuple[Source, Subscription] | None = None
        self._stopping = threading.Event()
        self._batch = Batch(time.monotonic)
        self._random = SystemRandom()
        self._failures = 0
        self._log_retry_at = 0.0
        self._trim_at = 0.0
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end_soon(self) -> None:
        """End the thread, after a last commit, without waiting for it."""
        self._stopping.set()

    def stop(self, limit_s: float) -> bool:
        """End the thread, after a last commit, and return whether it ended within the limit."""
        self.end_soon()
        self._thread.join(limit_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            used: Source | None = None
            try:
                used = self._source()
                self._follow(used)
            except SourcePulseError as error:
                self._lost(error)
            except Exception as error:
                # A fault of ours: it must be seen, and the thread must not end by it.
                logger.exception("the bridge failed")
                self._lost(error)
            else:
                return
            self._pause(used)
        self._log.close()

    def _follow(self, source: Source) -> None:
        """Read one connection until the end; raises what ends the connection."""
        subscription = self._prepared(source)
        try:
            subscription.open()
            self._connected(source, subscription)
            while not self._stopping.is_set():
                self._turn(subscription)
            self._commit(subscription)
            self._log.close()
        except BaseException:
            subscription.abandon()
            raise
        subscription.close()

    def _prepared(self, source: Source) -> Subscription:
        """Return the subscription: the same for each connection, because it knows what was lost between them.

        A log that has events was filled through a queue; where none is found, events were lost, also before the start.
        """
        if self._prepared_for is None or self._prepared_for[0] != source:
            spec = SubscriptionSpec(
                exchange=source.exchange, patterns=(EVERYTHING,), queue=source.queue, durable=True, prefetch=PREFETCH
            )
            former = (EVERYTHING,) if self._log.has_events() else ()
            self._prepared_for = source, open_subscription(source.url, spec, former_patterns=former)
        return self._prepared_for[1]

    def _turn(self, subscription: Subscription) -> None:
        self.turned_at = time.monotonic()
        wait = min(LOOK_SECONDS, self._due_in()) if self._batch.taken else LOOK_SECONDS
        if self._batch.is_full() and wait > 0:
            # The log failed. One more message is received for each attempt, which also keeps the connection alive.
            self._stopping.wait(wait)
            return
        delivery = subscription.receive(wait)
        self._failures = 0
        # Over STOMP the queue is looked at when it is this consumer's turn, which may be later.
        self._report_loss(subscription)
        if delivery is not None:
            if self.state.now.doubt:
                self.state.set(doubt="")
            try:
                self._batch.add(delivery)
            except DecodeError as error:
                self._set_aside(subscription, delivery, error)
        if self._batch.taken and self._due_in() <= 0 and (delivery is None or self._batch.is_full()):
            self._commit(subscription)
        if time.monotonic() >= self._trim_at:
            self._trim()

    def _due_in(self) -> float:
        return max(self._batch.due_in(), self._log_retry_at - time.monotonic())

    def _commit(self, subscription: Subscription) -> None:
        """Append the batch and acknowledge it; while the log cannot be written nothing is acknowledged."""
        taken = self._batch.taken
        if not taken:
            return
        try:
            done = self._log.append([each.message for each in taken])
        except SourcePulseError as error:
            self._log_failed(error)
            return
        self._log_works()
        self.state.count(appended=done.appended, repeats=done.repeats)
        self._batch.committed()
        self._appended()
        subscription.acknowledge_all([each.delivery for each in taken])

    def _trim(self) -> None:
        self._trim_at = time.monotonic() + TRIM_SECONDS
        try:
            self._log.trim()
        except SourcePulseError as error:
            self._log_failed(error)
        else:
            self._log_works()

    def _set_aside(self, subscription: Subscription, delivery: Delivery, error: DecodeError) -> None:
        reason = reason_line(str(error))
        self.state.count(rejected=1)
        self.state.set(rejection=reason)
        logger.warning("a message is moved to the dead letters of the queue: %s", reason)
        subscription.reject(delivery, str(error))

    def _connected(self, source: Source, subscription: Subscription) -> None:
        self.state.count(connections=1)
        alone = subscription.served or source.url.scheme.startswith("stomp")
        doubt = "" if alone else f"another consumer reads the queue {source.queue}, and this one waits for it to end"
        self.state.set(connected=True, reason="", doubt=doubt)
        logger.info("reading %s of %s through the queue %s", source.exchange, source.url, source.queue)
        for sentence in (*subscription.notes, doubt):
            if sentence:
                logger.warning("%s", sentence)
        self._report_loss(subscription)

    def _report_loss(self, subscription: Subscription) -> None:
        """Report once that the queue may have lost events."""
        if not subscription.interrupted:
            return
        subscription.interrupted = False
        self.state.count(interruptions=1)
        self.state.set(interrupted_at=self._clock())
        logger.warning("the queue was removed or trimmed, and is there again; events before now may be missing")

    def _lost(self, error: Exception) -> None:
        # Whatever is not acknowledged is delivered again.
        self._batch.forget()
        text = str(error) if isinstance(error, SourcePulseError) else f"the bridge failed: {error!r}"
        if text != self.state.now.reason:
            logger.warning("%s; trying again", text)
        self.state.set(connected=False, reason=text)
        self.state.count(broker_failures=1)

    def _pause(self, used: Source | None) -> None:
        """Wait before the next attempt; corrected settings end the pause."""
        wait = backoff_seconds(self._failures, first=RETRY_FIRST_SECONDS, most=RETRY_MOST_SECONDS)
        self._failures += 1
        until = time.monotonic() + wait * (1.0 - JITTER_SHARE * self._random.random())
        while not self._stopping.is_set() and time.monotonic() < until:
            self.turned_at = time.monotonic()
            self._stopping.wait(min(LOOK_SECONDS, wait))
            if time.monotonic() >= self._trim_at:
                self._trim()
            try:
                if self._source() != used:
                    self._failures = 0
                    return
            except SourcePulseError:
                # The next attempt names it.
                continue

    def _log_failed(self, error: SourcePulseError) -> None:
        self._log_retry_at = time.monotonic() + LOG_RETRY_SECONDS
        self.state.count(log_failures=1)
        if not self.state.now.log_problem:
            logger.error("%s; nothing is acknowledged until it works", error)
        self.state.set(log_problem=str(error))

    def _log_works(self) -> None:
        if self.state.now.log_problem:
            logger.info("the log can be written again")
            self.state.set(log_problem="")


def default_queue(url: BrokerUrl, host: str, *, restricted: bool) -> str:
    """Return the queue of the gateway of a host; its owner is the login, which often may use no others."""
    name = f"web-{host.partition('.')[0]}{'-restricted' if restricted else ''}"
    return f"{url.user}.{name}" if url.user else name
