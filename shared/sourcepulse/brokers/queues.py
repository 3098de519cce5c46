# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The queues of a broker: whose they are, how full, and what they lost. Nothing here changes or removes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sourcepulse.errors import ConfigError, NothingThereError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: Every queue of a temporary subscription begins with it.
TEMPORARY_PREFIX = "temporary-"
#: Names that RabbitMQ chooses.
_GENERATED_PREFIX = "amq."


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """One queue; times are seconds since 1970, and a figure that the broker does not show is None.

    `depth` counts also what a consumer holds without having acknowledged it. `streams` are those whose exchange the
    queue is bound to. `oldest_at` is when the oldest was published; RabbitMQ has the time of its event instead, and
    only the embedded log counts `dropped` exactly.
    """

    broker: str
    name: str
    durable: bool
    streams: tuple[str, ...]
    patterns: tuple[str, ...]
    #: The login of its consumer, or of the one that declared it.
    user: str | None
    consumers: int
    depth: int
    limit: int | None
    bytes: int | None
    limit_bytes: int | None
    oldest_at: float | None
    #: How many events were dropped by a limit of length, bytes or age.
    dropped: int | None
    dead: int | None
    last_consumer_at: float | None
    #: Where the broker does not count what it drops: how many were published, and how many consumers took.
    published: int | None = None
    taken: int | None = None
    #: How many events became stand-ins while they waited, because what they are about was hidden.
    withdrawn: int | None = None

    @property
    def owner(self) -> str | None:
        """Return whose queue it is: what is before the first dot of its name, or else the user."""
        return owner_of(self.name) or self.user

    @property
    def filled(self) -> float | None:
        """Return how much of its limit is used, 1.0 for all; None without a limit."""
        shares = [self.depth / self.limit] if self.limit else []
        if self.limit_bytes and self.bytes is not None:
            shares.append(self.bytes / self.limit_bytes)
        return max(shares, default=None)


class Queues(Protocol):
    """Reads the queues of one broker, as often as it is asked."""

    def read(self) -> list[QueueReport]:
        """Return the queues by name; BrokerError or NothingThereError."""


def owner_of(queue: str) -> str | None:
    """Return the part of a name before its first dot, the user who may declare such queues; None without a dot."""
    if queue.startswith((TEMPORARY_PREFIX, _GENERATED_PREFIX)):
        return None
    owner, dot, _ = queue.partition(".")
    return owner if dot and owner else None


def open_queues(url: BrokerUrl, exchanges: Mapping[str, str], management: BrokerUrl | None) -> Queues:
    """Return what reads the queues of the URL's broker; `exchanges` are those of the streams.

    ConfigError or NothingThereError where queues cannot be seen.
    """
    if url.scheme == "file":
        from sourcepulse.brokers.file.queue_reports import LocalQueues

        return LocalQueues(url, exchanges)
    if url.scheme.endswith("+activemq"):
        raise NothingThereError(
            f"the queues of {url} cannot be seen: ActiveMQ does not show them over STOMP; use its web console or JMX, "
            "and `sourcepulse dead-letters list` for dead letters"
        )
    if management is None:
        raise ConfigError(
            f"the queues of {url} cannot be seen: RabbitMQ shows them by its management API only; set "
            "management_url_file to a file that contains its URL, https://monitor:password@host:15671"
        )
    from sourcepulse.brokers.management.queues import RabbitmqQueues

    return RabbitmqQueues(url, exchanges, management)
