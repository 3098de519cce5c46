# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the hub needs of others, and what others plug into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sourcepulse.brokers.file.reader import Bounds, Row, Withdrawal

__all__ = ["Before", "Bounds", "Channel", "Log", "Row", "View", "Withdrawal"]


class Log(Protocol):
    """A log that is read by position, as LogReader reads it."""

    @property
    def token(self) -> str:
        """The log's own name, the same for all that read this file."""

    def bounds(self) -> Bounds: ...

    def data_version(self) -> int: ...

    def read(self, after: int, *, limit: int = ..., max_bytes: int = ...) -> list[Row]: ...

    def position_at(self, seconds: float) -> int: ...

    def withdrawals(self, after: int, until: int, *, limit: int = ...) -> list[Withdrawal]: ...

    def close(self) -> None: ...


#: Returns what a named frame has in place of the event's bytes, one line of JSON; None for a row that is left out.
View = Callable[[Row], bytes | None]
#: Called with new rows before any client gets them.
Before = Callable[[Sequence[Row]], None]


class Channel(Protocol):
    """What is made of the log beside its events, for example the board of a repository."""

    def is_level(self) -> bool:
        """Return whether all that was passed to `before` is in it; who follows it waits until then."""

    def frames(self, name: str, after: int, until: int) -> list[bytes]:
        """Return what changed by the events in (after, until], each one line of JSON."""
