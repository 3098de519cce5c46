# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The callback form of a consumer: each event is handled, retried, or buried; signals end it cleanly."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse.consumer.threads.background import SLICE_SECONDS, BackgroundReceiver

if TYPE_CHECKING:
    from sourcepulse.events.event import Event

CALLBACK_RETRY_MOST_SECONDS = 30.0
#: How long a second Ctrl-C waits for the connection to be closed; the thread that closes it ends by itself.
INTERRUPT_LIMIT_SECONDS = 2.0

log = logging.getLogger("sourcepulse.consumer")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a failing callback is tried, and the first wait in seconds, doubled each time."""

    attempts: int
    first_seconds: float

    def wait_seconds(self, failures: int) -> float:
        return backoff_seconds(failures - 1, first=self.first_seconds, most=CALLBACK_RETRY_MOST_SECONDS)


def run(
    background: BackgroundReceiver,
    callback: Callable[[Event], object],
    *,
    stop: Callable[[], None],
    workers: int,
    retry: Retry,
) -> None:
    """Call `callback` with every event of a started receiver until it is over, see `Consumer.run`."""
    try:
        with _stopped_by_signals(stop):
            if workers == 1:
                # In the calling thread, because a callback may use objects bound to it, such as a database connection.
                _work(background, callback, retry)
            else:
                _in_threads(background, callback, workers, retry)
            while not background.join(SLICE_SECONDS):
                pass
    except BaseException:
        background.end()
        background.join(INTERRUPT_LIMIT_SECONDS)
        raise
    if background.error is not None:
        raise background.error


def _in_threads(
    background: BackgroundReceiver, callback: Callable[[Event], object], workers: int, retry: Retry
) -> None:
    def work() -> None:
        try:
            _work(background, callback, retry)
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
            background.end(error)

    # Daemons, because a second Ctrl-C ends the program whatever the callbacks do.
    threads = [
        threading.Thread(target=work, name=f"sourcepulse-worker-{number}", daemon=True)
        for number in range(1, workers + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(SLICE_SECONDS)


def _work(background: BackgroundReceiver, callback: Callable[[Event], object], retry: Retry) -> None:
    while (item := background.take()) is not None:
        try:
            callback(item.event)
        except Exception as error:
            log.warning("the callback failed on event %s", item.event.id, exc_info=True)
            item.failures += 1
            if item.failures >= retry.attempts:
                background.reject(
                    item, f"the callback failed {item.failures} times, the last time with {type(error).__name__}"
                )
            else:
                background.postpone(item, retry.wait_seconds(item.failures))
        else:
            background.acknowledge(item)


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop()
        if number == signal.SIGINT:
            # A user who presses Ctrl-C again does not want to wait for the events in progress.
            signal.signal(signal.SIGINT, signal.default_int_handler)

    former: dict[int, Any] = {signal.SIGTERM: signal.signal(signal.SIGTERM, on_signal)}
    # A handler that the program installed is left alone, and so is a shell's setting to ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        former[signal.SIGINT] = signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
