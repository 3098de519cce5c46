# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Checks the arguments of a consumer and chooses the file for its memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from sourcepulse.brokers import TEMPORARY_LIMITS, QueueLimits, SubscriptionSpec
from sourcepulse.brokers.exchange_names import check_place
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.consumer.memory.state import MEMORY, default_path
from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import check_pattern

log = logging.getLogger("sourcepulse.consumer")


def subscription_spec(
    url: BrokerUrl,
    topics: str | Sequence[str],
    queue: str | None,
    *,
    exchange: str,
    durable: bool,
    shared: bool,
    prefetch: int,
    from_start: bool | float,
    limits: QueueLimits | None,
) -> SubscriptionSpec:
    """Return what a consumer requests from the broker; ConfigError if its arguments contradict each other."""
    check_place(url, exchange)
    patterns = (topics,) if isinstance(topics, str) else tuple(topics)
    if not patterns:
        raise ConfigError("a consumer needs at least one topic, such as 'hg.push.#'")
    for pattern in patterns:
        check_pattern(pattern)
    if durable and not queue:
        raise ConfigError("a durable subscription needs a name: pass queue=")
    if queue and not durable:
        raise ConfigError(f"the queue {queue!r} would not outlive its consumer: pass durable=True, or no queue")
    if shared and not durable:
        raise ConfigError("only a durable queue can be shared: pass queue= and durable=True")
    if not isinstance(from_start, bool) and url.scheme != "file":
        raise ConfigError("only a file:// log knows when it stored an event; use replay(TIME, outbox=FILE)")
    if prefetch < 1:
        raise ConfigError("prefetch is the number of unacknowledged messages, at least 1")
    if limits is not None and limits.max_deliveries < 1:
        raise ConfigError("max_deliveries is how often an event may be handed over, at least 1")
    return SubscriptionSpec(
        exchange=exchange,
        patterns=patterns,
        queue=queue,
        durable=durable,
        shared=shared,
        # An event that waits for its turn must leave room for the event before it.
        prefetch=prefetch if shared else max(2, prefetch),
        from_start=from_start,
        limits=limits or (QueueLimits() if durable else TEMPORARY_LIMITS),
    )


def state_path(url: BrokerUrl, spec: SubscriptionSpec, state: str | Path | None) -> Path | str:
    """Return the state file of a subscription, MEMORY for one that is not durable."""
    if not spec.durable or spec.queue is None:
        return MEMORY
    if state is not None:
        return state
    hosts = ",".join(f"{host}:{port}" for host, port in url.hosts)
    place = url.path or f"{hosts}/{url.vhost}"
    return default_path(f"{place}\n{spec.exchange}", spec.queue)


def log_unchecked(unchecked: tuple[str, ...], *, shared: bool) -> tuple[str, ...]:
    """Log and return the event types for which a lost event would go unnoticed."""
    if shared:
        log.info("the queue is shared: order and gaps are not checked")
    elif unchecked:
        log.info("the topics cover only a part of %s: a lost event of these goes unnoticed", ", ".join(unchecked))
    return unchecked
