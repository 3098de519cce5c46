# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Checks which sources a consumer may expect, and whether its topics can show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sourcepulse.brokers import SubscriptionSpec
from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE
from sourcepulse.consumer.order.coverage import Coverage
from sourcepulse.errors import ConfigError, quoted
from sourcepulse.events.event import RESTRICTED_SUFFIX
from sourcepulse.events.topics import FAMILIES

#: The routing key of heartbeats, and the scheme of the sources that send them.
HEARTBEAT_KEY = "system.relay.heartbeat"
HEARTBEAT_TYPE = "system.relay.heartbeat.v1"
HEARTBEAT_SCHEME = "system"
#: The longest time that can be expected, a year.
EXPECTED_MAX_SECONDS = 366 * 86_400.0


class Wanted(NamedTuple):
    """The seconds after which each expected source is silent, and whether heartbeats are wanted apart from that."""

    expect: Mapping[str, float]
    heartbeats: bool


def check_expected(expect: Mapping[str, float], spec: SubscriptionSpec, *, heartbeats: bool) -> Wanted:
    """Return what is wanted; ConfigError if a source is malformed or could never be heard."""
    coverage = Coverage(spec.patterns)
    for source, seconds in expect.items():
        scheme, _, rest = source.partition("://") if isinstance(source, str) else ("", "", "")
        if scheme not in FAMILIES or not rest:
            schemes = ", ".join(f"{each}://" for each in sorted(FAMILIES))
            raise ConfigError(
                f"expect has {quoted(str(source))}, which is not a source; sources begin with {schemes}, "
                "and a relay sends heartbeats as system://HOST"
            )
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 1 <= seconds <= EXPECTED_MAX_SECONDS
        ):
            raise ConfigError(
                f"expect wants for {source} a number of seconds from 1 to {EXPECTED_MAX_SECONDS:.0f}, not {seconds!r}; "
                "three times the interval of its heartbeats is a good one"
            )
        if source.endswith(RESTRICTED_SUFFIX) and spec.exchange == DEFAULT_EXCHANGE:
            raise ConfigError(f"{source} does not publish to the exchange {spec.exchange!r}: pass the restricted one")
        if scheme == HEARTBEAT_SCHEME:
            continue
        if not any(coverage.takes_some_of([family]) for family in FAMILIES[scheme]):
            raise ConfigError(f"{source} cannot be heard: no topic matches its events; add '{FAMILIES[scheme][0]}.#'")
        if spec.shared:
            raise ConfigError(
                f"{source} cannot be expected by one of several consumers that share a queue, because its events may "
                "go to the others; expect the relay's heartbeats, system://HOST, or use a queue of its own"
            )
    return Wanted(dict(expect), heartbeats)
