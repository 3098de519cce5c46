# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One event in a consumer, with what is needed to acknowledge it."""

from __future__ import annotations

from dataclasses import dataclass

from sourcepulse.brokers import Delivery
from sourcepulse.events.event import Event
from sourcepulse.gaps import Lane


@dataclass(slots=True, kw_only=True, eq=False)
class Item:
    """An event that was received and is not settled yet; `name` is its key in the memory.

    A delivery of an older `generation` can no longer be acknowledged; when the event is redelivered, the new delivery
    replaces the old one. A `spent` item was handed over as often as allowed and is buried. A `noted` item was
    handled, and that is on disk even if the process is killed.
    """

    event: Event
    delivery: Delivery
    generation: int
    lane: Lane | None
    number: int
    spent: bool
    name: str = ""
    noted: bool = False
    failures: int = 0
