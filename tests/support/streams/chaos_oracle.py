# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""After chaos: each event of each source was handled or reported as missing, none invented, each source in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sourcepulse.outbox.outbox import Outbox
from support.streams.oracle import Sighting, delivered_rows, sighting_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Counts for the reader: `lost` events are those that were `reported`, or nothing would be judged at all."""

    events: int
    handled: int
    lost: int
    gaps: int
    interruptions: int
    handled_again: int
    late: int
    bad: int
    strangers: int


def emitted(outboxes: Sequence[Outbox]) -> list[Sighting]:
    """Return what outboxes hold, after checking that each is sound and confirmed it all."""
    return [sighting_of(row) for outbox in outboxes for row in delivered_rows(outbox)]


def judge(
    truth: Sequence[Sighting],
    lines: Sequence[dict[str, Any]],
    reports: Sequence[dict[str, Any]],
    forged: Collection[str],
) -> Judged:
    """AssertionError unless all that was emitted was handled or lies in a gap, and nothing else came.

    What comes from a source that is not ours, or has an id of `forged`, is a stranger's. A gap up to a forged number
    covers nothing.
    """
    known = {each.id: each for each in truth}
    highest = {each.source: each.sequence for each in truth}
    ours = [
        Sighting(line["id"], line["source"], line["sequence"], line["digest"])
        for line in lines
        if line["source"] in highest and line["id"] not in forged
    ]
    first: dict[str, Sighting] = {}
    for each in ours:
        assert each == known.get(each.id), f"{each} was invented, or is not the same bytes"
        first.setdefault(each.id, each)
    gaps = [gap for gap in reports if gap["report"] == "gap" and gap["last_missing"] <= highest.get(gap["source"], 0)]
    missing = {
        (gap["source"], number) for gap in gaps for number in range(gap["first_missing"], gap["last_missing"] + 1)
    }
    lost = [each for each in truth if each.id not in first]
    silent = [each for each in lost if (each.source, each.sequence) not in missing]
    assert not silent, f"{len(silent)} of {len(lost)} lost events were not reported, the first is {silent[0]}"
    late = _count_late(first.values(), missing)
    return Judged(
        events=len(truth),
        handled=len(first),
        lost=len(lost),
        gaps=len(gaps),
        interruptions=sum(each["report"] == "interrupted" for each in reports),
        handled_again=len(ours) - len(first),
        late=late,
        bad=sum(each["report"] == "bad" for each in reports),
        strangers=len(lines) - len(ours),
    )


def _count_late(handled: Collection[Sighting], missing: Collection[tuple[str, int]]) -> int:
    last: dict[str, int] = defaultdict(int)
    late = 0
    for each in handled:
        if each.sequence < last[each.source]:
            assert (each.source, each.sequence) in missing, f"{each} came after {last[each.source]}, and out of order"
            late += 1
        else:
            last[each.source] = each.sequence
    return late
