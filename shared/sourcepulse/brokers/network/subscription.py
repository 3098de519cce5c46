# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Receiving over one connection, whatever the protocol: what has arrived, and which of it can be acknowledged."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from sourcepulse.brokers import Delivery, SubscriptionSpec
from sourcepulse.brokers.network.connection import CALL_LIMIT_SECONDS, CONNECT_LIMIT_SECONDS, BrokerConnection
from sourcepulse.errors import BrokerUnavailableError, SubscriptionError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

PREFETCH_MAX = 65_535


class Handle(NamedTuple):
    """What identifies a delivery: the connection that it came over, and the broker's name for it there."""

    opening: int
    tag: Any
    destination: str = ""


class NetworkSubscription(ABC):
    """One consumer of one queue over one connection, see `Subscription`."""

    unbinds: bool
    #: The class of the connection.
    _Connection: ClassVar[type[BrokerConnection]]
    _connection: BrokerConnection

    def __init__(
        self,
        url: BrokerUrl,
        spec: SubscriptionSpec,
        *,
        former_patterns: Sequence[str] = (),
        connect_limit_s: float = CONNECT_LIMIT_SECONDS,
        call_limit_s: float = CALL_LIMIT_SECONDS,
    ) -> None:
        self.interrupted = False
        self._url = url
        self._spec = spec
        self._former_patterns = tuple(former_patterns)
        self._limits = {"connect_limit_s": connect_limit_s, "call_limit_s": call_limit_s}
        self._connection = self._Connection(url, **self._limits)
        self._opening = 0
        #: True once the subscription stood, and so may lose messages.
        self._stood = False
        self._arrived: deque[Delivery] = deque()

    @property
    def served(self) -> bool:
        """Whether the messages go to this consumer; those of a temporary queue do, of others it may be unknown."""
        return not self._spec.durable

    @property
    def notes(self) -> Sequence[str]:
        """What the broker does differently from the request."""
        return ()

    def receive(self, wait_seconds: float) -> Delivery | None:
        """Wait at most `wait_seconds` for one message; BrokerUnavailableError if the queue was deleted."""
        deadline = time.monotonic() + wait_seconds
        while not self._arrived:
            # What has arrived is read even if there is no time to wait.
            now = time.monotonic()
            if not self._read(max(0.0, deadline - now)) and now >= deadline:
                return None
        return self._arrived.popleft()

    def acknowledge(self, delivery: Delivery) -> None:
        """Acknowledge a message; BrokerUnavailableError if it came over an older connection."""
        self.acknowledge_all((delivery,))

    @abstractmethod
    def acknowledge_all(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge messages with one write; raises what `acknowledge` raises."""

    def abandon(self) -> None:
        """Drop the connection; unacknowledged messages are redelivered."""
        self._connection.abandon()
        self._arrived.clear()

    def close(self) -> None:
        """Disconnect; a temporary queue is removed."""
        self._connection.close()
        self.abandon()

    @abstractmethod
    def _read(self, wait_s: float) -> bool:
        """Handle the next frame, waiting at most `wait_s`; False if none came."""

    def _check(self) -> None:
        """Raise SubscriptionError if no broker can provide what was requested."""
        spec = self._spec
        if not spec.patterns or spec.durable != bool(spec.queue):
            raise SubscriptionError("a subscription needs patterns, and a queue name exactly if it is durable")
        if spec.from_start and not spec.durable:
            raise SubscriptionError("the broker stores nothing for a temporary queue: from_start is not supported")
        if not 1 <= spec.prefetch <= PREFETCH_MAX:
            raise SubscriptionError(f"prefetch is {spec.prefetch}; it can be 1 to {PREFETCH_MAX}")

    def _is_connected(self) -> bool:
        return True

    def _handle_of(self, delivery: Delivery) -> Handle:
        handle = delivery.handle
        if not isinstance(handle, Handle) or handle.opening != self._opening or not self._is_connected():
            raise BrokerUnavailableError("the message came over a connection that is closed; it will be redelivered")
        return handle
