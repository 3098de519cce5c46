# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Watches the streams of a running relay: reports when one is degraded and when it has recovered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sourcepulse.errors import OutboxError, OutboxReplacedError
from sourcepulse.outbox.delivery_state import record_reported, reported_reasons
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.health.condition import RULES, Change, Condition, Rules
from sourcepulse.relay.health.figures import in_words, numbers_of, read_figures

if TYPE_CHECKING:
    import threading

    from sourcepulse.relay.health.announce import Announcer
    from sourcepulse.relay.health.on_change import OnChange

logger = logging.getLogger(__name__)


def no_report(_: str) -> None:
    """Report nothing: there is no service manager."""


class Watch:
    """Looks at every stream, at intervals, in a thread and with an outbox connection of its own.

    `report` gets a line about all streams at every look, for `systemctl status`.
    """

    def __init__(
        self,
        outbox: Outbox,
        streams: Sequence[str],
        announcers: Mapping[str, Announcer],
        *,
        on_change: OnChange | None = None,
        report: Callable[[str], None] = no_report,
        rules: Rules = RULES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._streams = streams
        self._announcers = announcers
        self._on_change = on_change
        self._report = report
        self._rules = rules
        self._clock = clock
        self._failure = ""
        self._conditions: dict[str, Condition] = {}
        #: What the outbox records of them.
        self._recorded: dict[str, list[str] | None] = {}

    def begin(self) -> None:
        """Announce that the relay runs."""
        for stream in self._announcers:
            try:
                self._announce(stream, "started", "the relay runs")
            except Exception as error:  # noqa: BLE001 - delivery goes on whatever it is
                logger.warning("the start of the relay is not announced: %r", error)

    def run(self, stop: threading.Event, *, announces: bool) -> None:
        """Watch until `stop` is set; with `announces` publish status events of the streams that have an announcer."""
        while not stop.is_set():
            try:
                self._look(stop, announces=announces)
            except OutboxReplacedError:
                raise
            except OutboxError as error:
                # The loops that need the outbox log it.
                logger.debug("the figures cannot be read: %s", error)
            except Exception as error:
                if repr(error) != self._failure:
                    self._failure = repr(error)
                    logger.exception("the condition of the streams cannot be watched")
            stop.wait(self._rules.look_s)

    def _look(self, stop: threading.Event, *, announces: bool) -> None:
        lines = []
        for stream in self._streams:
            condition = self._condition(stream)
            figures = read_figures(self._outbox, stream)
            lines.append(f"{stream}: {in_words(figures)}")
            change = condition.look(figures, self._clock())
            if change is not None:
                self._report_change(stream, change, stop, announces=announces)
            self._record(stream, condition.reported)
        self._report("; ".join(lines))

    def _condition(self, stream: str) -> Condition:
        """Return the condition of a stream, at first the one that an earlier relay reported."""
        if stream not in self._conditions:
            reported = self._recorded[stream] = reported_reasons(self._outbox, stream)
            self._conditions[stream] = Condition(self._clock(), self._rules, reported=reported)
        return self._conditions[stream]

    def _record(self, stream: str, reported: list[str] | None) -> None:
        """Record a change, after it was reported: a relay that dies between these reports it once more."""
        if reported == self._recorded[stream]:
            return
        try:
            record_reported(self._outbox, stream, reported)
        except OutboxReplacedError:
            raise
        except OutboxError as error:
            logger.debug("the state of the %s stream cannot be recorded, trying again soon: %s", stream, error)
        else:
            self._recorded[stream] = reported

    def _report_change(self, stream: str, change: Change, stop: threading.Event, *, announces: bool) -> None:
        logger.warning("the %s stream is %s: %s", stream, change.state, change.reason)
        if announces:
            self._announce(stream, change.state, change.reason)
        if self._on_change is not None:
            self._on_change.run(change.state, change.reason, stream, stop=stop)

    def _announce(self, stream: str, state: str, message: str) -> None:
        if stream in self._announcers:
            self._announcers[stream].announce(state, message, figures=numbers_of(self._outbox, stream))
