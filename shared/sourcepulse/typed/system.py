# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The data of the system events; made by `sourcepulse.typed.generate`, change the schemas instead."""

from __future__ import annotations

from typing import TypedDict

from sourcepulse.typed.common import SourceState, TruncatedItem


class SystemEventWithheld(TypedDict):
    """An event was withheld."""

    type: str


class SystemRelayHeartbeat(TypedDict):
    """A relay lives."""

    interval_s: int
    pending: int
    oldest_age_s: int | None
    buried: int
    sources: list[SourceState]
    truncated: list[TruncatedItem]


class SystemStatus(TypedDict):
    """The state of a service."""

    message: str | None
    until: str | None
    url: str | None
