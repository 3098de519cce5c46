# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The asyncio form of a consumer: `async with Consumer(...) as events: async for event in events: ...`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from sourcepulse.consumer.received_event import Item
from sourcepulse.consumer.threads.background import BackgroundReceiver
from sourcepulse.events.event import Event

#: How long `close` waits for the thread that closes the connection; after that the thread ends by itself.
CLOSE_LIMIT_SECONDS = 5.0
#: The longest that a task sleeps while it waits for events.
WAKE_SECONDS = 1.0


class AsyncEvents:
    """The events of a consumer, one by one; each is acknowledged when the next one is requested.

    Leaving `async with`, whether at the end of the loop or by `break`, an exception or cancellation, leaves the
    current event unacknowledged: the next consumer receives it again. Use it from one task at a time.
    """

    def __init__(self, start_background: Callable[[Callable[[], None]], BackgroundReceiver]) -> None:
        self._start_background = start_background
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._background: BackgroundReceiver | None = None
        self._current: Item | None = None

    async def open(self) -> None:
        """Subscribe in one attempt; raises what `Consumer.open` raises."""
        background = self._background = self._start_background(self._wake)
        try:
            while not background.opened and not background.over:
                await self._wait()
        except BaseException:
            background.end()
            raise
        if background.error is not None and not background.opened:
            await self.close()
            raise background.error

    async def close(self) -> None:
        """Disconnect, waiting at most five seconds for the broker; unacknowledged events are redelivered."""
        background = self._background
        if background is None:
            return
        self._current = None
        background.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_SECONDS):
                while not background.over:
                    await self._wait()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Event:
        """Acknowledge the current event and return the next; ends when the loop over a consumer would end."""
        self.acknowledge()
        background = self._background
        while background is not None:
            # `over` is read first, so that events that arrived before the end are still returned.
            over = background.over
            self._current = background.take_now()
            if self._current is not None:
                return self._current.event
            if over and background.error is not None:
                raise background.error
            if over:
                break
            await self._wait()
        raise StopAsyncIteration

    def acknowledge(self) -> None:
        """Acknowledge the current event before the next one is requested; does nothing if there is none."""
        item, self._current = self._current, None
        if item is not None and self._background is not None:
            self._background.acknowledge(item)

    def reject(self, reason: str) -> None:
        """Move the current event to the dead letters, as `Consumer.reject` does."""
        item, self._current = self._current, None
        if item is not None and self._background is not None:
            self._background.reject(item, reason)

    async def _wait(self) -> None:
        # The receiver's thread sets `_news` after each change, so nothing that happens after the last check is missed.
        # The time limit is for Ctrl-C: one pressed just before the event loop sleeps is noticed when it wakes.
        with suppress(TimeoutError):
            async with asyncio.timeout(WAKE_SECONDS):
                await self._news.wait()
        self._news.clear()

    def _wake(self) -> None:
        # The event loop may already be closed when the receiver's thread ends.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.set)
