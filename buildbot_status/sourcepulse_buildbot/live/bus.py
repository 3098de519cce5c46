# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Receive the messages of a master's message bus: each fact once, under its shortest key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: The callback for a message: `handler(key, message)`.
Handler = Callable[[tuple[str, ...], Any], None]

#: Events are made of the messages whose key has three words; handlers are found by its first and last word.
_KEY_WORDS = 3


class Subscription:
    """Subscribes handlers to the bus through its documented interface.

    `handlers` maps the first and last word of a key to a callback, which runs at once and in the reactor.
    """

    def __init__(self, mq: Any, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._mq = mq
        self._handlers = handlers
        self._consumers: list[Any] = []

    async def start(self) -> None:
        for (first, last), handler in self._handlers.items():
            self._consumers.append(await self._mq.startConsuming(handler, (first, None, last)))

    async def stop(self) -> None:
        """Stop receiving; may be called again."""
        consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            await _waited(consumer.stopConsuming())


class Tap:
    """Calls handlers for the messages that this master itself sends, as it sends them.

    Masters that share a database receive each other's messages, so with a subscription each of them would publish every
    event; and a message that is lost with a WAMP router never comes back. The data connector looks up `mq.produce`
    for every message.
    """

    def __init__(self, mq: Any, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._mq = mq
        self._handlers = handlers
        self._before: Callable[[Any, Any], Any] | None = None
        self._on = False

    async def start(self) -> None:
        self._before, self._on = self._mq.produce, True
        self._mq.produce = self._produce

    async def stop(self) -> None:
        """Stop receiving; may be called again."""
        self._on = False
        # Other code may have wrapped ours meanwhile; ours then stays and only passes messages on.
        if self._before is not None and self._mq.produce == self._produce:
            self._mq.produce, self._before = self._before, None

    def _produce(self, key: Any, message: Any) -> Any:
        if self._on and len(key) == _KEY_WORDS:
            handler = self._handlers.get((key[0], key[-1]))
            if handler is not None:
                handler(key, message)
        return self._before(key, message) if self._before is not None else None


async def _waited(result: Any) -> None:
    if hasattr(result, "addCallback"):
        await result
