# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One event on its way through a consumer, together with what is needed to acknowledge it."""

from __future__ import annotations

from dataclasses import dataclass

from sourcepulse.brokers import Delivery
from sourcepulse.events.event import Event
from sourcepulse.gaps import Lane


@dataclass(slots=True, kw_only=True, eq=False)
class Item:
    """An event that was taken in and is not settled yet; it is remembered by its `name`.

    A delivery of an older `generation` can no longer be acknowledged; when the event comes again its new delivery
    takes the place of the old. One that is `spent` was handed over as often as is allowed, and is not again. One
    that is `noted` is done with, which a killed process would not forget.
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
