# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The callback form of a consumer: each event is handled, tried again, or put aside; SIGTERM ends it well."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sourcepulse.consumer import Consumer
    from sourcepulse.event import Event

CALLBACK_RETRY_MAX_SECONDS = 30.0
#: No wait is longer, so that `stop` is noticed.
SLICE_SECONDS = 0.2

log = logging.getLogger("sourcepulse.consumer")


def run(
    consumer: Consumer,
    callback: Callable[[Event], object],
    *,
    timeout: float | None,
    attempts: int,
    retry_seconds: float,
) -> None:
    """Call back with every event until the consumer is stopped or silent for `timeout` seconds, see `Consumer.run`."""
    with _stopped_by_sigterm(consumer):
        while (event := consumer.receive(timeout)) is not None:
            _handle(consumer, callback, event, attempts, retry_seconds)


def _handle(
    consumer: Consumer, callback: Callable[[Event], object], event: Event, attempts: int, retry_seconds: float
) -> None:
    for attempt in range(1, attempts + 1):
        try:
            callback(event)
        except Exception as error:
            log.warning("the callback failed on event %s", event.id, exc_info=True)
            if attempt == attempts:
                consumer.reject(f"the callback failed {attempts} times, the last time with {type(error).__name__}")
                return
            _pause(consumer, min(CALLBACK_RETRY_MAX_SECONDS, retry_seconds * 2.0 ** (attempt - 1)))
            if consumer.stopped:
                return
        else:
            consumer.acknowledge()
            return


def _pause(consumer: Consumer, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not consumer.stopped and (left := end - time.monotonic()) > 0:
        time.sleep(min(SLICE_SECONDS, left))


@contextmanager
def _stopped_by_sigterm(consumer: Consumer) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        consumer.stop()

    former: Any = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former if former is not None else signal.SIG_DFL)
