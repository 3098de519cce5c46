# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What holds for RabbitMQ's queues over AMQP and over STOMP: names, limits, and hints after refusals."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from sourcepulse.brokers.url import SCHEMES
from sourcepulse.errors import SubscriptionError

if TYPE_CHECKING:
    from sourcepulse.brokers import QueueLimits
    from sourcepulse.brokers.url import BrokerUrl

#: The suffix of the queue that holds the dead letters of a queue, with the same limits.
DEAD_SUFFIX = ".dead"
#: A name is a short string.
NAME_MAX_BYTES = 255
MILLISECONDS = 1000


def temporary_name() -> str:
    """Return a new name: an exclusive queue ends with its connection, but its name stays locked for a while."""
    return f"temporary-{uuid.uuid4()}"


def check_names(names: Iterable[str], suffix: str) -> None:
    """Raise SubscriptionError if a name with the suffix is too long."""
    most = NAME_MAX_BYTES - len(suffix)
    for name in names:
        if len(name.encode()) > most:
            raise SubscriptionError(f"{name[:60]!r}... has more than {most} bytes")


def queue_limits(limits: QueueLimits) -> dict[str, int]:
    """Return limits as RabbitMQ's queue arguments; the oldest messages are dropped, as is RabbitMQ's default."""
    return {
        "x-max-length": limits.max_length,
        "x-message-ttl": limits.message_ttl_s * MILLISECONDS,
        "x-expires": limits.expires_s * MILLISECONDS,
    }


def name_hint(refusal: str, queue: str | None, user: str) -> str:
    """Return a hint after a refusal: with rights granted by prefix, a login may use queues of its own name only."""
    if queue is None or not user or "to queue" not in refusal or queue.startswith(f"{user}."):
        return ""
    return f"; this login may be limited to queues that begin with its name, such as '{user}.{queue}'"


def amqp_beside(url: BrokerUrl) -> BrokerUrl:
    """Return the URL of AMQP at the hosts of a STOMP URL: at its usual port, or at `?amqp_port=`."""
    scheme = "amqps" if url.tls else "amqp"
    port = int(url.option("amqp_port") or SCHEMES[scheme])
    return replace(url, scheme=scheme, hosts=tuple((host, port) for host, _ in url.hosts))
