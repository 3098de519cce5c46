# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tables of the outbox, version by version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sourcepulse.errors import (
    OutboxDamagedError,
    OutboxForeignError,
    OutboxLockedError,
    OutboxReplacedError,
    OutboxWriteError,
)
from sourcepulse.outbox.sqlite_file import FileKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from sqlite3 import Connection

    from sourcepulse.outbox.outbox import Outbox

#: "spob" in ASCII, SQLite's application id; `file` shows it.
APPLICATION_ID = 0x73706F62

#: Finds the oldest pending events of each source, and from one source the next. An outbox from before has an index by
#: position alone until a relay opens it.
PENDING_INDEX = "events_pending_by_source"
PENDING_INDEX_COLUMNS = "ON events (stream, source, position) WHERE state = 'pending'"
FORMER_PENDING_INDEX = "events_pending"

#: Rows of SQLite's own table of last positions: how many payloads are kept, and their bytes. Each append changes that
#: table anyway, so they cost it no further page. An outbox from before has none until a relay opens it.
KEPT_PAYLOADS, KEPT_BYTES = "kept payloads", "kept bytes"
#: Triggers keep them, so that what an earlier version stores or drops in the file is counted as well: during an upgrade
#: its hooks write for a relay of this version. No function makes these texts, because a push would have to enter it.
_COUNTING = "kept_stored"
_COUNT = f"ON bodies BEGIN UPDATE sqlite_sequence SET seq = seq + CASE name WHEN '{KEPT_PAYLOADS}' THEN"  # noqa: S608 - made of constants
_COUNTED = f"END WHERE name IN ('{KEPT_PAYLOADS}', '{KEPT_BYTES}'); END"
_GROWTH = "length(new.body) - length(old.body)"
_KEPT_TRIGGERS = (
    f"CREATE TRIGGER IF NOT EXISTS {_COUNTING} AFTER INSERT {_COUNT} 1 ELSE length(new.body) {_COUNTED}",
    f"CREATE TRIGGER IF NOT EXISTS kept_dropped AFTER DELETE {_COUNT} -1 ELSE -length(old.body) {_COUNTED}",
    f"CREATE TRIGGER IF NOT EXISTS kept_replaced AFTER UPDATE OF body {_COUNT} 0 ELSE {_GROWTH} {_COUNTED}",
)

# Bodies have their own table, so that an acknowledgement rewrites a small row and expiry is one DELETE.
# `numbers` holds the last assigned number; type '' stands for the whole source.
_VERSION_1 = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE numbers (
    source TEXT NOT NULL, epoch TEXT NOT NULL, type TEXT NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (source, epoch, type)
) WITHOUT ROWID;
CREATE TABLE events (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    stream TEXT NOT NULL CHECK (stream IN ('public', 'restricted')),
    source TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    time TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    epoch TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    typesequence INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'buried')),
    reason TEXT,
    stored_at REAL NOT NULL,
    settled_at REAL
);
CREATE INDEX {PENDING_INDEX} {PENDING_INDEX_COLUMNS};
CREATE INDEX events_buried ON events (position) WHERE state = 'buried';
CREATE TABLE bodies (position INTEGER PRIMARY KEY REFERENCES events, body BLOB NOT NULL);
CREATE TABLE replays (
    number INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER NOT NULL UNIQUE REFERENCES events,
    requested_at REAL NOT NULL
);
CREATE TABLE deliveries (
    stream TEXT PRIMARY KEY,
    broker TEXT,
    failures INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL,
    last_error TEXT,
    last_error_at REAL,
    last_delivery_at REAL,
    delivered INTEGER NOT NULL DEFAULT 0,
    unroutable INTEGER NOT NULL DEFAULT 0,
    replayed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE origins (
    kind TEXT NOT NULL, location TEXT NOT NULL, first_seen_at REAL NOT NULL, last_seen_at REAL NOT NULL,
    last_report TEXT,
    PRIMARY KEY (kind, location)
) WITHOUT ROWID;
INSERT INTO sqlite_sequence (name, seq) VALUES ('{KEPT_PAYLOADS}', 0), ('{KEPT_BYTES}', 0);
{_KEPT_TRIGGERS[0]};
{_KEPT_TRIGGERS[1]};
{_KEPT_TRIGGERS[2]}
"""  # noqa: S608 - made of constants

OUTBOX_FILE = FileKind(
    name="outbox",
    application_id=APPLICATION_ID,
    migrations=(_VERSION_1,),
    locked=OutboxLockedError,
    damaged=OutboxDamagedError,
    unwritable=OutboxWriteError,
    replaced=OutboxReplacedError,
    foreign=OutboxForeignError,
    repair="`sourcepulse outbox repair` copies what can be read into a new file and keeps this one under another name",
)

#: Sorts after every name.
_LAST_CHARACTER = "\U0010ffff"


#: Walks the index of pending events from source to source, because the first of each is the oldest of its source.
_OLDEST_PENDING = """
WITH RECURSIVE turn (source) AS (
    SELECT min(source) FROM events WHERE state = 'pending' AND stream = :stream
    UNION ALL
    SELECT (SELECT min(source) FROM events WHERE state = 'pending' AND stream = :stream AND source > turn.source)
    FROM turn WHERE source IS NOT NULL
)
SELECT min((SELECT stored_at FROM events WHERE state = 'pending' AND stream = :stream AND source = turn.source
            ORDER BY position LIMIT 1)) FROM turn WHERE source IS NOT NULL
"""


def note(db: Connection, name: str) -> str | None:
    """Return the note of this name in the table `meta`, None if there is none."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row[0] if row else None


def notes(db: Connection, prefix: str) -> dict[str, str]:
    """Return all notes whose names begin with the prefix, by name."""
    return dict(
        db.execute(
            "SELECT name, value FROM meta WHERE name >= ? AND name < ? ORDER BY name",
            (prefix, prefix + _LAST_CHARACTER),
        )
    )


def set_notes(db: Connection, values: Mapping[str, str]) -> None:
    """Write notes, replacing existing ones with the same names."""
    db.executemany("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", list(values.items()))


def add_to_note(db: Connection, name: str, number: int) -> None:
    """Add to the note of this name, which is a whole number."""
    db.execute(
        "INSERT INTO meta (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value",
        (name, str(number)),
    )


def remove_notes(db: Connection, names: Iterable[str]) -> None:
    """Remove notes; missing ones are ignored."""
    db.executemany("DELETE FROM meta WHERE name = ?", [(name,) for name in names])


def ensure_delivery(db: Connection, stream: str) -> None:
    """Make the row of a stream in the table `deliveries` if it is missing."""
    db.execute("INSERT OR IGNORE INTO deliveries (stream) VALUES (?)", (stream,))


def count_pending(db: Connection, stream: str) -> tuple[int, float | None]:
    """Return the number of pending events of a stream, and when the oldest was stored; reads little but the index."""
    (count,) = db.execute("SELECT count(*) FROM events WHERE state = 'pending' AND stream = ?", (stream,)).fetchone()
    (since,) = db.execute(_OLDEST_PENDING, {"stream": stream}).fetchone() if count else (None,)
    return int(count), since


def kept(db: Connection) -> tuple[int, int]:
    """Return how many payloads are kept, and their bytes."""
    return _counted(db) or _scanned(db, "")


def count_kept(outbox: Outbox) -> None:
    """Count the kept payloads of an outbox whose earlier version did not; only new ones are read under the lock."""
    with outbox.reading() as db:
        if _counted(db) is not None:
            return
        (last,) = db.execute("SELECT coalesce(max(position), 0) FROM bodies").fetchone()
        before = _scanned(db, "WHERE position <= ?", last)
    with outbox.writing() as db:
        if _counted(db) is None:
            after = _scanned(db, "WHERE position > ?", last)
            _set_kept(db, before[0] + after[0], before[1] + after[1])
            for trigger in _KEPT_TRIGGERS:
                db.execute(trigger)


def _set_kept(db: Connection, payloads: int, size: int) -> None:
    db.execute("DELETE FROM sqlite_sequence WHERE name IN (?, ?)", (KEPT_PAYLOADS, KEPT_BYTES))
    db.execute(
        "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?), (?, ?)",
        (KEPT_PAYLOADS, payloads, KEPT_BYTES, size),
    )


def _counted(db: Connection) -> tuple[int, int] | None:
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_COUNTING,)).fetchone() is None:
        return None
    rows = dict(db.execute("SELECT name, seq FROM sqlite_sequence WHERE name IN (?, ?)", (KEPT_PAYLOADS, KEPT_BYTES)))
    return (rows[KEPT_PAYLOADS], rows[KEPT_BYTES]) if rows else None


def _scanned(db: Connection, condition: str, *values: int) -> tuple[int, int]:
    query = "SELECT count(*), coalesce(sum(length(body)), 0) FROM bodies"
    payloads, size = db.execute(f"{query} {condition}", values).fetchone()
    return payloads, size
