# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The outbox: every event once, numbered without gaps, until the broker has confirmed it and for a while after that.

Without `from __future__ import annotations`: a named tuple would compile each string annotation at every push.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from sourcepulse.errors import NothingThereError
from sourcepulse.events.event import EVENT_MAX_BYTES, Event, Numbers
from sourcepulse.events.wire import encode
from sourcepulse.outbox.epoch import (
    BODY_ROW,
    EVENT_ROW,
    current_epoch,
    insert_rows,
    next_numbers,
    positions_of,
)
from sourcepulse.outbox.sqlite_file import SqliteFile
from sourcepulse.outbox.tables import OUTBOX_FILE, count_pending
from sourcepulse.wake.send import SUFFIX, send_wake

#: How long a command or the relay waits for other writers.
LOCK_WAIT_SECONDS = 10.0

#: The type of the stand-in for an event that the check before publishing withheld.
WITHHELD_TYPE = "system.event.withheld.v1"

PENDING = "pending"
DELIVERED = "delivered"
BURIED = "buried"


class Stored(NamedTuple):
    """What `append` did with one event; `new` is False for a repeat."""

    id: str
    position: int
    new: bool


class Claimed(NamedTuple):
    """One event to be published: its position in the outbox and the bytes to send."""

    position: int
    id: str
    source: str
    type: str
    time: str
    routing_key: str
    body: bytes
    subject: str | None = None


#: Of the tables `events e` and `bodies b`.
CLAIMED_COLUMNS = "e.position, e.id, e.source, e.type, e.time, e.routing_key, b.body, e.subject"


class Origin(NamedTuple):
    """A place whose first copies are swept, as the collector of its kind names it."""

    kind: str
    location: str
    last_seen_at: float


class Trouble(NamedTuple):
    """Events that wait because of an error: how many, since when, and the error."""

    waiting: int
    since: float
    error: str


class Outbox:
    """One outbox file, opened by this process; close it, or use it as a context manager.

    Every method may raise OutboxLockedError after at most `lock_wait_s` seconds, OutboxWriteError (read-only, full
    disk) or OutboxDamagedError; then nothing from that call was stored.
    """

    def __init__(self, file: SqliteFile, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        #: The streams that the relay which opened it publishes; none if another program opened it.
        self.relayed_streams: frozenset[str] = frozenset()

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        lock_wait_s: float = LOCK_WAIT_SECONDS,
        create: bool = True,
        private: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open or create the file, only for its owner if `private`; `clock` returns seconds since 1970."""
        file = SqliteFile(Path(path), OUTBOX_FILE, lock_wait_s=lock_wait_s, create=create, private=private)
        return cls(file, clock)

    def close(self) -> None:
        """Close the file; may be called again."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._file.path

    def now(self) -> float:
        """Return the time of the outbox's clock, in seconds since 1970."""
        return self._clock()

    def file_problems(self) -> list[str]:
        """Return the problems that SQLite finds in the whole file; empty if it is sound."""
        return self._file.problems()

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Yield the connection to the modules that list and count."""
        return self._file.read()

    def writing(self, *, durable: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """Yield the connection, inside one transaction, to the modules that change rows."""
        return self._file.write(durable=durable)

    def exclusive(self) -> AbstractContextManager[sqlite3.Connection]:
        """Yield the connection outside any transaction, while no other process writes."""
        return self._file.exclusive()

    def wake_relay(self) -> None:
        """Make the relay look for work now rather than at its next poll; a wake that is lost costs only that time."""
        # Links in the path were followed when the file was opened.
        send_wake(f"{self.path}{SUFFIX}")

    # -- storing

    def append(self, events: Sequence[Event], *, max_bytes: int = EVENT_MAX_BYTES) -> list[Stored]:
        """Store events in one commit and number them; one whose id is already known is left as it is.

        An event over `max_bytes` is numbered and buried with its reason, so that consumers see a gap.
        """
        now = self._clock()
        with self._file.write() as db:
            epoch, last = current_epoch(db, self._file)
            positions = positions_of(db, [event.id for event in events])
            stored, new = [], []
            for event in events:
                if is_new := event.id not in positions:
                    new.append(event)
                    positions[event.id] = last + len(new)
                stored.append(Stored(event.id, positions[event.id], is_new))
            if new:
                _insert(db, new, next_numbers(db, epoch, new), last, now, max_bytes)
        if new:
            self._file.set_mark(last + len(new))
            self.wake_relay()
        return stored

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return those of the ids whose events the outbox has or had."""
        with self._file.read() as db:
            return set(positions_of(db, ids))

    # -- sending

    def claim(self, stream: str, *, after: int = 0, limit: int = 100) -> list[Claimed]:
        """Return the oldest pending events after a position; the relay reads source by source (`relay.backlog`)."""
        with self._file.read() as db:
            rows = db.execute(
                f"SELECT {CLAIMED_COLUMNS} FROM events e JOIN bodies b USING (position) "  # noqa: S608 - made of constants
                "WHERE e.state = 'pending' AND e.stream = ? AND e.position > ? ORDER BY e.position LIMIT ?",
                (stream, after, limit),
            ).fetchall()
        return [Claimed(*row) for row in rows]

    def acknowledge(self, stream: str, positions: Sequence[int], *, unroutable: int = 0) -> bool:
        """Record that the broker confirmed these; a power failure may undo that, which causes a repeat, not a loss.

        Returns whether these are the first to reach no queue.
        """
        # Imported here because it imports this module, and the hook never acknowledges.
        from sourcepulse.outbox.delivery_state import record_delivery

        now = self._clock()
        with self._file.write(durable=False) as db:
            db.executemany(
                # Also one that was buried meanwhile, because the broker has it.
                "UPDATE events SET state = 'delivered', reason = NULL, settled_at = ? "
                "WHERE position = ? AND state != 'delivered'",
                [(now, position) for position in positions],
            )
            return record_delivery(db, stream, len(positions), unroutable=unroutable, now=now)

    def bury(self, position: int, reason: str) -> None:
        """Bury a pending event with a reason; `retry` makes it pending again."""
        with self._file.write() as db:
            changed = db.execute(
                "UPDATE events SET state = 'buried', reason = ?, settled_at = ? "
                "WHERE position = ? AND state = 'pending'",
                (reason, self._clock(), position),
            ).rowcount
        if not changed:
            raise NothingThereError(f"no pending event at position {position}")

    def withhold(self, position: int, stand_in: bytes, subject: str | None, *, routing_key: str) -> None:
        """Replace an event by a stand-in, permanently; its data is erased from the file.

        A copy can remain in the write-ahead log until SQLite next empties that.
        """
        with self._erasing(position, stand_in) as db:
            db.execute(
                "UPDATE events SET type = ?, subject = ?, routing_key = ? WHERE position = ?",
                (WITHHELD_TYPE, subject, routing_key, position),
            )

    def replace_body(self, position: int, body: bytes) -> None:
        """Replace an event's body by a reduced one, permanently; the rest is erased as with `withhold`."""
        with self._erasing(position, body):
            pass

    @contextmanager
    def _erasing(self, position: int, body: bytes) -> Iterator[sqlite3.Connection]:
        with self._file.read() as db:
            # Without it SQLite leaves the old bytes in the file until it reuses their space.
            db.execute("PRAGMA secure_delete = ON")
        with self._file.write() as db:
            db.execute("UPDATE bodies SET body = ? WHERE position = ?", (body, position))
            yield db

    def retry(self, position: int) -> None:
        """Make a buried event pending again; it is sent before younger ones, with its old id and numbers."""
        with self._file.write() as db:
            changed = db.execute(
                "UPDATE events SET state = 'pending', reason = NULL, settled_at = NULL "
                "WHERE position = ? AND state = 'buried' AND position IN (SELECT position FROM bodies)",
                (position,),
            ).rowcount
        if not changed:
            raise NothingThereError(f"no buried event at position {position}")
        self.wake_relay()

    # -- what waits

    def has_pending(self, stream: str) -> bool:
        """Return whether a stream has pending events; cheap, however many there are."""
        with self._file.read() as db:
            query = "SELECT 1 FROM events JOIN bodies USING (position) WHERE state = 'pending' AND stream = ? LIMIT 1"
            return db.execute(query, (stream,)).fetchone() is not None

    def pending(self, stream: str) -> int:
        """Return how many events of a stream are pending."""
        with self._file.read() as db:
            return count_pending(db, stream)[0]

    def trouble(self, stream: str) -> Trouble | None:
        """Return why the events of a stream wait; None if the last attempt succeeded, or nothing is pending."""
        with self._file.read() as db:
            row = db.execute(
                "SELECT last_error FROM deliveries WHERE stream = ? AND failures > 0", (stream,)
            ).fetchone()
            if row is None:
                return None
            waiting, since = count_pending(db, stream)
        return None if since is None else Trouble(waiting=waiting, since=since, error=str(row[0]))

    # -- origins

    def remember_origin(self, kind: str, location: str) -> None:
        """Record a place whose first copies are to be swept; cheap if it is already known."""
        now = self._clock()
        with self._file.read() as db:
            if db.execute("SELECT 1 FROM origins WHERE kind = ? AND location = ?", (kind, location)).fetchone():
                return
        with self._file.write() as db:
            db.execute(
                "INSERT OR IGNORE INTO origins (kind, location, first_seen_at, last_seen_at) VALUES (?, ?, ?, ?)",
                (kind, location, now, now),
            )

    def origins(self) -> list[Origin]:
        """Return the recorded places."""
        with self._file.read() as db:
            rows = db.execute("SELECT kind, location, last_seen_at FROM origins ORDER BY kind, location").fetchall()
        return [Origin(kind=kind, location=location, last_seen_at=seen) for kind, location, seen in rows]

    def note_sweep(self, origin: Origin, report: dict[str, object]) -> None:
        """Record what the last sweep of a place found."""
        with self._file.write(durable=False) as db:
            db.execute(
                "UPDATE origins SET last_seen_at = ?, last_report = ? WHERE kind = ? AND location = ?",
                (self._clock(), json.dumps(report), origin.kind, origin.location),
            )

    def forget_origin(self, kind: str, location: str) -> None:
        """Stop sweeping a place."""
        with self._file.write() as db:
            db.execute("DELETE FROM origins WHERE kind = ? AND location = ?", (kind, location))


def _insert(
    db: sqlite3.Connection, new: Sequence[Event], numbers: Sequence[Numbers], last: int, now: float, max_bytes: int
) -> None:
    """Insert events behind the last position, which no other process changes during the transaction."""
    rows, bodies = [], []
    for position, (event, number) in enumerate(zip(new, numbers, strict=True), last + 1):
        body = encode(event.numbered(number))
        reason = f"too large: {len(body)} bytes, the limit is {max_bytes}" if len(body) > max_bytes else None
        state, settled_at = (BURIED, now) if reason else (PENDING, None)
        attributes = event.id, event.stream, event.source, event.type, event.subject, event.time, event.routing_key
        rows.append((position, *attributes, *number, state, reason, now, settled_at))
        bodies.append((position, body))
    insert_rows(db, EVENT_ROW, rows)
    insert_rows(db, BODY_ROW, bodies)
