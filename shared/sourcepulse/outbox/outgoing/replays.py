# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Delivered events that are to be sent again on request."""

from __future__ import annotations

from collections.abc import Sequence

from sourcepulse.errors import EventError, NothingThereError
from sourcepulse.outbox.outbox import CLAIMED_COLUMNS, DELIVERED, Claimed, Outbox
from sourcepulse.outbox.tables import ensure_delivery


def request_replay(outbox: Outbox, position: int) -> None:
    """Ask the relay to send a delivered event again, marked as replayed; two requests send it once."""
    with outbox.writing() as db:
        row = db.execute(
            "SELECT state, position IN (SELECT position FROM bodies) FROM events WHERE position = ?", (position,)
        ).fetchone()
        if row is None:
            raise NothingThereError(f"no event at position {position}")
        state, has_body = row
        if state != DELIVERED:
            raise EventError(f"the event at position {position} is {state}, only a delivered one can be replayed")
        if not has_body:
            raise NothingThereError(f"the event at position {position} has expired, only its id is kept")
        db.execute("INSERT OR IGNORE INTO replays (position, requested_at) VALUES (?, ?)", (position, outbox.now()))
    outbox.wake_relay()


def claim_replays(outbox: Outbox, stream: str, *, after: int = 0, limit: int = 100) -> list[tuple[int, Claimed]]:
    """Return the oldest requested replays, each with its number; the bodies are those first sent."""
    with outbox.reading() as db:
        rows = db.execute(
            f"SELECT r.number, {CLAIMED_COLUMNS} "  # noqa: S608 - made of constants
            "FROM replays r JOIN events e USING (position) JOIN bodies b USING (position) "
            "WHERE e.stream = ? AND r.number > ? ORDER BY r.number LIMIT ?",
            (stream, after, limit),
        ).fetchall()
    return [(number, Claimed(*columns)) for number, *columns in rows]


def finish_replays(outbox: Outbox, stream: str, numbers: Sequence[int]) -> None:
    """Forget replays that the broker confirmed or refused."""
    with outbox.writing(durable=False) as db:
        db.executemany("DELETE FROM replays WHERE number = ?", [(number,) for number in numbers])
        ensure_delivery(db, stream)
        db.execute("UPDATE deliveries SET replayed = replayed + ? WHERE stream = ?", (len(numbers), stream))
