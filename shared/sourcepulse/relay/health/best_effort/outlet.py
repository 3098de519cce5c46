# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publishes what a relay reports of itself on the connection of a stream, and never delays the events of the stream.

A broker may store all events and yet not these: a login may publish `hg.#` only, a foreign queue of `system.#` may be
full. Where only an announcement cannot be sent, it is dropped and counted, and the next one waits for longer.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from sourcepulse.brokers.backoff import backoff_seconds
from sourcepulse.errors import AnnouncementError, BrokerBlockedError, BrokerUnavailableError, OutboxReplacedError
from sourcepulse.outbox.delivery_state import record_contact
from sourcepulse.relay.health.announce import FAREWELL_SECONDS, Announcer, UnconfirmedError, publish_now, unstored
from sourcepulse.relay.health.figures import numbers_of

if TYPE_CHECKING:
    from sourcepulse.brokers import Message, Publisher
    from sourcepulse.events.event import Event
    from sourcepulse.outbox.outbox import Claimed, Outbox
    from sourcepulse.relay.retry import Retry

#: Events wait for an announcement that is not confirmed for no longer than this.
CONFIRM_LIMIT_SECONDS = 5.0
#: The pause after an announcement that could not be sent; it doubles up to the maximum.
PAUSE_FIRST_SECONDS = 1.0
PAUSE_MOST_SECONDS = 300.0
#: A connection that was opened, or confirmed an event, so recently is sound.
WORKS_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Line(Protocol):
    """The connection of a stream."""

    def connected(self) -> Publisher:
        """Return the open connection, a new one if need be; BrokerUnavailableError."""

    def is_connected(self) -> bool:
        """Return whether one is open."""

    def abandon(self) -> None:
        """Drop it."""

    def message(self, event: Claimed, tag: int) -> Message:
        """Return an event as it is published."""


class Outlet:
    """Used by the thread of the delivery, while nothing else is in progress on its connection."""

    def __init__(self, outbox: Outbox, stream: str, announcer: Announcer | None, retry: Retry, line: Line) -> None:
        self._outbox = outbox
        self._stream = stream
        self._announcer = announcer
        self._retry = retry
        self._line = line
        self._worked_at: float | None = None
        self._paused_until = 0.0
        #: How many announcements in a row could not be sent, and what failed last.
        self._failures = 0
        self._trouble = ""

    def worked(self) -> None:
        """Record that the connection was opened or confirmed an event."""
        self._worked_at = time.monotonic()

    def is_due(self) -> bool:
        """Return whether `announce` would publish anything now."""
        if self._announcer is None or not self._announcer.is_due():
            return False
        # While events wait for something else, a connection that is open can still be used.
        is_open = self._line.is_connected()
        if time.monotonic() < self._paused_until and (is_open or not self._retry.settings_changed()):
            return False
        return is_open or self._retry.wait_s() <= 0

    def announce(self) -> None:
        """Publish the heartbeat and the status events that are due; raises OutboxReplacedError only."""
        try:
            while self._announcer is not None and (event := self._announcer.next()) is not None:
                if not self._published(event):
                    return
        except OutboxReplacedError:
            raise
        except Exception as error:  # noqa: BLE001 - delivery goes on whatever it is
            self._fail(error, "nothing can be announced", has_trace=True)

    def farewell(self) -> None:
        """Publish that the relay ends, if it is connected."""
        if self._announcer is None or not self._line.is_connected():
            return
        try:
            event = self._announcer.farewell(numbers_of(self._outbox, self._stream))
            publish_now(self._line.connected(), self._line.message(unstored(event), 0), limit_s=FAREWELL_SECONDS)
        except Exception as error:  # noqa: BLE001 - the relay ends
            logger.debug("the end of the relay is not announced: %s", error)

    def _published(self, event: Event) -> bool:
        """Publish one event; return False to publish no further one now."""
        assert self._announcer is not None  # noqa: S101 - the event is its own
        try:
            message = self._line.message(unstored(event), 0)
        except Exception as error:  # noqa: BLE001 - such as a name of a queue that is not valid Unicode
            self._announcer.sent(event)
            self._fail(error, f"a {event.type} cannot be encoded and is dropped", has_trace=True)
            return True
        try:
            publisher = self._line.connected()
        except BrokerUnavailableError as error:
            # Events would find the same, and must not wait until they try.
            self._pause(self._retry.note(error), f"{error}; the {self._stream} stream has nothing to send")
            return False
        try:
            publish_now(publisher, message, limit_s=CONFIRM_LIMIT_SECONDS)
        except AnnouncementError as error:
            self._announcer.sent(event)
            self._fail(error, f"a {event.type} is dropped; events are sent all the same", has_trace=False)
            return False
        except Exception as error:  # noqa: BLE001 - delivery goes on whatever it is
            self._line.abandon()
            self._not_stored(event, error)
            return False
        self._announcer.sent(event)
        self._failures, self._trouble = 0, ""
        record_contact(self._outbox, self._stream)
        return True

    def _not_stored(self, event: Event, error: Exception) -> None:
        assert self._announcer is not None  # noqa: S101 - the event is its own
        if isinstance(error, BrokerBlockedError | UnconfirmedError):
            # A broker that stores nothing is in trouble, though no event waits for it yet.
            self._retry.note(error)
        is_sound = self._worked_at is not None and time.monotonic() - self._worked_at < WORKS_SECONDS
        if is_sound and not isinstance(error, BrokerBlockedError):
            self._announcer.sent(event)
            what = f"a {event.type} cannot be sent and is dropped; events are sent all the same"
        else:
            what = f"a {event.type} cannot be sent"
        self._fail(error, what, has_trace=not isinstance(error, BrokerUnavailableError))

    def _fail(self, error: Exception, what: str, *, has_trace: bool) -> None:
        self._retry.count(AnnouncementError(str(error)))
        self._failures += 1
        pause_s = backoff_seconds(self._failures - 1, first=PAUSE_FIRST_SECONDS, most=PAUSE_MOST_SECONDS)
        self._pause(pause_s, f"{what}: {error}", error if has_trace else None)

    def _pause(self, seconds: float, sentence: str, trace: Exception | None = None) -> None:
        """Log each trouble once, and announce nothing for a while."""
        self._paused_until = time.monotonic() + seconds
        if sentence != self._trouble:
            self._trouble = sentence
            logger.warning("%s", sentence, exc_info=trace)
