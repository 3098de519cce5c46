# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What the embedded log needs beside appends: it is trimmed while it is idle, and withdrawn texts leave its files."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.brokers.file.envelopes import note_unread, read_unread
from sourcepulse.brokers.file.log import KEEP_BYTES, KEEP_SECONDS, trim
from sourcepulse.brokers.file.routes import Router
from sourcepulse.brokers.file.tables import LogFile, log_end
from sourcepulse.brokers.file.withdrawal.blanking import obey_late
from sourcepulse.errors import BrokerError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: How many messages one commit removes at most, so that publishers wait for milliseconds only.
TRIM_ROWS = 1_000
#: A call ends after this time; the next one goes on.
TRIM_LIMIT_SECONDS = 2.0
#: How long a checkpoint waits for readers.
_CHECKPOINT_WAIT_SECONDS = 0.2


def trim_now(url: BrokerUrl, *, keep_seconds: float = KEEP_SECONDS, keep_bytes: int = KEEP_BYTES) -> int:
    """Remove what exceeds the limits, although nothing is appended, and return how many messages were removed.

    Publishers trim only when they append, so a log that must not keep events for longer needs this about once a minute.
    A call works for about two seconds at most. Without a log it does nothing. BrokerUnavailableError if it is locked.
    """
    path = Path(url.path)
    if not path.exists():
        return 0
    removed = 0
    until = time.monotonic() + TRIM_LIMIT_SECONDS
    router: Router | None = None
    with closing(LogFile(path, create=False)) as log:
        while True:
            with log.write() as db:
                note_unread(db)
                read = read_unread(db)
                obey_late(db, read)
                router = Router.load(db, router)
                now = time.time()
                count = trim(db, TRIM_ROWS, now, keep_bytes=keep_bytes, keep_seconds=keep_seconds, router=router)
                (must_scrub,) = db.execute("SELECT scrub FROM log").fetchone()
            removed += count
            if not (count or read) or time.monotonic() >= until:
                break
        if must_scrub or removed:
            scrub(log)
    return removed


def obey_unread(log: LogFile) -> None:
    """Withdraw what programs of format 1 withdrew, before anything of the log is shown.

    Each commit takes milliseconds, so that writers need not wait for long, however large the log is.
    """
    while has_unread(log):
        # After a power failure it is looked at again.
        with log.write(durable=False) as db:
            note_unread(db)
            obey_late(db, read_unread(db))
            (must_scrub,) = db.execute("SELECT scrub FROM log").fetchone()
        if must_scrub and not has_unread(log):
            # Otherwise the next append does it.
            with suppress(BrokerError):
                scrub(log)


def has_unread(log: LogFile) -> bool:
    """Return whether programs of format 1 stored what was not looked at yet."""
    with log.read() as db:
        return is_unread(db)


def is_unread(db: sqlite3.Connection) -> bool:
    """Return the same in a transaction."""
    found = db.execute("SELECT known_end, EXISTS (SELECT 1 FROM unread) FROM log").fetchone()
    return bool(found[1] or found[0] < log_end(db))


def scrub(log: LogFile) -> bool:
    """Empty the write-ahead log, which may still hold a withdrawn text; False if a reader is in the way, for now."""
    with (
        log.exclusive(),
        # A connection of its own, because the wait is shorter.
        closing(sqlite3.connect(log.path, timeout=_CHECKPOINT_WAIT_SECONDS, isolation_level=None)) as db,
    ):
        busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        return False
    with log.write() as db:
        db.execute("UPDATE log SET scrub = 0")
    return True
