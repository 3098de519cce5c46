# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Housekeeping of the outbox: age and size limit which delivered events stay for replay; their ids stay longer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.tables import kept, note, remove_notes, set_notes

DAY_SECONDS = 86_400.0
#: An id outlives its payload, so that a first copy that arrives very late is not published again.
ID_KEEP_DAYS = 400
#: The most rows that one transaction changes, so that no writer waits long.
STEP_ROWS = 1_000
#: A clock that moved further than this since the last check is doubted; it is trusted again after it has run on from
#: there for CLOCK_DOUBT_SECONDS.
CLOCK_STEP_SECONDS = DAY_SECONDS
CLOCK_DOUBT_SECONDS = 3_600.0

#: Rows of the table `meta`: when the clock was last trusted, and since when it is doubted.
_SEEN_AT = "clock seen at"
_DOUBTED_AT = "clock doubted at"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """For how long, and how many bytes of, delivered events are kept for replay."""

    days: float
    bytes: int


def prune(outbox: Outbox, keep: Keep, *, now: float | None = None) -> int:
    """Drop the payloads of delivered events that are too old or too many; return how many were dropped.

    Pending and buried events, and requested replays, are never dropped.
    """
    now = outbox.now() if now is None else now
    dropped = _drop_bodies(outbox, "e.settled_at < ?", now - keep.days * DAY_SECONDS)
    oldest_kept = _oldest_position_within(outbox, keep.bytes)
    if oldest_kept is not None:
        dropped += _drop_bodies(outbox, "e.position < ?", oldest_kept)
    _forget_ids(outbox, now - ID_KEEP_DAYS * DAY_SECONDS)
    return dropped


def prune_by_a_sound_clock(outbox: Outbox, keep: Keep) -> int:
    """Prune, unless the clock jumped since the last check: then only after it has run on for an hour.

    Otherwise a relay that runs once while the clock is a year ahead would drop everything kept for replay.
    """
    return prune(outbox, keep) if _is_sound(outbox) else 0


def _is_sound(outbox: Outbox) -> bool:
    now = outbox.now()
    with outbox.writing(durable=False) as db:
        known = (note(db, name) for name in (_SEEN_AT, _DOUBTED_AT))
        seen_at, doubted_at = (None if value is None else float(value) for value in known)
        jumped = seen_at is None or abs(now - seen_at) > CLOCK_STEP_SECONDS
        # A relay that runs once a week sees only jumps, so the second look confirms the clock.
        confirmed = doubted_at is not None and now >= doubted_at + CLOCK_DOUBT_SECONDS
        if jumped and not confirmed:
            if doubted_at is None or now < doubted_at:
                set_notes(db, {_DOUBTED_AT: str(now)})
                logger.debug("skipping the pruning for now: the clock may have jumped")
            return False
        remove_notes(db, [_DOUBTED_AT])
        set_notes(db, {_SEEN_AT: str(now)})
    return True


def vacuum(outbox: Outbox) -> int:
    """Return the free space in the file to the disk; return how many bytes. Writers wait meanwhile.

    SQLite writes a new file beside the old one, which needs as much disk as the kept data, at about 35 MB a second.
    """
    with outbox.exclusive() as db:
        before = _size(db)
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return before - _size(db)


def reclaimable(outbox: Outbox) -> int:
    """Return how many bytes of the file are free; `vacuum` also packs pages that are half empty."""
    with outbox.reading() as db:
        pages, bytes_each = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
    return int(pages * bytes_each)


def _size(db: Connection) -> int:
    pages, bytes_each = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * bytes_each)


def _drop_bodies(outbox: Outbox, condition: str, value: float) -> int:
    expired = (
        "SELECT b.position FROM bodies b JOIN events e USING (position) "  # noqa: S608 - both conditions are written above
        f"WHERE e.position > ? AND e.state = 'delivered' AND {condition} "
        "AND e.position NOT IN (SELECT position FROM replays) ORDER BY e.position LIMIT ?"
    )
    return sum(_in_steps(outbox, expired, value, _drop_payloads))


def _drop_payloads(db: Connection, positions: Sequence[tuple[int]]) -> int:
    # A replay may be requested between the query and the deletion.
    drop = "DELETE FROM bodies WHERE position = ? AND position NOT IN (SELECT position FROM replays)"
    return db.executemany(drop, positions).rowcount


def _drop_ids(db: Connection, positions: Sequence[tuple[int]]) -> int:
    return db.executemany("DELETE FROM events WHERE position = ?", positions).rowcount


def _oldest_position_within(outbox: Outbox, limit_bytes: int) -> int | None:
    """Return the position from which on the payloads fit within the limit, None if all do."""
    with outbox.reading() as db:
        excess = kept(db)[1] - limit_bytes
        if excess <= 0:
            return None
        for position, size in db.execute("SELECT position, length(body) FROM bodies ORDER BY position"):
            excess -= size
            if excess <= 0:
                return int(position) + 1
    return None


def _forget_ids(outbox: Outbox, before: float) -> None:
    overdue = (
        "SELECT position FROM events WHERE position > ? AND state = 'delivered' AND settled_at < ? "
        "AND position NOT IN (SELECT position FROM bodies) ORDER BY position LIMIT ?"
    )
    sum(_in_steps(outbox, overdue, before, _drop_ids))


def _in_steps(
    outbox: Outbox, find: str, value: float, drop: Callable[[Connection, Sequence[tuple[int]]], int]
) -> Iterator[int]:
    """Drop what `find` finds after a position; yield how many rows each step dropped.

    Searching years of events takes long, so it is done without a lock.
    """
    last = 0
    while True:
        with outbox.reading() as db:
            found = db.execute(find, (last, value, STEP_ROWS)).fetchall()
        if not found:
            return
        with outbox.writing(durable=False) as db:
            dropped = drop(db, found)
        yield dropped
        last = found[-1][0]
