# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Administration of the embedded log: statistics, dead letters, removal of queues."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import TYPE_CHECKING, cast

from sourcepulse.brokers.dead_letters import DeadLetter
from sourcepulse.brokers.file.dead_consumers import is_alive
from sourcepulse.brokers.file.envelopes import bytes_of, read_envelope, store_envelopes
from sourcepulse.brokers.file.log import ROW_BYTES, remember_gone, remove_queue
from sourcepulse.brokers.file.queue import DEAD_LETTERS_MAX, note_use
from sourcepulse.brokers.file.routes import Reach
from sourcepulse.brokers.file.tables import LogFile, text_of
from sourcepulse.errors import BrokerError, NothingThereError

if TYPE_CHECKING:
    from sourcepulse.brokers.url import BrokerUrl

#: The highest number that SQLite can count dead letters with.
LETTER_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatistics:
    """One queue of the log; times are seconds since 1970.

    `pending` messages were not delivered yet or wait for redelivery, `leased` ones are held by a consumer,
    `lost` ones were dropped by a limit since the queue was created, `withdrawn` ones became stand-ins in the queue or
    among its dead letters, because Bugzilla hid what they are about; `dead` ones are dead letters.
    """

    name: str
    durable: bool
    shared: bool
    patterns: tuple[str, ...]
    consumers: int
    pending: int
    leased: int
    lost: int
    withdrawn: int
    dead: int
    last_used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatistics:
    """The log as a whole; `oldest_at` is None when it is empty."""

    messages: int
    bytes: int
    oldest_at: float | None
    queues: tuple[QueueStatistics, ...]


def log_statistics(url: BrokerUrl) -> LogStatistics:
    """Return counts of the log and each of its queues; NothingThereError if there is no log."""
    path = Path(url.path)
    with _existing(path) as log, log.read() as db:
        # A read transaction, so that all counts are of one state of the log.
        db.execute("BEGIN")
        messages, oldest_at = db.execute("SELECT count(*), min(at) FROM messages").fetchone()
        queues = db.execute("SELECT queue FROM queues ORDER BY name").fetchall()
        return LogStatistics(
            messages=messages,
            bytes=db.execute("SELECT bytes FROM log").fetchone()[0],
            oldest_at=oldest_at,
            queues=tuple(queue_statistics_of(db, path, queue) for (queue,) in queues),
        )


def queue_statistics(url: BrokerUrl) -> tuple[QueueStatistics, ...]:
    """Return the queues of the log, by name; NothingThereError if there is no log."""
    return log_statistics(url).queues


def dead_letters(
    url: BrokerUrl, queue: str, *, after: int = 0, until: int = LETTER_MAX, limit: int = DEAD_LETTERS_MAX
) -> tuple[DeadLetter, ...]:
    """Return the dead letters of a queue whose handles are above `after` and at most `until`, oldest first."""
    with _existing(Path(url.path)) as log, log.read() as db:
        return tuple(
            DeadLetter(
                handle=letter,
                routing_key=text_of(key),
                reason=text_of(reason),
                content_type=text_of(content_type),
                body=body if isinstance(body, bytes) else text_of(body).encode(),
            )
            for letter, key, reason, content_type, body in db.execute(
                "SELECT letter, routing_key, reason, content_type, body FROM dead_letters "
                "WHERE queue = ? AND letter > ? AND letter <= ? ORDER BY letter LIMIT ?",
                (queue, after, until, limit),
            )
        )


@contextmanager
def open_local_dead_letters(url: BrokerUrl, queue: str) -> Iterator[LocalDeadLetters]:
    """Open the log for the dead letters of a queue; NothingThereError if there is no log."""
    with _existing(Path(url.path)):
        yield LocalDeadLetters(url, queue)


class LocalDeadLetters:
    """The dead letters of a queue of the log, see `DeadLetters`."""

    def __init__(self, url: BrokerUrl, queue: str) -> None:
        self._url = url
        self._queue = queue
        self._after = 0
        self._until = _last_letter(url)

    def read(self, limit: int) -> list[DeadLetter]:
        """Return the next of the dead letters that were there at first, oldest first."""
        found = dead_letters(self._url, self._queue, after=self._after, until=self._until, limit=limit)
        for letter in found[-1:]:
            self._after = cast(int, letter.handle)
        return list(found)

    def requeue(self, letters: Sequence[DeadLetter]) -> None:
        """Put dead letters at the head of their queue, with their delivery counts reset, in one transaction."""
        bring_back_dead_letters(self._url, self._queue, letters)

    def drop(self, letters: Sequence[DeadLetter]) -> None:
        with _existing(Path(self._url.path)) as log, log.write() as db:
            remove_dead_letters(db, [cast(int, letter.handle) for letter in letters])


def bring_back_dead_letters(url: BrokerUrl, queue: str, letters: Sequence[DeadLetter]) -> None:
    """Put dead letters at the head of their queue, with their delivery counts reset.

    NothingThereError if the queue is gone.
    """
    with _existing(Path(url.path)) as log, log.write() as db:
        row = db.execute("SELECT queue FROM queues WHERE name = ?", (queue,)).fetchone()
        if row is None:
            raise NothingThereError(f"there is no queue {queue!r}; its consumer creates it when it subscribes")
        restore_dead_letters(db, row[0], [cast(int, letter.handle) for letter in letters], time.time())


def restore_dead_letters(db: Connection, queue: int, letters: Sequence[int], now: float) -> None:
    """Put dead letters at the head of a queue, in a transaction of the caller; those that are not there are skipped."""
    for letter in letters:
        # A restored message is behind every cursor, so only the queue that holds its lease receives it.
        restored = db.execute(
            "INSERT OR IGNORE INTO messages SELECT position, ?, exchange, routing_key, content_type, body "
            "FROM dead_letters WHERE letter = ? RETURNING position, body",
            (now, letter),
        ).fetchall()
        store_envelopes(db, [(place, read_envelope(raw := bytes_of(body)), raw) for place, body in restored])
        db.execute("UPDATE log SET bytes = bytes + ?", (sum(len(body) + ROW_BYTES for _, body in restored),))
        db.execute(
            "INSERT OR IGNORE INTO leases SELECT ?, position, NULL, 0 FROM dead_letters WHERE letter = ?",
            (queue, letter),
        )
    remove_dead_letters(db, letters)
    note_use(db, queue, now)


def remove_dead_letters(db: Connection, letters: Sequence[int]) -> None:
    """Remove dead letters for good."""
    db.executemany("DELETE FROM dead_letters WHERE letter = ?", [(letter,) for letter in letters])


def delete_queue(url: BrokerUrl, queue: str) -> None:
    """Remove a queue and its dead letters; its next consumer is notified that events were lost.

    NothingThereError if there is no such queue, BrokerError if a consumer uses it.
    """
    path = Path(url.path)
    with _existing(path) as log, log.write() as db:
        row = db.execute("SELECT queue, durable FROM queues WHERE name = ?", (queue,)).fetchone()
        if row is None:
            raise NothingThereError(f"the log {path} has no queue {queue!r}")
        if _live_consumers(db, path, row[0]):
            raise BrokerError(f"the queue {queue!r} is in use; end its consumers first")
        remove_with_letters(db, row[0], queue)
        if row[1]:
            remember_gone(db, queue, time.time())


def remove_with_letters(db: Connection, queue: int, name: str) -> None:
    """Remove a queue, also one in use, and its dead letters in a transaction of the caller."""
    remove_queue(db, queue)
    db.execute("DELETE FROM dead_letters WHERE queue = ?", (name,))


def queue_statistics_of(db: Connection, path: Path, queue: int) -> QueueStatistics:
    """Return one queue in a transaction of the caller."""
    name, durable, shared, cursor, counted_from, waiting, lost, withdrawn, used_at = db.execute(
        "SELECT name, durable, shared, cursor, counted_from, published - taken, lost, withdrawn, used_at "
        "FROM queues WHERE queue = ?",
        (queue,),
    ).fetchone()
    reach = Reach.load(db, queue)
    early = db.execute(
        "SELECT position, exchange, routing_key FROM messages WHERE position > ? AND position <= ?",
        (cursor, counted_from),
    )
    waiting += sum(reach.has(position, exchange, key) for position, exchange, key in early)
    again, leased = db.execute(
        "SELECT count(*) - count(consumer), count(consumer) FROM leases WHERE queue = ?", (queue,)
    ).fetchone()
    return QueueStatistics(
        name=name,
        durable=bool(durable),
        shared=bool(shared),
        patterns=tuple(
            row[0]
            for row in db.execute(
                "SELECT DISTINCT pattern FROM bindings WHERE queue = ? AND until IS NULL ORDER BY pattern", (queue,)
            )
        ),
        consumers=_live_consumers(db, path, queue),
        pending=waiting + again,
        leased=leased,
        lost=lost,
        withdrawn=withdrawn,
        dead=db.execute("SELECT count(*) FROM dead_letters WHERE queue = ?", (name,)).fetchone()[0],
        last_used=used_at,
    )


def _live_consumers(db: Connection, path: Path, queue: int) -> int:
    tokens = db.execute("SELECT token FROM consumers WHERE queue = ?", (queue,)).fetchall()
    return sum(is_alive(path, token) for (token,) in tokens)


def _last_letter(url: BrokerUrl) -> int:
    with _existing(Path(url.path)) as log, log.read() as db:
        # A later dead letter has a higher number, even if this one is deleted.
        last: int = db.execute("SELECT coalesce(max(letter), 0) FROM dead_letters").fetchone()[0]
        return last


@contextmanager
def _existing(path: Path) -> Iterator[LogFile]:
    if not path.exists():
        raise NothingThereError(f"there is no log at {path}")
    log = LogFile(path)
    try:
        yield log
    finally:
        log.close()
