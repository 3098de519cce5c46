# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What of Bugzilla a row is about, and what a notice ends: a page withdraws also what its log has dropped already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sourcepulse.brokers.file.envelopes import Envelope
from sourcepulse.brokers.file.withdrawal.decision import cause_of
from sourcepulse_web.stream.ports import Row

_PARTS = ("comment", "attachment")


def ends(row: Row, event: Mapping[str, Any]) -> str | None:
    """Return what is no longer public since an event: `bug/1234`, `comment/55` or `attachment/7`."""
    data = event.get("data")
    cause = cause_of(Envelope(row.source, row.id, row.type, row.subject), data if isinstance(data, dict) else None)
    if cause is None or not cause.subjects:
        return None
    return f"{cause.part}/{cause.number}" if cause.part else row.subject or min(cause.subjects)


def about(row: Row, event: Mapping[str, Any]) -> list[str]:
    """Return the bug, comments and attachments that an event of Bugzilla is about."""
    if not row.source.startswith("bugzilla://"):
        return []
    named = {f"{part}/{number}" for each in _objects(event.get("data")) for part, number in _named(each)}
    return sorted(named | ({row.subject} if row.subject else set()))


def _named(members: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for part in _PARTS:
        inner = members.get(part)
        for number in (members.get(f"{part}_id"), inner.get("id") if isinstance(inner, Mapping) else None):
            if type(number) is int:
                yield part, number


def _objects(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _objects(each)
