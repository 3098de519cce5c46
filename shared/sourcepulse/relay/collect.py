# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Collect: fetch what sources left as first copies into the outbox, through the collector of each kind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path

from sourcepulse.errors import ConfigError, SourcePulseError
from sourcepulse.outbox.outbox import Outbox

#: Where plugins offer their collectors.
ENTRY_POINT_GROUP = "sourcepulse.collectors"
#: Where they offer to tell the outbox of a place.
OUTBOXES_GROUP = "sourcepulse.outboxes"
#: One place may take so long before the next has its turn.
COLLECT_LIMIT_SECONDS = 30.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectReport:
    """What a collector did in one place.

    `undecided` first copies belong to a transaction that is under way or was abandoned, `quarantined` names
    those of a copied place or damaged ones, `left` counts those for which the time did not suffice.
    """

    collected: int = 0
    repeats: int = 0
    undecided: int = 0
    quarantined: tuple[str, ...] = ()
    left: int = 0


#: `collector(location, outbox, deadline_s=...)`.
Collector = Callable[..., CollectReport]


def collectors() -> dict[str, Collector]:
    """Load the collectors of the installed plugins, by kind."""
    return {point.name: point.load() for point in entry_points(group=ENTRY_POINT_GROUP)}


def collect_place(outbox: Outbox, known: Mapping[str, Collector], kind: str, location: str) -> CollectReport:
    """Collect one place; ConfigError for a kind that nobody collects."""
    if kind not in known:
        raise ConfigError(f"nothing installed collects {kind!r}; installed: {', '.join(known) or 'none'}")
    return known[kind](location, outbox, deadline_s=COLLECT_LIMIT_SECONDS)


def outbox_of(kind: str, location: str) -> Path:
    """Return the outbox of a place by the place's own configuration; ConfigError if nothing installed can tell."""
    points = {point.name: point for point in entry_points(group=OUTBOXES_GROUP)}
    if kind not in points:
        raise ConfigError(f"nothing installed tells the outbox of a place of kind {kind!r}; name it by --outbox")
    found: Path = points[kind].load()(location)
    return found


def sweep(outbox: Outbox, known: Mapping[str, Collector]) -> int:
    """Collect every place that the outbox remembers and give the number of new events.

    A place that cannot be collected is told and left for the next sweep.
    """
    collected = 0
    for origin in outbox.origins():
        try:
            report = collect_place(outbox, known, origin.kind, origin.location)
        except SourcePulseError as error:
            logger.warning("%s %s cannot be collected: %s", origin.kind, origin.location, error)
            outbox.note_sweep(origin, {"error": str(error)})
            continue
        collected += report.collected
        if report != CollectReport():
            outbox.note_sweep(origin, asdict(report))
        if report.quarantined:
            logger.warning("%s %s has quarantined first copies: %s", origin.kind, origin.location, report.quarantined)
    return collected
