# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Every broker and exchange a stream was ever sent to.

Old subscribers may still listen there, even after the stream moved.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sourcepulse.outbox.tables import note, set_notes

if TYPE_CHECKING:
    from sqlite3 import Connection

    from sourcepulse.outbox.outbox import Outbox

#: Each is a decision of an operator; beyond this many the oldest are forgotten.
PLACES_MAX = 1_000
#: The prefix of their rows in the table `meta`.
PLACES = "places of "


def places(outbox: Outbox, stream: str) -> tuple[str, ...]:
    """Return all brokers that a stream was ever sent to, without passwords, oldest first."""
    with outbox.reading() as db:
        return _places(db, stream)


def remember_place(outbox: Outbox, stream: str, broker: str) -> None:
    """Record the new broker of a stream, in addition to its earlier ones."""
    with outbox.writing() as db:
        known = [place for place in _places(db, stream) if place != broker]
        set_notes(db, {_name(stream): json.dumps([*known, broker][-PLACES_MAX:])})


def _places(db: Connection, stream: str) -> tuple[str, ...]:
    kept = note(db, _name(stream))
    # An outbox from an earlier version has only the last one.
    last = db.execute("SELECT broker FROM deliveries WHERE stream = ?", (stream,)).fetchone()
    return tuple(dict.fromkeys([*(json.loads(kept) if kept else ()), *filter(None, last or ())]))


def _name(stream: str) -> str:
    return f"{PLACES}{stream}"
