# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The memory of a consumer: the ids it handled, the last number of each lane, the topics it bound."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from sqlite3 import Connection

from sourcepulse.consumer.memory.handled import HandledNames
from sourcepulse.errors import StateError
from sourcepulse.gaps import JUMP_NUMBERS, Lane
from sourcepulse.outbox.sqlite_file import FileKind, SqliteFile, side_files

#: How many ids of handled events are kept to recognise repeats.
SEEN_WINDOW = 100_000
#: How many counts are kept of events that were handed over and not handled.
ATTEMPTS_WINDOW = 100_000
#: For how many of the most recently used lanes the last number is kept, and how many more until the oldest are removed.
LANES_WINDOW = 20_000
LANES_SLACK = 1_000
#: How long a call may wait for another process that uses the same file.
LOCK_WAIT_SECONDS = 5.0
#: The name of a state that is not stored in a file.
MEMORY = ":memory:"

#: What is recorded of an event: its name (None if the event may be handled again), its lane, its number there.
Entry = tuple[str | None, Lane | None, int]

#: "spcs" in ASCII.
APPLICATION_ID = 0x73706373
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_MAX = 60

_VERSION_1 = """
CREATE TABLE seen (position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL);
CREATE TABLE lanes (
    source TEXT NOT NULL, epoch TEXT NOT NULL, type TEXT NOT NULL, last INTEGER NOT NULL, used_at REAL NOT NULL,
    PRIMARY KEY (source, epoch, type)
) WITHOUT ROWID;
CREATE TABLE attempts (id TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE patterns (pattern TEXT PRIMARY KEY, bound INTEGER NOT NULL) WITHOUT ROWID
"""

STATE_FILE = FileKind(
    name="consumer state",
    application_id=APPLICATION_ID,
    migrations=(_VERSION_1,),
    locked=StateError,
    damaged=StateError,
    unwritable=StateError,
    replaced=StateError,
    repair="move it aside together with the files of the same name that end in -wal, -shm and .lock; "
    "without it repeats of events handled before are not recognised",
)


def default_path(address: str, queue: str) -> Path:
    """Return the path of a queue's state file, below $XDG_STATE_HOME or ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME", "")
    root = Path(home) if Path(home).is_absolute() else Path("~/.local/state").expanduser()
    digest = hashlib.sha256(f"{address}\n{queue}".encode()).hexdigest()[:12]
    return root / "sourcepulse" / f"{_UNSAFE.sub('_', queue)[:_NAME_MAX]}-{digest}.db"


class ConsumerState:
    """The memory of one consumer, in a file of mode 0600 or, for MEMORY, as long as the object lives.

    Several processes that share a queue may share the file. Every method may raise StateError; its text
    names the file and what to do.
    """

    def __init__(self, path: Path | str, *, window: int = SEEN_WINDOW, lanes: int = LANES_WINDOW) -> None:
        self._seen = HandledNames(window)
        self._lanes_kept = lanes
        self._advanced = 0
        self._file = _InMemory() if str(path) == MEMORY else _open_file(Path(path))

    def close(self) -> None:
        """Close the file; may be called more than once."""
        self._file.close()

    def is_handled(self, name: str, event_id: str | None = None) -> bool:
        """Return whether a name is among the last that were handled, or the id that an earlier version kept."""
        if self._file.data_version() != self._seen.version:
            # The event is recorded soon, and that checks whether the file is still in place.
            with self._file.read(check_place=False) as db:
                self._seen.catch_up(db)
        return self._seen.has(name) or (event_id is not None and self._seen.keeps_ids and self._seen.has(event_id))

    def handled_another(self, name: str) -> bool:
        """Return whether an event of this source and id, but with other content, was handled.

        Call it after `is_handled`.
        """
        return self._seen.has_other(name)

    def record(self, entries: Iterable[Entry]) -> None:
        """Record in one commit that events are settled; without a name only the number, so it may be handled again.

        The record survives a killed process at once, and a power failure a little later: until then an event may
        be handled twice.
        """
        names: dict[str, None] = {}
        reached: dict[Lane, int] = {}
        for name, lane, number in entries:
            if name is not None:
                names[name] = None
            if lane is not None:
                reached[lane] = max(number, reached.get(lane, 0))
        with self._file.write(durable=False) as db:
            if names:
                self._seen.add(db, names)
                _forget_attempts(db, names)
            now = time.time()
            for lane, number in reached.items():
                _advance(db, lane, number, now)
            self._advanced += len(reached)
            if self._advanced >= LANES_SLACK:
                self._advanced = 0
                _prune_lanes(db, self._lanes_kept)

    def count_attempt(self, name: str, most: int) -> bool:
        """Record that an event is about to be handled once more; False, unrecorded, if it was `most` times."""
        with self._file.write(durable=False) as db:
            row = db.execute("SELECT count FROM attempts WHERE id = ?", (name,)).fetchone()
            if row is not None and row[0] >= most:
                return False
            db.execute("INSERT INTO attempts VALUES (?, 1) ON CONFLICT DO UPDATE SET count = count + 1", (name,))
            db.execute("DELETE FROM attempts WHERE rowid <= (SELECT max(rowid) - ? FROM attempts)", (ATTEMPTS_WINDOW,))
        return True

    def forget_attempts(self, name: str) -> None:
        """Reset the attempts of an event that was buried, in case it is requeued."""
        with self._file.write(durable=False) as db:
            _forget_attempts(db, [name])

    def last(self, lane: Lane) -> int | None:
        """Return the number of the last event handled in a lane, or None."""
        with self._file.read() as db:
            row = db.execute(
                "SELECT last FROM lanes WHERE source = ? AND epoch = ? AND type = ?",
                (lane.source, lane.epoch, lane.type or ""),
            ).fetchone()
        return row[0] if row else None

    def epochs(self, source: str) -> frozenset[str]:
        """Return the epochs in which events of a source were handled."""
        with self._file.read() as db:
            return frozenset(
                row[0] for row in db.execute("SELECT DISTINCT epoch FROM lanes WHERE source = ?", (source,))
            )

    def forget_lanes(self, keep: Callable[[Lane], bool]) -> None:
        """Forget the last numbers of all lanes but those to be kept."""
        with self._file.write() as db:
            lanes = db.execute("SELECT source, epoch, type FROM lanes").fetchall()
            gone = [lane for lane in lanes if not keep(Lane(lane[0], lane[1], lane[2] or None))]
            db.executemany("DELETE FROM lanes WHERE source = ? AND epoch = ? AND type = ?", gone)

    def patterns(self) -> tuple[str, ...]:
        """Return the topics that the queue may be bound to."""
        with self._file.read() as db:
            return tuple(row[0] for row in db.execute("SELECT pattern FROM patterns ORDER BY pattern"))

    def was_bound(self) -> bool:
        """Return whether the queue was ever subscribed to with this memory."""
        with self._file.read() as db:
            return db.execute("SELECT 1 FROM patterns WHERE bound").fetchone() is not None

    def intend_patterns(self, patterns: Sequence[str]) -> None:
        """Record topics that the queue is about to be bound to, besides those that it may be bound to already."""
        with self._file.write() as db:
            db.executemany("INSERT OR IGNORE INTO patterns VALUES (?, 0)", [(pattern,) for pattern in patterns])

    def settle_patterns(self, patterns: Sequence[str], *, forget_former: bool) -> None:
        """Record that the queue is bound to these topics, and with `forget_former` to no others."""
        with self._file.write() as db:
            if forget_former:
                db.execute("DELETE FROM patterns")
            db.executemany("INSERT OR REPLACE INTO patterns VALUES (?, 1)", [(pattern,) for pattern in patterns])


def _forget_attempts(db: Connection, ids: Iterable[str]) -> None:
    # The table is almost always empty, because few events are handed over twice.
    if db.execute("SELECT 1 FROM attempts LIMIT 1").fetchone():
        db.executemany("DELETE FROM attempts WHERE id = ?", [(event_id,) for event_id in ids])


def _advance(db: Connection, lane: Lane, number: int, now: float) -> None:
    # A number far below the last one means that the last was forged, or that these events come late. The lower number
    # is then where the next start continues.
    db.execute(
        "INSERT INTO lanes VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
        "last = CASE WHEN excluded.last < last - ? THEN excluded.last ELSE max(last, excluded.last) END, "
        "used_at = excluded.used_at",
        (lane.source, lane.epoch, lane.type or "", number, now, JUMP_NUMBERS),
    )


def _prune_lanes(db: Connection, most: int) -> None:
    db.execute(
        "DELETE FROM lanes WHERE (source, epoch, type) IN "
        "(SELECT source, epoch, type FROM lanes ORDER BY used_at DESC LIMIT -1 OFFSET ?)",
        (most,),
    )


class _InMemory:
    """The same tables, without a file."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
        self._db.executescript(_VERSION_1)

    def close(self) -> None:
        pass

    def data_version(self) -> int:
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def read(self, *, check_place: bool = True) -> Iterator[Connection]:  # noqa: ARG002 - as SqliteFile has it
        yield self._db

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:  # noqa: ARG002 - as SqliteFile has it
        with self._db:
            yield self._db


def _make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, inaccessible to other users whatever the umask."""
    for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
        missing.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)


def _open_file(path: Path) -> SqliteFile:
    way_out = f"choose another file with state=, or keep it in memory with state={MEMORY!r}"
    try:
        _make_folder(path.parent)
    except OSError as error:
        raise StateError(
            f"the directory {path.parent} of the consumer state cannot be created: {error.strerror}; {way_out}"
        ) from error
    try:
        file = SqliteFile(path, STATE_FILE, lock_wait_s=LOCK_WAIT_SECONDS, create=True)
        # SQLite reports a read-only file only when it writes.
        with file.write(durable=False) as db:
            db.execute("DELETE FROM attempts WHERE 0")
    except StateError as error:
        raise StateError(f"{error}; {way_out}") from error
    for each in (path, *side_files(path)):
        with suppress(FileNotFoundError, PermissionError):
            each.chmod(_FILE_MODE)
    return file
