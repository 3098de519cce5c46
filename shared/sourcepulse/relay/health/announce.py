# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publish an event about the system itself on the open connection of a running relay: unnumbered, never stored.

Every thread of a relay may call

    relay.announcers["public"].announce("overgrown", "the queue of ci has 800 of 1000 events", service="queue",
                                        figures={"events": 800, "limit": 1000})

which returns at once. The delivery of that stream publishes it within about a second, or when its broker is back. It is
best effort: of many the oldest are dropped, so is one that the broker does not store, and what waits when the process
ends is gone. What may only be known to
readers of restricted events must be announced on the restricted stream.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

from sourcepulse.brokers import Message, Outcome, Publisher
from sourcepulse.errors import AnnouncementError, BrokerUnavailableError
from sourcepulse.events.event import RESTRICTED, RESTRICTED_SUFFIX, Event
from sourcepulse.events.wire import encode
from sourcepulse.outbox.outbox import Claimed
from sourcepulse.relay.health.heartbeat import Heartbeat

#: How many announcements wait for the broker.
WAITING_MAX = 50
#: A longer message is cut.
MESSAGE_MAX_CHARACTERS = 1_000
#: One wait for a confirmation, and how long a relay that ends waits for the last one.
SETTLE_SECONDS = 1.0
FAREWELL_SECONDS = 2.0

logger = logging.getLogger(__name__)


class Announcer:
    """The announcements and heartbeats of one stream until its delivery publishes them. Thread-safe but for `next`."""

    def __init__(self, stream: str, heartbeat: Heartbeat | None = None) -> None:
        self.stream = stream
        self._heartbeat = heartbeat
        self._source = f"system://{socket.gethostname()}" + (RESTRICTED_SUFFIX if stream == RESTRICTED else "")
        self._run = str(uuid.uuid4())
        self._count = 0
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque(maxlen=WAITING_MAX)

    def announce(
        self,
        state: str,
        message: str,
        *,
        service: str = "relay",
        subject: str | None = None,
        figures: Mapping[str, int | None] | None = None,
    ) -> None:
        """Publish `system.SERVICE.STATE.v1` soon; the subject is the service unless set."""
        with self._lock:
            self._waiting.append(self._event(state, message, service, subject, figures))

    def announce_data(self, type_: str, data: Mapping[str, Any], *, subject: str) -> None:
        """Publish an event with data of its own, which are not those of a status, soon."""
        with self._lock:
            self._waiting.append(self._made(type_, data, type_.split(".")[-2], subject))

    def farewell(self, figures: Mapping[str, int | None]) -> Event:
        """Return the event that the relay ends, to be published at once."""
        with self._lock:
            return self._event("stopped", "the relay ends as it was asked to", "relay", None, figures)

    def is_due(self) -> bool:
        """Return whether there is anything to publish."""
        return bool(self._waiting) or (self._heartbeat is not None and self._heartbeat.is_due())

    def next(self) -> Event | None:
        """Return the oldest announcement, or else the heartbeat if it is due; None if nothing is."""
        with self._lock:
            if self._waiting:
                return self._waiting[0]
        return None if self._heartbeat is None else self._heartbeat.next()

    def sent(self, event: Event) -> None:
        """Forget an announcement, because the broker has it or refused it."""
        with self._lock:
            if self._waiting and self._waiting[0] is event:
                self._waiting.popleft()

    def _event(
        self, state: str, message: str, service: str, subject: str | None, figures: Mapping[str, int | None] | None
    ) -> Event:
        data = {
            "message": message[:MESSAGE_MAX_CHARACTERS],
            "until": None,
            "url": None,
            "figures": None if figures is None else dict(figures),
        }
        return self._made(f"system.{service}.{state}.v1", data, state, subject or service)

    def _made(self, type_: str, data: Mapping[str, Any], state: str, subject: str) -> Event:
        self._count += 1
        key = [state, self._run, str(self._count)]
        return Event.of(type_, source=self._source, key=key, subject=subject, time=time.time(), data=data)


class UnconfirmedError(BrokerUnavailableError):
    """The broker neither confirmed nor refused an event about the system in time."""


def unstored(event: Event) -> Claimed:
    """Return an event as the outbox would, had it been stored there."""
    return Claimed(0, event.id, event.source, event.type, event.time, event.routing_key, encode(event), event.subject)


def publish_now(publisher: Publisher, message: Message, *, limit_s: float | None = None) -> None:
    """Publish one message while nothing else is in progress, and wait until it is settled, or for `limit_s`.

    BrokerUnavailableError, also after the limit, AnnouncementError if the broker refuses this message only. The
    publisher itself limits the wait as well.
    """
    publisher.send(message)
    until = None if limit_s is None else time.monotonic() + limit_s
    while not (settled := list(publisher.settle(SETTLE_SECONDS))):
        if until is not None and time.monotonic() >= until:
            raise UnconfirmedError(f"the broker has not confirmed a {message.type} within {limit_s:g} s")
    if settled[0].outcome is Outcome.REFUSED:
        raise AnnouncementError(f"the broker refused it: {settled[0].reason}")
