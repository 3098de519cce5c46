# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""When a stream is tried again after a failure: the pause doubles, is long if the broker refused us, and ends early if
the settings change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse.errors import (
    BrokerRefusedUsError,
    BrokerUnavailableError,
    OutboxError,
    SourcePulseError,
    VisibilityUnknownError,
)
from sourcepulse.outbox.delivery_state import count_failure, failed_settings, next_attempt_in, record_failure
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.destination import Destination

#: The wait after a first failure; it doubles with each further one, up to the maximum.
RETRY_FIRST_SECONDS = 0.5
RETRY_MOST_SECONDS = 30.0
#: A wrong password will still be wrong in a second, and every attempt adds to the broker's log.
RETRY_REFUSED_SECONDS = 60.0

logger = logging.getLogger(__name__)


def retry_seconds(failures: int, *, first: float = RETRY_FIRST_SECONDS, jitter: Callable[[], float]) -> float:
    """Return the seconds before the next attempt: doubling, capped, and spread by `jitter()` in 0..1."""
    most = max(first, RETRY_MOST_SECONDS)
    return backoff_seconds(failures, first=first, most=most) * (0.5 + 0.5 * jitter())


class Retry:
    """The pauses of one stream, recorded in the outbox, so that a relay that starts later keeps to them."""

    def __init__(
        self, outbox: Outbox, stream: str, destination: Destination | None, jitter: Callable[[], float]
    ) -> None:
        self._outbox = outbox
        self._stream = stream
        self._destination = destination
        self._jitter = jitter
        self._attempted = False

    def begin(self) -> None:
        """Record that this process makes an attempt, so that later ones know with which settings."""
        self._attempted = True

    def wait_s(self) -> float:
        """Return the seconds until the next attempt, 0 if now, or if the settings are not those that failed."""
        wait_s = next_attempt_in(self._outbox, self._stream)
        if wait_s <= 0 or self._destination is None:
            return wait_s
        if self._attempted:
            changed = self._destination.changed()
        else:
            changed = failed_settings(self._outbox, self._stream) != self._destination.mark()
        return 0.0 if changed else wait_s

    def fail(self, error: BrokerUnavailableError | VisibilityUnknownError) -> None:
        """Record and log a failed attempt."""
        first = RETRY_REFUSED_SECONDS if isinstance(error, BrokerRefusedUsError) else RETRY_FIRST_SECONDS
        wait_s = record_failure(
            self._outbox,
            self._stream,
            error,
            retry_in=lambda failures: retry_seconds(failures, first=first, jitter=self._jitter),
            settings=None if self._destination is None else self._destination.mark(),
        )
        logger.warning("%s; trying the %s stream again in %.1f s", error, self._stream, wait_s)

    def settings_changed(self) -> bool:
        """Return whether settings, certificates or binding changed since the last attempt."""
        return self._destination is not None and self._destination.changed()

    def note(self, error: BrokerUnavailableError) -> float:
        """Record that the broker could not be used though no event waits for it, which delays none; return a pause."""
        if self.wait_s() > 0:
            # What delays the events is more important.
            return RETRY_MOST_SECONDS
        first = RETRY_REFUSED_SECONDS if isinstance(error, BrokerRefusedUsError) else RETRY_FIRST_SECONDS
        pauses: list[float] = []

        def no_wait(failures: int) -> float:
            pauses.append(retry_seconds(failures, first=first, jitter=self._jitter))
            return 0.0

        mark = None if self._destination is None else self._destination.mark()
        record_failure(self._outbox, self._stream, error, retry_in=no_wait, settings=mark)
        return pauses[-1]

    def count(self, error: SourcePulseError) -> None:
        """Count a failure that is no attempt to deliver, unless the outbox cannot be written at all."""
        with suppress(OutboxError):
            count_failure(self._outbox, self._stream, error)
