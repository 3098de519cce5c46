# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a heartbeat says: the last number that the broker confirmed of each source, and of each of its types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from sourcepulse.consumer.order.coverage import Coverage
from sourcepulse.consumer.silence.expected import HEARTBEAT_TYPE
from sourcepulse.events.event import EPOCH_MAX_BYTES, SEQUENCE_MAX, SOURCE_MAX_BYTES, Event
from sourcepulse.gaps import Lane


def claims(event: Event, coverage: Coverage) -> Iterator[tuple[Lane, int]]:
    """Yield each lane that these topics cover wholly, with its last confirmed number; nothing if it is no heartbeat."""
    if event.type != HEARTBEAT_TYPE:
        return
    epoch = event.data.get("epoch")
    sources = event.data.get("sources")
    if not _is_text(epoch, EPOCH_MAX_BYTES) or not isinstance(sources, list):
        return
    for state in sources:
        if not isinstance(state, dict) or not _is_text(source := state.get("source"), SOURCE_MAX_BYTES):
            continue
        if coverage.takes_source(source):
            yield from _claim(Lane(source, epoch, None), state.get("sequence"))
            continue
        types = state.get("types")
        for each in types if isinstance(types, list) else ():
            if isinstance(each, dict) and isinstance(type_ := each.get("type"), str) and coverage.takes_all_of(type_):
                yield from _claim(Lane(source, epoch, type_), each.get("typesequence"))


def _claim(lane: Lane, digits: Any) -> Iterator[tuple[Lane, int]]:
    if isinstance(digits, str) and digits.isascii() and digits.isdigit() and 1 <= int(digits[:20]) <= SEQUENCE_MAX:
        yield lane, int(digits[:20])


def _is_text(value: Any, most: int) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= most
