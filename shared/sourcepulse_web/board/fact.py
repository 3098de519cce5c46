# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An event of the log as the reducer gets it."""

from __future__ import annotations

import json
from collections.abc import Container
from typing import Any, NamedTuple, Protocol

from sourcepulse_web.board.shape import INTEGER_LIMIT, fits, is_time, misfit

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
    def source(self) -> str: ...
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


def read_fact(row: LogRow, types: Container[str]) -> Fact | None:
    """Return the event of a row, None if it is withdrawn or of no type that is asked for: that is not even decoded.

    UnreadableError if it is not as the contract has it.
    """
    if row.withdrawn or row.type not in types:
        return None
    try:
        fact = fact_of(json.loads(row.body), row.position)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise UnreadableError(f"{row.type} of {row.source}: {type(error).__name__}: {error}") from error
    if fact.type not in types:
        return None
    if not is_time(fact.time) or not 0 <= fact.sequence < INTEGER_LIMIT:
        raise UnreadableError(f"{fact.type} of {fact.source}: its time or sequence is not one")
    if not fits(fact.type, fact.data):
        raise UnreadableError(f"{fact.type} of {fact.source}: {misfit(fact.type, fact.data)}")
    return fact


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
