# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Reading the embedded log by position, without a queue."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from sourcepulse.brokers.file.envelopes import WITHDRAWN, Envelope, attributes_of, bytes_of, hash_of, read_envelope
from sourcepulse.brokers.file.tables import LogFile, log_end, text_of
from sourcepulse.brokers.file.upkeep import obey_unread
from sourcepulse.errors import BrokerUnavailableError

#: How many messages one query reads; a narrow limit of bytes must not read many for nothing.
CHUNK_ROWS = 500
#: How many of the last events are looked at for the newest one of a type; only their types are read.
NEWEST_WITHIN_ROWS = 20_000

_ROWS = """
SELECT m.position, m.at, m.routing_key, m.content_type, m.body, e.source, e.id, e.type, e.subject, e.withdrawn
FROM messages m LEFT JOIN envelopes e USING (position)
WHERE m.position > ? AND m.exchange = ? ORDER BY m.position LIMIT ?
"""


class Row(NamedTuple):
    """One event of the log; `at` is when it was appended, in seconds since 1970.

    A withdrawn one is a stand-in, `system.event.withheld.v1`, with the id, the key and the numbers of the event.
    `source` is empty for a message that is not an event.
    """

    position: int
    at: float
    routing_key: str
    type: str
    source: str
    subject: str | None
    id: str
    content_type: str
    body: bytes
    withdrawn: bool


class Withdrawal(NamedTuple):
    """An event that must not be shown any more, because of the message at `caused_by`."""

    caused_by: int
    position: int
    source: str
    id: str


class Bounds(NamedTuple):
    """What the log has: `oldest` is the position of the oldest kept message, `end` of the last one ever appended.

    Without any message `oldest` is `end` + 1.
    """

    oldest: int
    end: int


class Times:
    """The latest time of all messages up to some positions: the clock of a machine may go back."""

    def __init__(self) -> None:
        self._highs: list[tuple[int, float]] = []
        self._last_rows = CHUNK_ROWS

    def position_at(self, db: Connection, seconds: float, trimmed: int) -> int:
        """Return the position before the first message of this time or a later one."""
        self._extend(db, trimmed)
        index = bisect_left(self._highs, seconds, key=_high)
        before = max(self._highs[index - 1][0] if index else 0, trimmed)
        if index == len(self._highs):
            return before
        (first,) = db.execute(
            "SELECT min(position) FROM messages WHERE position > ? AND position <= ? AND at >= ?",
            (before, self._highs[index][0], seconds),
        ).fetchone()
        return before if first is None else int(first) - 1

    def _extend(self, db: Connection, trimmed: int) -> None:
        while True:
            if self._last_rows < CHUNK_ROWS:
                self._highs.pop()
                self._last_rows = CHUNK_ROWS
            after, high = self._highs[-1] if self._highs else (trimmed, 0.0)
            last, latest, rows = db.execute(
                "SELECT max(position), max(at), count(*) FROM "
                "(SELECT position, at FROM messages WHERE position > ? ORDER BY position LIMIT ?)",
                (after, CHUNK_ROWS),
            ).fetchone()
            if not rows:
                return
            self._highs.append((last, max(high, latest)))
            self._last_rows = rows
            if rows < CHUNK_ROWS:
                return


def _high(each: tuple[int, float]) -> float:
    return each[1]


class LogReader:
    """Reads the messages of one exchange, in one thread.

    The log may be created later: until then there is nothing to read. BrokerUnavailableError from every method if the
    file was removed or replaced, or is locked for too long; `close` it then, and the next call opens the new file.

        reader = LogReader(Path("/var/lib/sourcepulse/log.db"), "sourcepulse")
        end = reader.bounds().end
        while rows := reader.read(position):
            position = rows[-1].position
        position = max(position, end)  # what came again, or of another exchange, is no row
    """

    def __init__(self, path: Path, exchange: str, *, obeys: bool = True) -> None:
        """What programs of format 1 withdrew is withdrawn before each call reads, unless `obeys` is False."""
        self._path = path
        self._exchange = exchange
        self._obeys = obeys
        self._log: LogFile | None = None
        self._token = ""
        #: Up to here it is recorded beside the file that this was read.
        self._marked = 0
        self._times = Times()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def token(self) -> str:
        """The name of this log, hexadecimal, to which its positions belong.

        BrokerUnavailableError if there is no log yet.
        """
        with self._reading() as db:
            if db is None:
                raise BrokerUnavailableError(f"there is no log {self._path} yet; its first event creates it")
            return self._token

    def bounds(self) -> Bounds:
        """Return what the log has now, of all exchanges."""
        with self._reading() as db:
            if db is None:
                return Bounds(1, 0)
            end = log_end(db)
            (oldest,) = db.execute(
                "SELECT min(position) FROM messages WHERE position > (SELECT trimmed_until FROM log)"
            ).fetchone()
            self._mark(end)
            return Bounds(end + 1 if oldest is None else oldest, end)

    def exchanges(self) -> tuple[str, ...]:
        """Return the exchanges whose events the log has, by name."""
        with self._reading() as db:
            if db is None:
                return ()
            known = db.execute(
                "SELECT exchange FROM exchanges WHERE last > (SELECT trimmed_until FROM log) UNION "
                "SELECT DISTINCT exchange FROM unread JOIN messages ON position BETWEEN first AND last"
            )
            return tuple(sorted(text_of(exchange) for (exchange,) in known))

    def data_version(self) -> int:
        """Return a number that differs from the last one if something was committed; costs a few microseconds."""
        if self._log is None and not self._path.exists():
            return 0
        return self._opened().data_version()

    def read(self, after: int, *, limit: int = 500, max_bytes: int = 1 << 20) -> list[Row]:
        """Return the next messages behind a position, at least one if there is one, oldest first.

        A second copy of an event is left out, unless it was replayed on purpose or the first copy is gone.
        """
        rows = self._read(after, limit, max_bytes)
        if rows:
            self._mark(rows[-1].position)
        return rows

    def _read(self, after: int, limit: int, max_bytes: int) -> list[Row]:
        rows: list[Row] = []
        size = 0
        with self._reading() as db:
            if db is None:
                return rows
            (trimmed,) = db.execute("SELECT trimmed_until FROM log").fetchone()
            while True:
                found = 0
                for columns in db.execute(_ROWS, (max(after, trimmed), self._exchange, min(limit, CHUNK_ROWS))):
                    row = _row(*columns)
                    found += 1
                    after = row.position
                    if self._is_repeat(db, row, trimmed):
                        continue
                    size += len(row.body)
                    if rows and size > max_bytes:
                        return rows
                    rows.append(row)
                    if len(rows) >= limit:
                        return rows
                if not found:
                    return rows

    def newest(self, wanted: Callable[[str], bool], *, within: int = NEWEST_WITHIN_ROWS) -> Row | None:
        """Return the newest event of a wanted type among the last ones, no withdrawn one; None if there is none."""
        with self._reading() as db:
            if db is None:
                return None
            until = log_end(db) + 1
            while True:
                # One pass in SQLite takes 10 ms; only for a log of several exchanges there may be another.
                newest = db.execute(
                    "SELECT type, max(position) FROM envelopes WHERE withdrawn = 0 AND position < ? AND "
                    "position > max((SELECT trimmed_until FROM log), ?) GROUP BY type",
                    (until, log_end(db) - within),
                )
                until = max((position for type_, position in newest if wanted(text_of(type_))), default=0)
                if not until:
                    return None
                columns = db.execute(_ROWS, (until - 1, self._exchange, 1)).fetchone()
                if columns is not None and columns[0] == until:
                    return _row(*columns)

    def position_at(self, seconds: float) -> int:
        """Return the position behind which there is all that was appended at or after a time, in seconds since 1970.

        Where the clock went back, also some of what was appended before. The first call looks at the whole log.
        """
        with self._reading() as db:
            if db is None:
                return 0
            (trimmed,) = db.execute("SELECT trimmed_until FROM log").fetchone()
            return self._times.position_at(db, seconds, trimmed)

    def withdrawals(self, after: int, until: int, *, limit: int = 500) -> list[Withdrawal]:
        """Return what was withdrawn by the messages in (after, until], by the position of these.

        Of one message's, all are returned, also beyond the limit.
        """
        with self._reading() as db:
            if db is None:
                return []
            rows = db.execute(
                "SELECT caused_by, position, source, id FROM withdrawals WHERE caused_by > ?1 AND caused_by <= ?2 "
                "AND caused_by <= coalesce((SELECT caused_by FROM withdrawals WHERE caused_by > ?1 "
                "ORDER BY caused_by, position LIMIT 1 OFFSET ?3), ?2) ORDER BY caused_by, position",
                (after, until, limit - 1),
            )
            return [Withdrawal(*row) for row in rows]

    def withdrawn(self) -> int:
        """Return how many events were ever withdrawn."""
        with self._reading() as db:
            return 0 if db is None else int(db.execute("SELECT withdrawals FROM log").fetchone()[0])

    def close(self) -> None:
        """Close the log; the next call opens it again."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _mark(self, end: int) -> None:
        if end > self._marked and self._log is not None:
            self._log.mark(end)
            self._marked = end

    def _is_repeat(self, db: Connection, row: Row, trimmed: int) -> bool:
        """Return whether the event is at a lower position as well, and was not asked for again."""
        if not row.source:
            return False
        first = db.execute(
            "SELECT 1 FROM envelopes JOIN messages USING (position) WHERE ident = ? AND position < ? AND position > ? "
            "AND source = ? AND id = ? AND exchange = ? LIMIT 1",
            (hash_of(row.source, row.id), row.position, trimmed, row.source, row.id, self._exchange),
        ).fetchone()
        return first is not None and attributes_of(row.body).get("replayed") is not True

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """Yield the connection in a transaction, so that all that is read is of one instant; None without a log."""
        if self._log is None and not self._path.exists():
            yield None
            return
        log = self._opened()
        if self._obeys:
            obey_unread(log)
        with log.read() as db:
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    def _opened(self) -> LogFile:
        if self._log is None:
            log = LogFile(self._path, create=False)
            with log.read() as db:
                (self._token,) = db.execute("SELECT token FROM log").fetchone()
            self._log = log
            self._marked = 0
            self._times = Times()
        else:
            self._log.check_in_place()
        return self._log


def _row(
    position: int, at: float, key: object, content_type: object, body: object, source: str | None, *others: object
) -> Row:
    raw = bytes_of(body)
    if source is None:
        envelope, withdrawn = read_envelope(raw), False
    else:
        id_, type_, subject, flag = others
        envelope = Envelope(source, text_of(id_), text_of(type_), None if subject is None else text_of(subject))
        withdrawn = flag == WITHDRAWN
    return Row(
        position, at, text_of(key), envelope.type, envelope.source, envelope.subject, envelope.id,
        text_of(content_type), raw, withdrawn,
    )  # fmt: skip
