# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An event of the log as the reducer gets it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Protocol

#: The types that the board knows begin so; others are not even decoded.
FAMILIES = ("hg.push.", "hg.tree.", "hg.repo.", "build.", "test.", "bugzilla.bug.", "bugzilla.comment.")

Data = dict[str, Any]


class UnreadableError(ValueError):
    """An event's data are not as the contract has them, or cannot be stored."""


class LogRow(Protocol):
    """A row of the log's reader."""

    @property
    def position(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def body(self) -> bytes: ...
    @property
    def withdrawn(self) -> bool: ...


class Fact(NamedTuple):
    """A decoded event at its position. `epoch` is "" and `sequence` 0 where the event has no numbers."""

    position: int
    type: str
    source: str
    id: str
    time: str
    epoch: str
    sequence: int
    data: Data

    @property
    def event(self) -> str:
        return f"{self.source} {self.id}"


def read_fact(row: LogRow) -> Fact | None:
    """Return the event of a row, or None if the board does not know its type or cannot read it."""
    if row.withdrawn or not row.type.startswith(FAMILIES):
        return None
    try:
        return fact_of(json.loads(row.body), row.position)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def fact_of(event: Any, position: int) -> Fact:
    """Return the fact of a decoded event; ValueError, TypeError or KeyError if it is not one."""
    data = event["data"]
    if not isinstance(data, dict):
        raise TypeError("an event's data is an object")
    return Fact(
        position,
        str(event["type"]),
        str(event["source"]),
        str(event["id"]),
        str(event["time"]),
        str(event.get("epoch") or ""),
        int(event.get("sequence") or 0),
        data,
    )
