# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decides which queues are worth an event, from one look at them to the next. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sourcepulse.brokers.queues import QueueReport
from sourcepulse.events.event import PUBLIC, RESTRICTED

OVERGROWN, DROPPED = "system.queue.overgrown.v1", "system.queue.dropped.v1"
#: A queue is overgrown from this part of its limit on, and may be so again once it has fallen below the second.
FULL, NO_LONGER_FULL = 0.8, 0.6
#: Of what one queue drops, at most one event in this time; the next one counts all since.
DROPPED_EVERY_SECONDS = 60.0
#: If more queues are in trouble, the next look reports them.
NOTICES_MAX = 20
#: RabbitMQ's figures of a queue are up to 5 s old, each by another time; looks are further apart than that.
LOOKS_COMPARED = 3


class Notice(NamedTuple):
    """An event to be published on a stream."""

    stream: str
    type: str
    queue: str
    data: dict[str, Any]


@dataclass(slots=True)
class _Known:
    is_full: bool = False
    #: What each look saw: published, taken by consumers, there.
    looks: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=LOOKS_COMPARED))
    #: How many dropped events were reported, or were there before the first look; None before that.
    reported: int | None = None
    reported_at: float | None = None


class QueueRules:
    """Remembers the queues of one broker between looks."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}

    def look(self, reports: Sequence[QueueReport], now: float) -> list[Notice]:
        """Return what is to be published after a look at all queues; `now` is of a clock that never jumps.

        Only durable queues count: a temporary one is short by design, and its consumer sees the gap itself. A queue
        that is bound to the restricted exchange is named on the restricted stream only.
        """
        watched = [report for report in reports if report.durable and report.streams]
        self._known = {
            (report.broker, report.name): self._known.get((report.broker, report.name), _Known()) for report in watched
        }
        notices: list[Notice] = []
        for report in watched:
            known = self._known[report.broker, report.name]
            dropped = _dropped(report, known)
            if len(notices) < NOTICES_MAX:
                notices += _notices(report, known, dropped, now)
        return notices


def _notices(report: QueueReport, known: _Known, dropped: int | None, now: float) -> Iterator[Notice]:
    stream = RESTRICTED if RESTRICTED in report.streams else PUBLIC
    whose = f"the queue {report.name}" + (f" of {report.owner}" if report.owner else "")
    figures = {"queue": report.name, "owner": report.owner, "depth": report.depth, "limit": report.limit}
    filled = report.filled
    if filled is not None and filled >= FULL and not known.is_full:
        known.is_full = True
        message = f"{whose} is filled to {filled:.0%}; at 100% its oldest events are dropped"
        sizes = {"bytes": report.bytes, "limit_bytes": report.limit_bytes}
        yield Notice(stream, OVERGROWN, report.name, {"message": message, **figures, **sizes})
    elif filled is None or filled < NO_LONGER_FULL:
        known.is_full = False
    if dropped is None:
        return
    if known.reported is None:
        known.reported = dropped
    new = dropped - known.reported
    is_quiet = known.reported_at is None or now >= known.reported_at + DROPPED_EVERY_SECONDS
    if new > 0 and is_quiet:
        known.reported, known.reported_at = dropped, now
        message = f"{whose} has dropped {new} events, by its limit of length, bytes or age"
        yield Notice(stream, DROPPED, report.name, {"message": message, **figures, "dropped": new})


def _dropped(report: QueueReport, known: _Known) -> int | None:
    """Return how many events a queue has dropped, or, where the broker does not count them, at least how many."""
    if report.published is None or report.taken is None:
        if known.reported is not None and (report.dropped or 0) < known.reported:
            # The queue was made again.
            known.reported = None
        return report.dropped
    if known.looks and report.published < known.looks[-1][0]:
        # Counts begin again with the node or the queue.
        known.looks.clear()
        known.reported = None
    known.looks.append((report.published, report.taken, report.depth))
    if len(known.looks) < LOOKS_COMPARED:
        return None
    # What was published by the first look is there at the second or was taken by the third, or it was dropped.
    (published, _, _), (_, _, depth), (_, taken, _) = known.looks
    lowest = published - depth - taken
    return max(lowest, known.reported or 0)
