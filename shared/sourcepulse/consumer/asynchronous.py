# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The asyncio form of a consumer: `async with Consumer(...) as events: async for event in events: ...`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from sourcepulse.consumer.feed import Feed
from sourcepulse.consumer.item import Item
from sourcepulse.events.event import Event

#: How long leaving waits for the thread that closes the connection; it ends by itself after that.
CLOSE_LIMIT_SECONDS = 5.0
#: The event loop never sleeps longer while events are waited for.
WAKE_SECONDS = 1.0


class AsyncEvents:
    """The events of a consumer, one after the other, each acknowledged when the next is asked for.

    Leaving `async with`, by the end of the loop, `break`, an exception or cancellation, leaves the event at work
    unacknowledged; it comes again to the next consumer. For one task at a time.
    """

    def __init__(self, start_feed: Callable[[Callable[[], None]], Feed]) -> None:
        self._start_feed = start_feed
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._feed: Feed | None = None
        self._current: Item | None = None

    async def open(self) -> None:
        """Subscribe, in one attempt; the errors are those of `Consumer.open`."""
        feed = self._feed = self._start_feed(self._wake)
        try:
            while not feed.opened and not feed.over:
                await self._wait()
        except BaseException:
            feed.end()
            raise
        if feed.error is not None and not feed.opened:
            await self.close()
            raise feed.error

    async def close(self) -> None:
        """Leave; what is not acknowledged comes again. Waits five seconds at most for the broker's good-bye."""
        feed = self._feed
        if feed is None:
            return
        self._current = None
        feed.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_SECONDS):
                while not feed.over:
                    await self._wait()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Event:
        """Acknowledge the last event and give the next; ends as the loop over a consumer does."""
        self.acknowledge()
        feed = self._feed
        while feed is not None:
            # Whether it is over is asked first: what came before its end is taken.
            over = feed.over
            self._current = feed.take_now()
            if self._current is not None:
                return self._current.event
            if over and feed.error is not None:
                raise feed.error
            if over:
                break
            await self._wait()
        raise StopAsyncIteration

    def acknowledge(self) -> None:
        """Be done with the event at work before the next one is asked for; without one nothing happens."""
        item, self._current = self._current, None
        if item is not None and self._feed is not None:
            self._feed.acknowledge(item)

    def reject(self, reason: str) -> None:
        """Put the event at work aside, as `Consumer.reject` does."""
        item, self._current = self._current, None
        if item is not None and self._feed is not None:
            self._feed.reject(item, reason)

    async def _wait(self) -> None:
        # Set anew by whatever happened after the last look, for the feed wakes us after each change.
        # The limit is for Ctrl-C: one that comes just before the event loop goes to sleep is seen when it wakes.
        with suppress(TimeoutError):
            async with asyncio.timeout(WAKE_SECONDS):
                await self._news.wait()
        self._news.clear()

    def _wake(self) -> None:
        # The loop may be closed when the thread comes to its end.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._news.set)
