# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A thread that keeps a consumer's connection and memory while other threads handle its events."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from sourcepulse.consumer.received_event import Item
from sourcepulse.consumer.receiver import Receiver
from sourcepulse.consumer.threads.schedule import Schedule

#: The longest single wait, so that `stop` and signals are noticed.
SLICE_SECONDS = 0.2
#: How often the thread polls the broker while events are in progress.
BUSY_SLICE_SECONDS = 0.02

log = logging.getLogger("sourcepulse.consumer")


class BackgroundReceiver:
    """Hands items to at most `slots` workers and records their results.

    Only its own thread uses the receiver, from `start` until it ends: after `silence_s` seconds without an event, when
    the receiver is stopping, on a failure, or by `end`. Items in progress may then be finished; everything else is
    redelivered. All other methods may be called from any worker thread. Its thread calls `on_change` when an item can
    be taken and when it is over. With `closing` it closes the receiver when it ends.
    """

    def __init__(
        self,
        receiver: Receiver,
        *,
        slots: int,
        silence_s: float | None,
        on_change: Callable[[], None] | None = None,
        closing: bool = False,
        first: Item | None = None,
    ) -> None:
        self.error: BaseException | None = None
        self.opened = False
        self._receiver = receiver
        self._silence_s = silence_s
        self._on_change = on_change or (lambda: None)
        self._closing = closing
        self._schedule = Schedule(slots)
        if first is not None:
            self._schedule.add(first)
        self._settled: deque[tuple[Item, str | None]] = deque()
        lock = threading.Lock()
        self._work = threading.Condition(lock)
        self._news = threading.Condition(lock)
        self._ending = False
        self._gave_back = False
        #: How many workers wait for an item; no more are counted as handed over than are asked for.
        self._asking = 0
        self._over = threading.Event()
        # A daemon, because it waits for the broker and the end of the program must not.
        self._thread = threading.Thread(target=self._serve, name="sourcepulse-consumer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # -- for the workers

    @property
    def over(self) -> bool:
        """Whether the thread has ended; if it failed, `error` holds the reason."""
        return self._over.is_set()

    def join(self, wait_seconds: float) -> bool:
        """Wait at most `wait_seconds` for the thread to end and return whether it has."""
        return self._over.wait(wait_seconds)

    def take(self) -> Item | None:
        """Wait for the next item and return it; None when no more will come."""
        item = None
        with self._work:
            self._asking += 1
            try:
                while item is None and not self._ending and not self._receiver.stopping:
                    item = self._take()
                    if item is None:
                        due_in = self._schedule.due_in(time.monotonic())
                        self._work.wait(SLICE_SECONDS if due_in is None else min(SLICE_SECONDS, due_in))
            finally:
                self._asking -= 1
        return item

    def take_now(self) -> Item | None:
        """Return the next item if one is ready, else None; its only caller then asks again after a change."""
        with self._work:
            item = None if self._ending or self._receiver.stopping else self._take()
            self._asking = int(item is None)
        return item

    def acknowledge(self, item: Item) -> None:
        """Acknowledge an item that was taken."""
        self._finish(item, None)

    def reject(self, item: Item, reason: str) -> None:
        """Move an item that was taken to the dead letters."""
        self._finish(item, reason)

    def postpone(self, item: Item, seconds: float) -> None:
        """Retry an item that was taken after this many seconds, in its place."""
        with self._work:
            self._schedule.postpone(item, time.monotonic() + seconds)
            self._work.notify()
            self._news.notify()

    def end(self, error: BaseException | None = None) -> None:
        """End without waiting for items in progress; they are redelivered."""
        with self._work:
            self.error = self.error or error
            self._ending = True
            # Abandoned items are returned to the queue when the connection is closed.
            self._gave_back |= bool(self._schedule.abandon())
            self._work.notify_all()
            self._news.notify()

    def _take(self) -> Item | None:
        item = self._schedule.take(time.monotonic())
        if item is not None:
            self._receiver.report.stats.received += 1
        # The next item may have to be counted or buried.
        self._news.notify()
        return item

    def _finish(self, item: Item, rejected: str | None) -> None:
        with self._work:
            self._schedule.finish(item)
            self._settled.append((item, rejected))
            self._news.notify()

    # -- its own thread

    def _serve(self) -> None:
        try:
            try:
                self._receive()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for events
                self.error = self.error or error
            self._wait_for_items_in_progress()
        except BaseException as error:  # noqa: BLE001 - as above
            self.error = self.error or error
        finally:
            try:
                self._leave()
            except Exception:
                log.exception("the subscription could not be closed cleanly")
            self._over.set()
            with self._work:
                self._ending = True
                self._work.notify_all()
            self._on_change()

    def _receive(self) -> None:
        self._receiver.connect()
        self.opened = True
        self._on_change()
        self._hand_over()
        quiet_since = time.monotonic()
        while not self._ending and not self._receiver.stopping:
            self._settle()
            if not self._receiver.connected:
                self._withdraw(keep_tried=True)
            self._make_ready()
            if not self._schedule.empty:
                self._wait_for_news(BUSY_SLICE_SECONDS)
                # At least one step keeps the connection alive, even if nothing more can arrive.
                while self._receiver.step(0.0) and not self._receiver.full and not self._settled:
                    self._hand_over()
                self._hand_over()
                quiet_since = time.monotonic()
            else:
                left = SLICE_SECONDS
                if self._silence_s is not None:
                    left = min(left, quiet_since + self._silence_s - time.monotonic())
                self._receiver.step(max(0.0, left))
                self._hand_over()
                if left <= 0 and self._schedule.empty:
                    self._receiver.check_was_reached()
                    return

    def _wait_for_items_in_progress(self) -> None:
        with self._work:
            self._ending = True
            self._work.notify_all()
        self._withdraw(keep_tried=False)
        while self._schedule.at_work:
            self._settle()
            self._wait_for_news(SLICE_SECONDS)
            if self._receiver.connected:
                self._receiver.step(0.0)
            self._withdraw(keep_tried=False)
        self._settle()

    def _hand_over(self) -> None:
        handed = False
        while (item := self._receiver.take()) is not None:
            with self._work:
                self._schedule.add(item)
                self._work.notify()
            handed = True
        if handed:
            self._make_ready()
            self._on_change()

    def _make_ready(self) -> None:
        """Count the attempts of the items that are next, and bury those with too many."""
        while True:
            with self._work:
                # What comes after the end, or is never asked for, is not handed over.
                over = self._ending or self._receiver.stopping
                item = self._schedule.take_unready(time.monotonic()) if self._asking and not over else None
            if item is None:
                return
            try:
                # Those before it are recorded first: if this one kills the process, they do not come again.
                self._settle()
                ready = self._receiver.make_ready(item)
            except BaseException:
                # Otherwise it would count as in progress, and the end would wait for it without limit.
                with self._work:
                    self._schedule.finish(item)
                raise
            with self._work:
                if ready:
                    self._schedule.postpone(item, 0.0)
                else:
                    self._schedule.finish(item)
                self._work.notify()
            self._on_change()

    def _settle(self) -> None:
        while True:
            with self._work:
                if not self._settled:
                    return
                item, rejected = self._settled.popleft()
            if rejected is None:
                self._receiver.finish(item)
            else:
                self._receiver.reject(item, rejected)

    def _withdraw(self, *, keep_tried: bool) -> None:
        with self._work:
            gone = self._schedule.withdraw(keep_tried=keep_tried)
        self._receiver.give_back(gone)
        self._gave_back |= bool(gone) and not keep_tried

    def _wait_for_news(self, seconds: float) -> None:
        with self._news:
            if not self._settled:
                self._news.wait(seconds)

    def _leave(self) -> None:
        if self._closing:
            self._receiver.close()
        elif self.error is not None:
            self._receiver.drop()
        elif self._gave_back or self._receiver.stopping:
            self._receiver.leave()
        else:
            self._receiver.flush()
