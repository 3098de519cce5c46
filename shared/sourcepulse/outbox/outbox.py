# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The outbox: every event once, numbered without gaps, until the broker has confirmed it and for a while after that.

Without `from __future__ import annotations`: a named tuple would compile each string annotation at every push.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from sourcepulse.errors import EventError, NothingThereError
from sourcepulse.events.event import EVENT_MAX_BYTES, Event, Numbers
from sourcepulse.events.wire import encode
from sourcepulse.outbox.sqlite_file import SqliteFile
from sourcepulse.outbox.tables import OUTBOX_FILE, note, remove_notes, set_notes

#: How long a command or the relay waits for other writers.
LOCK_WAIT_SECONDS = 10.0
#: Every SQLite allows at least this many values in one statement.
IDS_AT_ONCE = 500

#: The type of the stand-in for an event that the check before publishing withheld.
WITHHELD_TYPE = "system.event.withheld.v1"

#: The prefix of the rows of the table `meta` that hold a problem, and how much of its sentence is kept.
PROBLEMS = "problem "
PROBLEM_MAX_CHARACTERS = 1_000
#: Since when no event reached a queue, by stream.
UNROUTABLE_SINCE = "unroutable since "
#: The digest of the settings with which an attempt failed, by stream.
_TRIED = "tried "

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

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection to the modules that list and count."""
        with self._file.read() as db:
            yield db

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Yield the connection, inside one transaction, to the modules that change many rows."""
        with self._file.write(durable=durable) as db:
            yield db

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection outside any transaction, while no other process writes."""
        with self._file.exclusive() as db:
            yield db

    # -- storing

    def append(self, events: Sequence[Event], *, max_bytes: int = EVENT_MAX_BYTES) -> list[Stored]:
        """Store events in one commit and number them; one whose id is already known is left as it is.

        An event over `max_bytes` is numbered and buried with its reason, so that consumers see a gap.
        """
        now = self._clock()
        with self._file.write() as db:
            epoch = self._epoch(db)
            stored = [self._append_one(db, event, epoch, now, max_bytes) for event in events]
        new = [one.position for one in stored if one.new]
        if new:
            self._file.set_mark(new[-1])
        return stored

    def known(self, ids: Sequence[str]) -> set[str]:
        """Return those of the ids whose events the outbox has or had."""
        found: set[str] = set()
        with self._file.read() as db:
            for start in range(0, len(ids), IDS_AT_ONCE):
                part = ids[start : start + IDS_AT_ONCE]
                marks = ",".join("?" * len(part))
                found.update(row[0] for row in db.execute(f"SELECT id FROM events WHERE id IN ({marks})", part))  # noqa: S608
        return found

    def _append_one(self, db: sqlite3.Connection, event: Event, epoch: str, now: float, max_bytes: int) -> Stored:
        known = db.execute("SELECT position FROM events WHERE id = ?", (event.id,)).fetchone()
        if known:
            return Stored(id=event.id, position=known[0], new=False)
        numbers = Numbers(
            epoch=epoch,
            sequence=_next_number(db, event.source, epoch, ""),
            typesequence=_next_number(db, event.source, epoch, event.type),
        )
        body = encode(event.numbered(numbers))
        reason = f"too large: {len(body)} bytes, the limit is {max_bytes}" if len(body) > max_bytes else None
        cursor = db.execute(
            "INSERT INTO events (id, stream, source, type, subject, time, routing_key, epoch, sequence, "
            "typesequence, state, reason, stored_at, settled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.id,
                event.stream,
                event.source,
                event.type,
                event.subject,
                event.time,
                event.routing_key,
                epoch,
                numbers.sequence,
                numbers.typesequence,
                BURIED if reason else PENDING,
                reason,
                now,
                now if reason else None,
            ),
        )
        position = cursor.lastrowid
        assert position is not None  # noqa: S101 - an INSERT that did not raise has a row
        db.execute("INSERT INTO bodies (position, body) VALUES (?, ?)", (position, body))
        return Stored(id=event.id, position=position, new=True)

    def _epoch(self, db: sqlite3.Connection) -> str:
        """Return the epoch of this file; a copy or a restored backup gets a new one.

        A copy has another inode. A backup that was written over the file, or got the same inode again, does not, but it
        lacks the last position, which is recorded beside the file.
        """
        identity = str(self.path.stat().st_ino)
        known = dict(db.execute("SELECT name, value FROM meta WHERE name IN ('epoch', 'inode')"))
        (last,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'").fetchone()
        if known.get("inode") == identity and self._file.mark() <= last:
            return str(known["epoch"])
        # Imported here because it is needed once in the life of a file.
        from uuid import uuid4

        epoch = str(uuid4())
        set_notes(db, {"epoch": epoch, "inode": identity})
        return epoch

    # -- sending

    def claim(self, stream: str, *, after: int = 0, limit: int = 100) -> list[Claimed]:
        """Return the oldest pending events after a position, in order; they stay pending until settled.

        Only one relay per outbox holds `relay.relay_lock`, so no other process sends what was claimed.
        """
        with self._file.read() as db:
            rows = db.execute(
                "SELECT e.position, e.id, e.source, e.type, e.time, e.routing_key, b.body "
                "FROM events e JOIN bodies b USING (position) "
                "WHERE e.state = 'pending' AND e.stream = ? AND e.position > ? ORDER BY e.position LIMIT ?",
                (stream, after, limit),
            ).fetchall()
        return [
            Claimed(position=p, id=i, source=s, type=y, time=t, routing_key=k, body=b) for p, i, s, y, t, k, b in rows
        ]

    def acknowledge(self, stream: str, positions: Sequence[int], *, unroutable: int = 0) -> bool:
        """Record that the broker confirmed these; a power failure may undo that, which causes a repeat, not a loss.

        Returns whether these are the first to reach no queue.
        """
        now = self._clock()
        with self._file.write(durable=False) as db:
            db.executemany(
                # Also one that was buried meanwhile, because the broker has it.
                "UPDATE events SET state = 'delivered', reason = NULL, settled_at = ? "
                "WHERE position = ? AND state != 'delivered'",
                [(now, position) for position in positions],
            )
            _ensure_delivery(db, stream)
            db.execute(
                "UPDATE deliveries SET delivered = delivered + ?, unroutable = unroutable + ?, "
                "last_delivery_at = ?, failures = 0, next_attempt_at = NULL WHERE stream = ?",
                (len(positions), unroutable, now, stream),
            )
            name = UNROUTABLE_SINCE + stream
            if unroutable < len(positions):
                remove_notes(db, [name])
                return False
            is_new = note(db, name) is None
            if is_new:
                set_notes(db, {name: str(now)})
            return is_new

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
        with self._erasing() as db:
            db.execute("UPDATE bodies SET body = ? WHERE position = ?", (stand_in, position))
            db.execute(
                "UPDATE events SET type = ?, subject = ?, routing_key = ? WHERE position = ?",
                (WITHHELD_TYPE, subject, routing_key, position),
            )

    def replace_body(self, position: int, body: bytes) -> None:
        """Replace an event's body by a reduced one, permanently; the rest is erased as with `withhold`."""
        with self._erasing() as db:
            db.execute("UPDATE bodies SET body = ? WHERE position = ?", (body, position))

    @contextmanager
    def _erasing(self) -> Iterator[sqlite3.Connection]:
        with self._file.read() as db:
            # Without it SQLite leaves the old bytes in the file until it reuses their space.
            db.execute("PRAGMA secure_delete = ON")
        with self._file.write() as db:
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

    # -- replays

    def request_replay(self, position: int) -> None:
        """Ask the relay to send a delivered event again, marked as replayed; two requests send it once."""
        with self._file.write() as db:
            state = db.execute(
                "SELECT state, position IN (SELECT position FROM bodies) FROM events WHERE position = ?",
                (position,),
            ).fetchone()
            if state is None:
                raise NothingThereError(f"no event at position {position}")
            if state[0] != DELIVERED:
                raise EventError(
                    f"the event at position {position} is {state[0]}, only a delivered one can be replayed"
                )
            if not state[1]:
                raise NothingThereError(f"the event at position {position} has expired, only its id is kept")
            db.execute(
                "INSERT OR IGNORE INTO replays (position, requested_at) VALUES (?, ?)",
                (position, self._clock()),
            )

    def claim_replays(self, stream: str, *, after: int = 0, limit: int = 100) -> list[tuple[int, Claimed]]:
        """Return the oldest requested replays, each with its number; the bodies are those first sent."""
        with self._file.read() as db:
            rows = db.execute(
                "SELECT r.number, e.position, e.id, e.source, e.type, e.time, e.routing_key, b.body "
                "FROM replays r JOIN events e USING (position) JOIN bodies b USING (position) "
                "WHERE e.stream = ? AND r.number > ? ORDER BY r.number LIMIT ?",
                (stream, after, limit),
            ).fetchall()
        return [
            (n, Claimed(position=p, id=i, source=s, type=y, time=t, routing_key=k, body=b))
            for n, p, i, s, y, t, k, b in rows
        ]

    def finish_replays(self, stream: str, numbers: Sequence[int]) -> None:
        """Forget replays that the broker confirmed or refused."""
        with self._file.write(durable=False) as db:
            db.executemany("DELETE FROM replays WHERE number = ?", [(number,) for number in numbers])
            _ensure_delivery(db, stream)
            db.execute("UPDATE deliveries SET replayed = replayed + ? WHERE stream = ?", (len(numbers), stream))

    # -- delivery state

    def bound_broker(self, stream: str) -> str | None:
        """Return the broker that a stream was last delivered to, without password; None before the first delivery."""
        with self._file.read() as db:
            row = db.execute("SELECT broker FROM deliveries WHERE stream = ?", (stream,)).fetchone()
        return row[0] if row else None

    def bind_broker(self, stream: str, broker: str) -> None:
        """Record the broker of a stream."""
        with self._file.write() as db:
            _ensure_delivery(db, stream)
            db.execute("UPDATE deliveries SET broker = ? WHERE stream = ?", (broker, stream))

    def unbind(self, stream: str) -> None:
        """Forget the broker of a stream; the next one that confirms an event is recorded."""
        with self._file.write() as db:
            db.execute(
                "UPDATE deliveries SET broker = NULL, failures = 0, next_attempt_at = NULL WHERE stream = ?", (stream,)
            )

    def note_contact(self, stream: str) -> None:
        """Record that the broker of a stream answers again after a failure."""
        with self._file.read() as db:
            row = db.execute("SELECT 1 FROM deliveries WHERE stream = ? AND failures > 0", (stream,)).fetchone()
        if row is None:
            return
        with self._file.write(durable=False) as db:
            db.execute("UPDATE deliveries SET failures = 0, next_attempt_at = NULL WHERE stream = ?", (stream,))

    def tried(self, stream: str) -> str | None:
        """Return the digest of the settings with which the last attempt failed."""
        with self._file.read() as db:
            return note(db, _TRIED + stream)

    def pending(self, stream: str) -> int:
        """Return how many events of a stream are pending."""
        with self._file.read() as db:
            return _pending(db, stream)[0]

    def trouble(self, stream: str) -> Trouble | None:
        """Return why the events of a stream wait; None if the last attempt succeeded, or nothing is pending."""
        with self._file.read() as db:
            row = db.execute(
                "SELECT last_error FROM deliveries WHERE stream = ? AND failures > 0", (stream,)
            ).fetchone()
            if row is None:
                return None
            waiting, since = _pending(db, stream)
        return None if since is None else Trouble(waiting=waiting, since=since, error=str(row[0]))

    def note_failure(
        self, stream: str, error: str, *, retry_in: Callable[[int], float], settings: str | None = None
    ) -> float:
        """Record a failed attempt and return the seconds until the next, `retry_in(failures so far)`.

        `settings` is a digest of the settings with which it failed.
        """
        now = self._clock()
        with self._file.write(durable=False) as db:
            _ensure_delivery(db, stream)
            (failures,) = db.execute("SELECT failures FROM deliveries WHERE stream = ?", (stream,)).fetchone()
            wait_s = retry_in(failures)
            db.execute(
                "UPDATE deliveries SET failures = failures + 1, next_attempt_at = ?, last_error = ?, "
                "last_error_at = ? WHERE stream = ?",
                (now + wait_s, error, now, stream),
            )
            if settings is not None:
                set_notes(db, {_TRIED + stream: settings})
        return wait_s

    def next_attempt_in(self, stream: str) -> float:
        """Return the seconds until the stream may be tried again; 0 if now, or if the clock was set back."""
        with self._file.read() as db:
            row = db.execute(
                "SELECT last_error_at, next_attempt_at FROM deliveries WHERE stream = ?", (stream,)
            ).fetchone()
        if row is None or row[1] is None:
            return 0.0
        failed_at, next_attempt_at = row
        now = self._clock()
        return float(next_attempt_at - now) if failed_at <= now < next_attempt_at else 0.0

    # -- problems

    def set_problem(self, name: str, sentence: str, *, place: str = "") -> None:
        """Record a problem for `status`; cheap if it is already recorded, and its time is kept.

        `name` is a stable word; `place`, which is not shown, distinguishes the same problem at several places.
        """
        key, message = _problem_key(name, place), sentence[:PROBLEM_MAX_CHARACTERS]
        known = self._problem(key)
        if known is not None and known["message"] == message:
            return
        problem = {"message": message, "since": self._clock() if known is None else known["since"]}
        with self._file.write() as db:
            set_notes(db, {key: json.dumps(problem)})

    def clear_problem(self, name: str, *, place: str = "") -> None:
        """Remove a problem; cheap if there is none."""
        key = _problem_key(name, place)
        if self._problem(key) is not None:
            with self._file.write() as db:
                remove_notes(db, [key])

    def _problem(self, key: str) -> dict[str, Any] | None:
        with self._file.read() as db:
            kept = note(db, key)
        return json.loads(kept) if kept else None

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


def _next_number(db: sqlite3.Connection, source: str, epoch: str, type_: str) -> int:
    (number,) = db.execute(
        "INSERT INTO numbers (source, epoch, type, last) VALUES (?, ?, ?, 1) "
        "ON CONFLICT (source, epoch, type) DO UPDATE SET last = last + 1 RETURNING last",
        (source, epoch, type_),
    ).fetchone()
    return int(number)


def _pending(db: sqlite3.Connection, stream: str) -> tuple[int, float | None]:
    """Return the number of pending events of a stream, and when the oldest was stored."""
    count, since = db.execute(
        "SELECT count(*), min(stored_at) FROM events WHERE state = 'pending' AND stream = ?", (stream,)
    ).fetchone()
    return count, since


def _problem_key(name: str, place: str) -> str:
    return f"{PROBLEMS}{name} {place}"


def _ensure_delivery(db: sqlite3.Connection, stream: str) -> None:
    db.execute("INSERT OR IGNORE INTO deliveries (stream) VALUES (?)", (stream,))
