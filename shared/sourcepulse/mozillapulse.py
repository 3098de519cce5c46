# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Compatibility with MozillaPulse: the same class and callback for programs that were written for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.consumer.consumer import Consumer
from sourcepulse.errors import ConfigError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import encode_pulse


class Message:
    """The second argument of a callback."""

    def ack(self) -> None:
        """Do nothing: the event is acknowledged after the callback returns, so that a crash loses none."""


Callback = Callable[[dict[str, Any], Message], object]


class GenericConsumer:
    """A consumer with MozillaPulse's settings: `topic`, `callback`, `applabel`, `durable`.

    The callback gets the event as a Pulse message, `{"_meta": ..., "payload": ...}`; `sent` is the time of the event.
    If it raises, it is called again; after five attempts the event becomes a dead letter, as in `Consumer.run`.
    """

    def __init__(
        self,
        url: str,
        exchange: str = DEFAULT_EXCHANGE,
        *,
        topic: str | Sequence[str] = "#",
        callback: Callback | None = None,
        applabel: str | None = None,
        durable: bool = False,
    ) -> None:
        self.url = url
        self.exchange = exchange
        self.topic = topic
        self.callback = callback
        self.applabel = applabel
        self.durable = durable

    def configure(
        self,
        *,
        topic: str | Sequence[str] | None = None,
        callback: Callback | None = None,
        applabel: str | None = None,
        durable: bool | None = None,
    ) -> None:
        """Change the given settings, from the next `listen` on."""
        self.topic = self.topic if topic is None else topic
        self.callback = callback or self.callback
        self.applabel = applabel or self.applabel
        self.durable = self.durable if durable is None else durable

    def listen(self, callback: Callback | None = None) -> None:
        """Call the callback with every message until SIGTERM or Ctrl-C; raises like `Consumer`."""
        self.configure(callback=callback)
        handle = self.callback
        if handle is None:
            raise ConfigError("there is no callback: pass callback= to configure or listen")
        if self.durable and not self.applabel:
            raise ConfigError("a durable queue needs a name: pass applabel=")

        def on_event(event: Event) -> None:
            handle(json.loads(encode_pulse(event, exchange=self.exchange, sent=event.time)), Message())

        queue = self.applabel if self.durable else None
        with Consumer(self.url, self.topic, queue, durable=self.durable, exchange=self.exchange) as consumer:
            consumer.run(on_event)
