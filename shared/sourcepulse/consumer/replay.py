# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Requests the events that a consumer is missing from an outbox."""

from __future__ import annotations

import logging
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.errors import NothingThereError
from sourcepulse.gaps import Gap
from sourcepulse.outbox.outbox import BURIED, DELIVERED, PENDING, Outbox

#: The largest integer of SQLite, and so the largest number of an outbox.
NUMBER_MAX = 2**63 - 1

_MISSING = "source = ? AND epoch = ? AND {number} BETWEEN ? AND ?"
_KEPT = "position IN (SELECT position FROM bodies)"

log = logging.getLogger("sourcepulse.consumer")


def request_replay(gap: Gap, path: Path) -> int:
    """Request a replay of the events of a gap and return how many will be sent, see `Consumer.replay`.

    Events that are still pending count too, because the relay will send them anyway. Each event goes only to the
    stream that it belongs to, as the first time.
    """
    where, values = _missing(gap)
    with Outbox.open(path, create=False) as outbox, outbox.writing() as db:
        _check_is_known(db, gap, path)
        replayable = f"FROM events WHERE {where} AND state = '{DELIVERED}' AND {_KEPT}"
        db.execute(
            f"INSERT OR IGNORE INTO replays (position, requested_at) SELECT position, ? {replayable} ORDER BY position",
            (outbox.now(), *values),
        )
        come = _count(db, replayable, values) + _count(db, f"FROM events WHERE {where} AND state = '{PENDING}'", values)
        buried = _count(db, f"FROM events WHERE {where} AND state = '{BURIED}'", values)
    missing = gap.last_missing - gap.first_missing + 1
    if come < missing:
        text = (
            f"of the {missing} missing events of {gap.source} the outbox {path} can send {come}: {buried} are buried "
            f"(`sourcepulse outbox list --state buried` shows why), {missing - come - buried} have expired"
        )
        if not come:
            raise NothingThereError(text)
        log.warning("%s", text)
    return come


def _missing(gap: Gap) -> tuple[str, tuple[object, ...]]:
    first, last = min(gap.first_missing, NUMBER_MAX), min(gap.last_missing, NUMBER_MAX)
    if gap.type is None:
        return _MISSING.format(number="sequence"), (gap.source, gap.epoch, first, last)
    return "type = ? AND " + _MISSING.format(number="typesequence"), (gap.type, gap.source, gap.epoch, first, last)


def _check_is_known(db: Connection, gap: Gap, path: Path) -> None:
    epochs = {row[0] for row in db.execute("SELECT epoch FROM numbers WHERE source = ?", (gap.source,))}
    if not epochs:
        raise NothingThereError(f"the outbox {path} has no events of {gap.source}; another outbox sent them")
    if gap.epoch not in epochs:
        raise NothingThereError(
            f"the outbox {path} has no events of {gap.source} in epoch {gap.epoch}; they were in an earlier file"
        )


def _count(db: Connection, what: str, values: tuple[object, ...]) -> int:
    return int(db.execute(f"SELECT count(*) {what}", values).fetchone()[0])
