# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fetch first copies into the outbox, with the collector for each kind of source."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sourcepulse.errors import ConfigError, SourcePulseError
from sourcepulse.outbox.outbox import Origin, Outbox
from sourcepulse.outbox.problems import count_collect_errors

#: The entry points of the collectors of plugins.
ENTRY_POINT_GROUP = "sourcepulse.collectors"
#: The entry points of functions that return the outbox of a place.
OUTBOXES_GROUP = "sourcepulse.outboxes"
#: The time limit for one place, so that the others get their turn.
COLLECT_LIMIT_SECONDS = 30.0
#: The same for one that a wake announced; what is left comes after the other announced places.
ANNOUNCED_LIMIT_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectReport:
    """What a collector did in one place.

    `undecided` counts first copies whose transaction is in progress or was abandoned, `quarantined` names those that
    are damaged or belong to a copied place, `left` counts those not reached within the time limit.
    """

    collected: int = 0
    repeats: int = 0
    undecided: int = 0
    quarantined: tuple[str, ...] = ()
    left: int = 0


#: `collector(location, outbox, deadline_s=...)`.
Collector = Callable[..., CollectReport]


def collectors() -> dict[str, Collector]:
    """Load the collectors of all installed plugins, by kind."""
    from importlib.metadata import entry_points

    return {point.name: point.load() for point in entry_points(group=ENTRY_POINT_GROUP)}


def collect_place(
    outbox: Outbox,
    known: Mapping[str, Collector],
    kind: str,
    location: str,
    *,
    deadline_s: float = COLLECT_LIMIT_SECONDS,
) -> CollectReport:
    """Collect one place; ConfigError for a kind without an installed collector."""
    if kind not in known:
        raise ConfigError(f"no installed plugin collects {kind!r}; installed: {', '.join(known) or 'none'}")
    return known[kind](location, outbox, deadline_s=deadline_s)


def outbox_of(kind: str, location: str) -> Path:
    """Return the outbox in the place's own configuration; ConfigError if no installed plugin can read that."""
    from importlib.metadata import entry_points

    points = {point.name: point for point in entry_points(group=OUTBOXES_GROUP)}
    if kind not in points:
        raise ConfigError(f"no installed plugin knows the outbox of a {kind!r} place; name it with --outbox")
    found: Path = points[kind].load()(location)
    return found


def sweep(outbox: Outbox, known: Mapping[str, Collector]) -> int:
    """Collect every place that the outbox knows and return the number of new events.

    A place that cannot be collected is logged and left for the next sweep.
    """
    reports = (_collect_origin(outbox, known, origin, COLLECT_LIMIT_SECONDS) for origin in outbox.origins())
    return sum(report.collected for report in reports)


def collect_announced(outbox: Outbox, known: Mapping[str, Collector], kind: str, location: str) -> bool:
    """Collect one place that a wake announced, as `sweep` does, and return whether it need not be tried again soon.

    It is left out if the outbox does not know it: any member of the folder's group can send a wake, so it must not lead
    the relay to a place of the sender's choice.
    """
    for origin in outbox.origins():
        if (origin.kind, origin.location) == (kind, location):
            return not _collect_origin(outbox, known, origin, ANNOUNCED_LIMIT_SECONDS).left
    return True


def _collect_origin(outbox: Outbox, known: Mapping[str, Collector], origin: Origin, deadline_s: float) -> CollectReport:
    try:
        report = collect_place(outbox, known, origin.kind, origin.location, deadline_s=deadline_s)
    except SourcePulseError as error:
        logger.warning("%s %s cannot be collected: %s", origin.kind, origin.location, error)
        outbox.note_sweep(origin, {"error": str(error)})
        count_collect_errors(outbox, origin.kind)
        return CollectReport()
    if report != CollectReport():
        outbox.note_sweep(origin, asdict(report))
    if report.quarantined:
        count_collect_errors(outbox, origin.kind)
        logger.warning("%s %s has quarantined first copies: %s", origin.kind, origin.location, report.quarantined)
    return report
