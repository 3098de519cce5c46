# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tables of the embedded log, by schema version, and opening the log."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.errors import BrokerError, BrokerRefusedUsError, BrokerUnavailableError
from sourcepulse.outbox.sqlite_file import FileKind, SqliteFile

#: "splg" in ASCII; `file` and SQLite show it as the application id.
APPLICATION_ID = 0x73706C67
#: How long one call may wait for other processes that use the same log.
LOCK_WAIT_SECONDS = 5.0
#: The most memory of a connection for pages.
CACHE_KIB = 8_192

# A queue is a position in the log, not a copy of messages. `cursor` is the position up to which every message was
# leased, skipped or lost. A row in `leases` is a message behind the cursor that is not settled; if its consumer is
# NULL, it waits for redelivery. A binding is valid for the positions in (after, until], so that changed patterns
# affect only later messages, as on a broker. `published` - `taken` is the number of messages that wait beyond the
# cursor; neither counts positions up to `counted_from`.
_VERSION_1 = """
CREATE TABLE log (
    one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL, bindings_version INTEGER NOT NULL,
    swept_at REAL NOT NULL
);
INSERT INTO log VALUES (1, 0, 0, 0);
CREATE TABLE messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE queues (
    queue INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    durable INTEGER NOT NULL,
    shared INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    counted_from INTEGER NOT NULL,
    published INTEGER NOT NULL DEFAULT 0,
    taken INTEGER NOT NULL DEFAULT 0,
    lost INTEGER NOT NULL DEFAULT 0,
    lost_told INTEGER NOT NULL DEFAULT 0,
    max_length INTEGER NOT NULL,
    message_ttl_s INTEGER NOT NULL,
    expires_s INTEGER NOT NULL,
    max_deliveries INTEGER NOT NULL,
    used_at REAL NOT NULL
);
CREATE TABLE bindings (
    queue INTEGER NOT NULL, exchange TEXT NOT NULL, pattern TEXT NOT NULL, after INTEGER NOT NULL,
    until INTEGER
);
CREATE INDEX bindings_queue ON bindings (queue);
CREATE TABLE consumers (
    consumer INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, token TEXT NOT NULL,
    seen_at REAL NOT NULL
);
CREATE TABLE leases (
    queue INTEGER NOT NULL, position INTEGER NOT NULL, consumer INTEGER, deliveries INTEGER NOT NULL,
    PRIMARY KEY (queue, position)
) WITHOUT ROWID;
CREATE TABLE dead_letters (
    letter INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    position INTEGER NOT NULL,
    at REAL NOT NULL,
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    content_type TEXT NOT NULL,
    body BLOB NOT NULL,
    deliveries INTEGER NOT NULL,
    dead_at REAL NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX dead_letters_queue ON dead_letters (queue, letter);
CREATE TABLE gone_queues (name TEXT PRIMARY KEY, gone_at REAL NOT NULL) WITHOUT ROWID
"""

# `envelopes` has what is looked up of a message, beside it and not in it, so that a log of format 1 is not rewritten:
# the positions in `unread` have none yet, `known_end` is the last position that has one. `ident` and `about` are hashes
# of (source, id) and (source, subject); a whole source and id in an index would double the pages that an append writes.
# `mentions` are the bugs that an event of another bug names. A message is removed by the limits up to `trimmed_until`;
# one that is there all the same was a dead letter. `scrub` is set while the write-ahead log may hold a withdrawn text.
_VERSION_2 = """
ALTER TABLE log ADD COLUMN token TEXT NOT NULL DEFAULT '';
ALTER TABLE log ADD COLUMN inode INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN known_end INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN trimmed_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN withdrawals INTEGER NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN scrub INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queues ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
CREATE TABLE envelopes (
    position INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    ident INTEGER,
    about INTEGER,
    withdrawn INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX envelopes_ident ON envelopes (ident) WHERE ident IS NOT NULL;
CREATE INDEX envelopes_about ON envelopes (about) WHERE about IS NOT NULL;
CREATE INDEX envelopes_withdrawn ON envelopes (ident) WHERE withdrawn > 0;
CREATE INDEX envelopes_nameless ON envelopes (position) WHERE ident IS NULL;
CREATE TABLE mentions (position INTEGER NOT NULL, about INTEGER NOT NULL, PRIMARY KEY (position, about)) WITHOUT ROWID;
CREATE INDEX mentions_about ON mentions (about);
CREATE TABLE withdrawals (
    caused_by INTEGER NOT NULL, position INTEGER NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY (caused_by, position)
) WITHOUT ROWID;
CREATE TABLE exchanges (exchange TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE unread (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
INSERT INTO unread SELECT (SELECT min(position) FROM messages), (SELECT max(position) FROM messages)
    WHERE EXISTS (SELECT 1 FROM messages);
UPDATE log SET token = lower(hex(randomblob(8))),
    known_end = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0),
    trimmed_until = coalesce((SELECT min(position) - 1 FROM messages), 0)
"""


class LogBusyError(BrokerUnavailableError):
    """Another program holds the lock of the log's writers; nothing was written, and a later try may succeed."""


LOG_FILE = FileKind(
    name="log",
    application_id=APPLICATION_ID,
    migrations=(_VERSION_1, _VERSION_2),
    locked=LogBusyError,
    damaged=BrokerError,
    unwritable=BrokerUnavailableError,
    repair="move it aside together with the files of the same name that end in -wal, -shm and .lock; the next "
    "publisher or consumer creates a new log, and `sourcepulse outbox replay` sends the stored events again",
)


class LogFile:
    """One connection to the log, which notices when the file is replaced."""

    def __init__(
        self, path: Path, *, create: bool = True, for_reading: bool = False, lock_wait_s: float | None = None
    ) -> None:
        """Open the log, creating it if missing; `for_reading`, not where a new log would lock the publisher out.

        A write waits for `lock_wait_s` at most, by default LOCK_WAIT_SECONDS, then raises LogBusyError.
        BrokerRefusedUsError if the directory is missing or inaccessible, BrokerUnavailableError if the log is
        locked or its disk full, BrokerError if the file is damaged or not a log.
        """
        try:
            check_log_place(path)
            if for_reading:
                _check_owner(path)
        except OSError as error:
            raise BrokerRefusedUsError(f"the log {path} cannot be used: {error.strerror}") from error
        self.path = path
        wait_s = LOCK_WAIT_SECONDS if lock_wait_s is None else lock_wait_s
        self._file = SqliteFile(path, LOG_FILE, lock_wait_s=wait_s, create=create)
        with self._file.read() as db:
            # Text that is not UTF-8, written by another program, must not prevent reading the rows after it.
            db.text_factory = _text
            # What is removed or withdrawn leaves no text in free pages.
            db.execute("PRAGMA secure_delete = ON")
            # The index of ids is written everywhere; in SQLite's 2 MiB a large log appends half as fast.
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self.read = self._file.read
        self.write = self._file.write
        self.close = self._file.close
        self.problems = self._file.problems
        self.data_version = self._file.data_version
        self.exclusive = self._file.exclusive
        self._identity = self._on_disk()
        self._renew_token()

    def check_in_place(self) -> None:
        """Raise BrokerUnavailableError if the path no longer leads to the file that was opened."""
        if self._on_disk() != self._identity:
            raise BrokerUnavailableError(f"the log {self.path} was removed or replaced by another file")

    def _renew_token(self) -> None:
        """Choose another token for a copy of the log, also a restored one: its positions will be of other messages."""
        inode = self._identity[1] if self._identity is not None else 0
        stored = "SELECT inode FROM log"
        # Before the end of the log is read: readers mark what was appended.
        mark = self._file.mark()
        with self.read() as db:
            if db.execute(stored).fetchone()[0] == inode and mark <= log_end(db):
                return
        with self.write() as db:
            former = db.execute(stored).fetchone()[0]
            mark = self._file.mark()
            if former == 0:
                # A new log, or one of format 1, to which the mark does not belong.
                self._file.set_mark(log_end(db))
            elif former != inode or mark > log_end(db):
                db.execute("UPDATE log SET token = lower(hex(randomblob(8)))")
                if mark > log_end(db):
                    # No position is used twice.
                    set_log_end(db, mark)
                    db.execute("UPDATE log SET known_end = ?", (mark,))
            db.execute("UPDATE log SET inode = ?", (inode,))

    def mark(self, end: int) -> None:
        """Record beside the file up to where it was read, so that an older copy in its place is recognised."""
        if end > self._file.mark():
            self._file.set_mark(end)

    def _on_disk(self) -> tuple[int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _check_owner(path: Path) -> None:
    """Raise BrokerRefusedUsError if publishers could not open the files of a log that this user created."""
    folder = path.parent.stat()
    is_ours = os.geteuid() in (0, folder.st_uid) or bool(folder.st_mode & stat.S_IWOTH)
    keeps_group = bool(folder.st_mode & stat.S_ISGID and folder.st_mode & stat.S_IWGRP)
    if not path.exists() and not is_ours and not keeps_group:
        raise BrokerRefusedUsError(
            f"there is no log {path} yet, and one that this user created would lock out its publishers; let the relay "
            f"create it first, or ask an admin to run chmod g+s {path.parent}"
        )


def log_end(db: Connection) -> int:
    """Return the position of the last message ever appended, 0 if there was none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
    return row[0] if row else 0


def set_log_end(db: Connection, end: int) -> None:
    """Pass over the positions up to one: the next message has a higher one."""
    if not db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'messages'", (end,)).rowcount:
        db.execute("INSERT INTO sqlite_sequence VALUES ('messages', ?)", (end,))


def text_of(value: object) -> str:
    """Return the value of a text column as a string, even if another program stored another type there."""
    return value if isinstance(value, str) else _text(value) if isinstance(value, bytes) else str(value)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def check_log_place(path: Path) -> None:
    """Raise BrokerRefusedUsError if no log can be created at this path, or the existing one not written."""
    if not path.parent.is_dir():
        raise BrokerRefusedUsError(f"the folder of the log {path} does not exist; create it, or correct the broker URL")
    for place in (path.parent, path):
        if not os.access(place, os.R_OK | os.W_OK) and (place == path.parent or path.exists()):
            raise BrokerRefusedUsError(
                f"the log {path} cannot be used: this user may not read and write {place}; SQLite needs both "
                "for the file and its directory"
            )
    if path.is_dir():
        raise BrokerRefusedUsError(f"the log {path} is a directory; name a file in the broker URL")


def opened(log: LogFile | None, path: Path) -> LogFile:
    """Return the log, or raise BrokerUnavailableError if it is not open."""
    if log is None:
        raise BrokerUnavailableError(f"the log {path} is not open")
    return log
