# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Delivery of one stream: read from the outbox, in order per source, publish pipelined, settle what is confirmed."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from sourcepulse.brokers import Message, Outcome, Publisher, Settlement
from sourcepulse.errors import (
    BrokerUnavailableError,
    DecodeError,
    NothingThereError,
    VisibilityUnknownError,
)
from sourcepulse.events.event import format_time
from sourcepulse.events.wire import CONTENT_TYPE, PULSE_CONTENT_TYPE, decode, encode, encode_pulse
from sourcepulse.outbox.outbox import Claimed, Outbox
from sourcepulse.outbox.outgoing.replays import claim_replays, finish_replays
from sourcepulse.outbox.outgoing.visibility import Gate
from sourcepulse.relay.backlog import Backlog, ensure_index
from sourcepulse.relay.destination import Destination
from sourcepulse.relay.health.announce import Announcer
from sourcepulse.relay.health.best_effort.outlet import Outlet
from sourcepulse.relay.retry import Retry

#: How many events are read from the outbox, and acknowledged in it, at a time.
BATCH_EVENTS = 500
#: How long one wait for confirms may take before the relay checks whether it is to stop.
SETTLE_SECONDS = 1.0
#: Events that were read longer ago are looked up again before they are sent.
AHEAD_MAX_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class DeliveryReport:
    """What one or more rounds did, and the error that ended the last one, if any."""

    delivered: int = 0
    unroutable: int = 0
    buried: int = 0
    replayed: int = 0
    error: BrokerUnavailableError | VisibilityUnknownError | None = None


class Steps(NamedTuple):
    """What is done with each event: read at most so many more, make the message, and settle it.

    `still` returns those that are to be sent after all, though they were read a while ago; `save` records in the outbox
    what is settled, if that is at least so much.
    """

    more: Callable[[int], Sequence[tuple[int, Claimed]]]
    still: Callable[[Sequence[tuple[int, Claimed]]], Sequence[tuple[int, Claimed]]]
    make: Callable[[Claimed, int], Message]
    settled: Callable[[Settlement], None]
    save: Callable[[int], None]


class Delivery:
    """Publishes the pending events and the requested replays of one stream.

    `open_publisher` returns a new, unopened publisher for each connection. If the broker fails midway, everything
    unconfirmed is sent again, of each source from the oldest on, with the same ids, so the worst case is repeats. The
    `gate` decides what may be sent; without one everything may.
    """

    def __init__(
        self,
        outbox: Outbox,
        stream: str,
        open_publisher: Callable[[], Publisher],
        *,
        exchange: str,
        pulse_format: bool = False,
        clock: Callable[[], float],
        gate: Gate | None = None,
        destination: Destination | None = None,
        announcer: Announcer | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.stream = stream
        self._gate = gate
        self._destination = destination
        self.announcer = announcer
        self._outbox = outbox
        self._open_publisher = open_publisher
        self._exchange = exchange
        self._pulse_format = pulse_format
        self._clock = clock
        self._retry = Retry(outbox, stream, destination, jitter)
        #: Counts a failure of the outbox itself.
        self.count_failure = self._retry.count
        self._outlet = Outlet(outbox, stream, announcer, self._retry, self)
        self._publisher: Publisher | None = None
        self._is_prepared = False

    def attempt(self, stopping: Callable[[], bool]) -> DeliveryReport:
        """Send everything pending, until `stopping` returns True, and wait until it is settled.

        Refused events are buried. An unreachable broker ends the attempt: the report has the error, and the outbox
        the time of the next attempt.
        """
        report = DeliveryReport()
        self._retry.begin()
        if self._destination is not None and self._destination.stale():
            # Another stream may have moved to this destination, so check it again with a new connection.
            self.abandon()
        if not self._is_prepared:
            ensure_index(self._outbox)
            self._is_prepared = True
        try:
            self._send_pending(report, stopping)
            self._send_replays(report, stopping)
        except (BrokerUnavailableError, VisibilityUnknownError) as error:
            # If only the visibility is unknown, the broker works, and everything sent is settled.
            if isinstance(error, BrokerUnavailableError):
                self.abandon()
            self._retry.fail(error)
            report.error = error
        except BaseException:
            # Which events are unsettled is no longer known; the next attempt uses a new connection.
            self.abandon()
            raise
        return report

    def is_due(self) -> bool:
        """Return whether `announce` would publish anything now."""
        return self._outlet.is_due()

    def announce(self) -> None:
        """Publish the heartbeat and the status events that are due; call it while nothing else is in progress."""
        self._outlet.announce()

    def farewell(self) -> None:
        """Publish that the relay ends, if it is connected."""
        self._outlet.farewell()

    def keep_alive(self) -> None:
        """Answer heartbeats on an idle connection; drop a dead one silently."""
        if self._publisher is not None:
            try:
                self._publisher.settle(0)
            except BrokerUnavailableError:
                self.abandon()

    def close(self) -> None:
        """Disconnect from the broker and close the gate."""
        if self._gate is not None:
            self._gate.close()
        if self._publisher is not None:
            self._publisher.close()
            self._publisher = None

    def next_attempt_in(self) -> float:
        """Return the seconds until the next attempt after a failure, 0 if now."""
        return self._retry.wait_s()

    def has_work(self) -> bool:
        """Return whether this stream has pending events or replays."""
        return self._outbox.has_pending(self.stream) or bool(claim_replays(self._outbox, self.stream, limit=1))

    def _send_pending(self, report: DeliveryReport, stopping: Callable[[], bool]) -> None:
        confirmed: list[int] = []
        unroutable = 0
        backlog = Backlog(self._outbox, self.stream)

        def more(limit: int) -> Sequence[tuple[int, Claimed]]:
            return [(event.position, event) for event in backlog.claim(limit)]

        def settled(settlement: Settlement) -> None:
            nonlocal unroutable
            if settlement.outcome is Outcome.REFUSED:
                # An admin may have buried it by hand while it was being sent.
                with suppress(NothingThereError):
                    self._outbox.bury(settlement.tag, settlement.reason)
                report.buried += 1
                logger.error("event at position %d refused: %s", settlement.tag, settlement.reason)
                return
            confirmed.append(settlement.tag)
            unroutable += settlement.outcome is Outcome.UNROUTABLE

        def save(least: int) -> None:
            nonlocal unroutable
            if len(confirmed) < least:
                return
            if self._outbox.acknowledge(self.stream, confirmed, unroutable=unroutable):
                logger.warning("the %s events reach no queue: nothing is subscribed to them now", self.stream)
            self._outlet.worked()
            if self._destination is not None:
                self._destination.confirmed()
            report.delivered += len(confirmed)
            report.unroutable += unroutable
            confirmed.clear()
            unroutable = 0

        try:
            self._pipeline(Steps(more, backlog.still_pending, self.message, settled, save), stopping)
        finally:
            save(1)

    def _send_replays(self, report: DeliveryReport, stopping: Callable[[], bool]) -> None:
        finished: list[int] = []
        last = 0

        def more(limit: int) -> Sequence[tuple[int, Claimed]]:
            nonlocal last
            claimed = claim_replays(self._outbox, self.stream, after=last, limit=limit)
            last = claimed[-1][0] if claimed else last
            return claimed

        def settled(settlement: Settlement) -> None:
            finished.append(settlement.tag)
            if settlement.outcome is Outcome.REFUSED:
                logger.error("replay %d refused: %s", settlement.tag, settlement.reason)

        def save(least: int) -> None:
            if len(finished) >= least:
                finish_replays(self._outbox, self.stream, finished)
                report.replayed += len(finished)
                finished.clear()

        try:
            self._pipeline(Steps(more, lambda lot: lot, self._replay_message, settled, save), stopping)
        finally:
            save(1)

    def _pipeline(self, steps: Steps, stopping: Callable[[], bool]) -> None:
        """Keep the publisher's window full until nothing more comes and nothing is unsettled.

        The outbox is read and written right after sending, so that the broker is busy meanwhile, and what was read
        then is sent as soon as there is room. VisibilityUnknownError, once everything before is settled, if it is
        unknown whether the next event may be sent.
        """
        ahead: Sequence[tuple[int, Claimed]] = ()
        read_at = 0.0
        unsettled = 0
        exhausted = False
        unknown: VisibilityUnknownError | None = None
        while True:
            if stopping():
                exhausted, ahead = True, ()
            # Without work there is no connection, and without a connection no window: the first event opens it.
            window = self._publisher.window if self._publisher else 1
            if not ahead and not exhausted:
                ahead, read_at = steps.more(min(BATCH_EVENTS, window)), time.monotonic()
                exhausted = not ahead
            # Each lot may cost a check of visibility, so it is sent only when half of the window is free.
            has_sent = bool(ahead) and window - unsettled >= (window + 1) // 2
            if has_sent:
                if time.monotonic() - read_at > AHEAD_MAX_SECONDS:
                    ahead, read_at = steps.still(ahead), time.monotonic()
                lot, ahead = ahead[: window - unsettled], ahead[window - unsettled :]
                try:
                    for message in self._sendable(lot, steps):
                        self.connected().send(message)
                        unsettled += 1
                except VisibilityUnknownError as error:
                    unknown, exhausted, ahead = error, True, ()
            if unsettled:
                # Without a wait this only passes the lot to the broker.
                for settlement in self.connected().settle(0 if has_sent else SETTLE_SECONDS):
                    unsettled -= 1
                    steps.settled(settlement)
            elif exhausted and not ahead:
                if unknown is not None:
                    raise unknown
                return
            if has_sent or not ahead:
                steps.save(BATCH_EVENTS)

    def _sendable(self, lot: Sequence[tuple[int, Claimed]], steps: Steps) -> Iterator[Message]:
        """Yield the messages of a lot; what may never be sent is settled, because those after it must not wait."""
        for number, event, refusal in self._passing(lot):
            message, reason = _made(steps.make, event, number) if refusal is None else (None, refusal)
            if message is None:
                steps.settled(Settlement(tag=number, outcome=Outcome.REFUSED, reason=reason))
            else:
                yield message

    def _passing(self, claimed: Sequence[tuple[int, Claimed]]) -> Iterable[tuple[int, Claimed, str | None]]:
        if self._gate is None:
            return ((number, event, None) for number, event in claimed)
        return self._gate.passing(claimed, ready=self.connected)

    def connected(self) -> Publisher:
        """Return the open connection, a new one if need be; BrokerUnavailableError if none can be opened."""
        if self._publisher is None:
            publisher = self._open_publisher()
            try:
                publisher.open()
            except BaseException:
                publisher.abandon()
                raise
            self._publisher = publisher
            self._outlet.worked()
        return self._publisher

    def is_connected(self) -> bool:
        """Return whether a connection is open, as far as it is known."""
        return self._publisher is not None

    def abandon(self) -> None:
        """Drop the connection, if one is open."""
        if self._publisher is not None:
            self._publisher.abandon()
            self._publisher = None

    def message(self, event: Claimed, tag: int) -> Message:
        """Return an event as it is published."""
        body, content_type = event.body, CONTENT_TYPE
        if self._pulse_format:
            exchange = self._exchange if self._destination is None else self._destination.place.exchange
            decoded = decode(event.body, routing_key=event.routing_key)
            body = encode_pulse(decoded, exchange=exchange, sent=format_time(self._clock()))
            content_type = PULSE_CONTENT_TYPE
        return Message(
            tag=tag,
            id=event.id,
            type=event.type,
            time=event.time,
            routing_key=event.routing_key,
            content_type=content_type,
            body=body,
            source=event.source,
            subject=event.subject,
        )

    def _replay_message(self, event: Claimed, tag: int) -> Message:
        again = decode(event.body, routing_key=event.routing_key)._replace(replayed=True)
        return self.message(event._replace(body=encode(again)), tag)


def _made(make: Callable[[Claimed, int], Message], event: Claimed, number: int) -> tuple[Message | None, str]:
    """Return the message, or None and the reason if its bytes in the outbox are damaged."""
    try:
        return make(event, number), ""
    except DecodeError as error:
        return None, f"its stored bytes are damaged: {error}"
