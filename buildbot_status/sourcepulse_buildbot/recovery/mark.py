# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""How far the outbox is complete; recovery starts from here when the master starts again."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.tables import note, set_notes

_NAME = "buildbot "


class Mark(NamedTuple):
    """Every row whose time is before `at` (seconds since 1970), and every change up to `changeid`, was published.

    `presence` is the last published state of master and workers.
    """

    at: int
    changeid: int
    presence: dict[str, Any]


def read_mark(outbox: Outbox, scope: str) -> Mark | None:
    """Return the mark of a database's events; None if this outbox never had one."""
    with outbox.reading() as db:
        kept = note(db, _NAME + scope)
    if kept is None:
        return None
    value = json.loads(kept)
    return Mark(at=int(value["at"]), changeid=int(value["changeid"]), presence=dict(value["presence"]))


def write_mark(outbox: Outbox, scope: str, mark: Mark) -> None:
    """Write the mark; it may be lost in a power failure, because everything before it is stored already."""
    with outbox.writing(durable=False) as db:
        set_notes(db, {_NAME + scope: json.dumps(mark._asdict())})


def last_stored_at(outbox: Outbox) -> float | None:
    """Return the time at which the youngest event was stored, in seconds since 1970."""
    with outbox.reading() as db:
        row = db.execute("SELECT stored_at FROM events ORDER BY position DESC LIMIT 1").fetchone()
    return None if row is None else float(row[0])
