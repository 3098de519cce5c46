# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Hear what a master's message bus says: each fact once, under its shortest key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

#: What is called for a message: `handler(key, message)`.
Handler = Callable[[tuple[str, ...], Any], None]

#: The messages that events are made of: first and last word of keys of three words.
_KEY_WORDS = 3


class Subscription:
    """Has handlers called by the bus, through its documented interface.

    `handlers` maps the first and last word of a key to what is called, at once and in the reactor.
    """

    def __init__(self, mq: Any, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._mq = mq
        self._handlers = handlers
        self._consumers: list[Any] = []

    async def start(self) -> None:
        """Begin to hear."""
        for (first, last), handler in self._handlers.items():
            self._consumers.append(await self._mq.startConsuming(handler, (first, None, last)))

    async def stop(self) -> None:
        """Hear no more; may be called again."""
        consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            await _waited(consumer.stopConsuming())


class Tap:
    """Has handlers called for what this master itself says, as it says it.

    Masters that share a database hear each other, so that with a subscription each would tell each event; and what a
    lost WAMP router swallows never comes back. The data connector looks `mq.produce` up for every message.
    """

    def __init__(self, mq: Any, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._mq = mq
        self._handlers = handlers
        self._before: Callable[[Any, Any], Any] | None = None
        self._on = False

    async def start(self) -> None:
        """Begin to hear."""
        self._before, self._on = self._mq.produce, True
        self._mq.produce = self._produce

    async def stop(self) -> None:
        """Hear no more; may be called again."""
        self._on = False
        # Somebody else may have put something of theirs before ours meanwhile; ours then stays, and only passes on.
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
