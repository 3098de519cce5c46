# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the tests of the STOMP brokers share: pieces with limits of a test's own, and settling until the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sourcepulse.brokers import Outcome, Publisher, Settlement, SubscriptionSpec, open_publisher, open_subscription
from sourcepulse.brokers.stomp_publisher import StompPublisher
from sourcepulse.brokers.stomp_subscription import StompSubscription
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import BrokerUnavailableError

#: Generous: proves that nothing hangs.
WAIT_SECONDS = 30.0


def publisher(url: str, *, exchange: str = "sourcepulse", **limits: float) -> StompPublisher:
    """A publisher, not yet opened, with small limits unless told otherwise."""
    parsed = BrokerUrl.parse(url)
    kind: Any = type(open_publisher(parsed, exchange=exchange))
    limits = {"confirm_limit_s": 10.0, "connect_limit_s": 10.0, "call_limit_s": 10.0, **limits}
    made = kind(parsed, exchange=exchange, **limits)
    assert isinstance(made, StompPublisher)
    return made


def subscription(url: str, spec: SubscriptionSpec, *, former: Sequence[str] = (), **limits: float) -> StompSubscription:
    """A subscription, not yet opened."""
    parsed = BrokerUrl.parse(url)
    kind: Any = type(open_subscription(parsed, spec))
    made = kind(parsed, spec, former_patterns=former, **limits)
    assert isinstance(made, StompSubscription)
    return made


def settle_until_it_fails(sender: Publisher) -> tuple[list[Settlement], BrokerUnavailableError]:
    """Settle until the publisher says that it is of no more use; give what was settled before, and its word."""
    settled: list[Settlement] = []
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            settled += sender.settle(WAIT_SECONDS)
        except BrokerUnavailableError as error:
            return settled, error
    raise AssertionError(f"settled {len(settled)} and did not fail")


def outcomes(settled: Iterable[Settlement]) -> dict[int, Outcome]:
    """What became of each tag."""
    return {item.tag: item.outcome for item in settled}
