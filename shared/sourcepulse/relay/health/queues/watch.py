# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Looks at the queues that the relay's brokers show, at intervals, and announces those in trouble."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from sourcepulse.brokers.queues import QueueReport, open_queues
from sourcepulse.errors import NothingThereError, SourcePulseError
from sourcepulse.relay.health.queues.rules import QueueRules

if TYPE_CHECKING:
    from sourcepulse.config import Config

#: Longer than RabbitMQ's figures of a queue are old.
LOOK_SECONDS = 15.0
#: A look that takes long is followed by a longer pause, so that looking takes at most a twentieth of the time.
PAUSE_PER_LOOK = 20

logger = logging.getLogger(__name__)

Read = Callable[[], list[QueueReport]]


class Announces(Protocol):
    """The announcer of a stream."""

    def announce_data(self, type_: str, data: Mapping[str, Any], *, subject: str) -> None:
        """Publish an event that is not a status soon."""


class QueueWatch:
    """Runs in a thread of the relay. What cannot be seen is logged once for each reason, and looked for again."""

    def __init__(self, read: Read, announcers: Mapping[str, Announces], *, look_s: float = LOOK_SECONDS) -> None:
        self._read = read
        self._announcers = announcers
        self._look_s = look_s
        self._rules = QueueRules()
        self._failure = ""

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.is_set():
            began = time.monotonic()
            self.look(began)
            stop.wait(max(self._look_s, (time.monotonic() - began) * PAUSE_PER_LOOK))

    def look(self, now: float) -> None:
        """Look once; `now` is monotonic."""
        try:
            reports = self._read()
        except NothingThereError:
            # The first event creates a log.
            return
        except Exception as error:
            if repr(error) != self._failure:
                self._failure = repr(error)
                trace = None if isinstance(error, SourcePulseError) else error
                sentence = "the queues cannot be seen, and those that fill up are not reported: %s"
                logger.warning(sentence, error if trace is None else repr(error), exc_info=trace)
            return
        if self._failure:
            self._failure = ""
            logger.info("the queues can be seen again")
        for notice in self._rules.look(reports, now):
            logger.warning("%s", notice.data["message"])
            if notice.stream in self._announcers:
                announcer = self._announcers[notice.stream]
                announcer.announce_data(notice.type, notice.data, subject=f"queue/{notice.queue}")


def reader_of(config: Config) -> Read | None:
    """Return what reads all queues that can be seen with the settings; None if no broker shows any.

    The settings are read again each time, because a password in a file may change.
    """
    if not list(_visible(config)):
        return None

    def read() -> list[QueueReport]:
        now = config.again()
        exchanges = {"public": now.require("exchange"), "restricted": now.require("restricted_exchange")}
        management = now.management()
        return [
            report
            for prefix in _visible(now)
            if (url := now.broker(prefix)) is not None
            for report in open_queues(url, exchanges, management).read()
        ]

    return read


def _visible(config: Config) -> Iterator[str]:
    """Yield the prefix of the setting of each broker that shows its queues, of one virtual host only once."""
    is_managed = bool(config.text("management_url") or config.text("management_url_file"))
    seen = set()
    public = config.broker()
    for prefix in ("", "restricted_"):
        url = config.broker(prefix)
        if url is None or url.scheme.endswith("+activemq"):
            continue
        hosts = frozenset(host for host, _ in url.hosts)
        if url.scheme != "file":
            # The API is that of the broker for public events.
            is_of_it = public is not None and hosts == frozenset(host for host, _ in public.hosts)
            if not is_managed or not is_of_it:
                continue
        place = (hosts, url.vhost, url.path)
        if place not in seen:
            seen.add(place)
            yield prefix
