# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Where a stream ever went: who read it there is still subscribed, however often it was sent elsewhere since."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sourcepulse.outbox.tables import note, set_notes

if TYPE_CHECKING:
    from sqlite3 import Connection

    from sourcepulse.outbox.outbox import Outbox

#: Each is a decision of an operator; beyond so many the oldest are forgotten.
PLACES_MAX = 1_000
#: How their rows in the table `meta` begin.
PLACES = "places of "


def places(outbox: Outbox, stream: str) -> tuple[str, ...]:
    """Return all brokers that a stream was ever delivered to, without passwords, the oldest first."""
    with outbox.reading() as db:
        return _places(db, stream)


def remember_place(outbox: Outbox, stream: str, broker: str) -> None:
    """Remember where a stream goes from now on, besides where it went so far."""
    with outbox.writing() as db:
        known = [place for place in _places(db, stream) if place != broker]
        set_notes(db, {_name(stream): json.dumps([*known, broker][-PLACES_MAX:])})


def _places(db: Connection, stream: str) -> tuple[str, ...]:
    kept = note(db, _name(stream))
    # An outbox of an earlier version has only the last one.
    last = db.execute("SELECT broker FROM deliveries WHERE stream = ?", (stream,)).fetchone()
    return tuple(dict.fromkeys([*(json.loads(kept) if kept else ()), *filter(None, last or ())]))


def _name(stream: str) -> str:
    return f"{PLACES}{stream}"
