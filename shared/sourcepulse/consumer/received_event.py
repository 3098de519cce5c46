# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One event in a consumer, with what is needed to acknowledge it."""

from __future__ import annotations

from dataclasses import dataclass

from sourcepulse.brokers import Delivery
from sourcepulse.events.event import Event
from sourcepulse.gaps import Lane

#: The generation of an event that no broker delivered, so that none is acknowledged there.
PULLED = -1


@dataclass(slots=True, kw_only=True, eq=False)
class Item:
    """An event that was received and is not settled yet; `name` is its key in the memory.

    A delivery of an older `generation` can no longer be acknowledged; when the event is redelivered, the new delivery
    replaces the old one. An item that is not `ready` may have been handed over before and killed its consumer: this
    attempt must be counted first.
    """

    event: Event
    delivery: Delivery
    generation: int
    lane: Lane | None
    number: int
    ready: bool
    #: It came with the id of another event and was refused; only its number counts, because that one is not missing.
    refused: bool = False
    name: str = ""
    failures: int = 0
