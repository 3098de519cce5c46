# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What a program of format 1 withdrew in the embedded log is not shown by any reader, and every reader hears of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.brokers.file.tables import LOG_FILE
from sourcepulse.events.event import Event
from sourcepulse.events.wire import CONTENT_TYPE, encode
from sourcepulse.outbox.sqlite_file import SqliteFile
from support.events.bugzilla_events import Site
from support.web.gateway import EXCHANGE, publish
from support.web.rows import push

SECRET = "the-quick-brown-secret"
#: Bytes before the frames of a write-ahead log, and before the page of each.
WAL_HEAD, FRAME_HEAD = 32, 24


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of format 1."""
    path = tmp_path / "log.db"
    former = LOG_FILE._replace(migrations=LOG_FILE.migrations[:1])
    SqliteFile(path, former, lock_wait_s=5, create=True).close()
    return path


@pytest.fixture
def reader(log: Path) -> Iterator[LogReader]:
    with closing(LogReader(log, EXCHANGE)) as reader:
        yield reader


def append_as_format_1(log: Path, *events: Event) -> None:
    with closing(sqlite3.connect(log)) as db, db:
        db.executemany(
            "INSERT INTO messages (at, exchange, routing_key, content_type, body) VALUES (?, ?, ?, ?, ?)",
            [(time.time(), EXCHANGE, event.routing_key, CONTENT_TYPE, encode(event)) for event in events],
        )


def test_a_reader_alone_never_reads_what_a_log_of_format_1_withdrew(log: Path, reader: LogReader) -> None:
    site = Site()
    append_as_format_1(log, site.changed(1, SECRET), *[push(n) for n in range(1_200)], site.bug_hidden(1), push(9_999))
    rows = reader.read(0, limit=10)
    assert rows[0].withdrawn
    assert not any(SECRET.encode() in row.body for row in rows)
    assert not any(SECRET.encode() in path.read_bytes() for path in log.parent.iterdir())
    (found,) = reader.withdrawals(0, reader.bounds().end)
    assert (found.position, found.caused_by) == (1, 1_204), "a position of its own, behind all that was read before"
    assert reader.read(1_203) == []


def test_who_read_to_the_end_hears_what_was_withdrawn_there(log: Path, reader: LogReader) -> None:
    site = Site()
    append_as_format_1(log, site.changed(1, SECRET), push(1))
    assert SECRET.encode() in reader.read(0)[0].body
    end = reader.bounds().end
    append_as_format_1(log, site.bug_hidden(1))
    assert [row.withdrawn for row in reader.read(0)] == [True, False, False]
    assert [each.position for each in reader.withdrawals(end, reader.bounds().end)] == [1]
    publish(log, [push(2)])
    assert [row.type for row in reader.read(end)] == ["bugzilla.bug.hidden.v1", "hg.push.v1"]


def test_the_first_withdrawal_reads_a_large_log_of_format_1_in_many_commits(log: Path, reader: LogReader) -> None:
    site = Site()
    append_as_format_1(log, *[push(n) for n in range(2_400)], site.changed(1, SECRET))
    with closing(sqlite3.connect(log, isolation_level=None)) as db:
        # Somebody reads, so that the journal is not emptied.
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM messages").fetchone()
        before = commits(log)
        publish(log, [site.bug_hidden(1)])
        assert commits(log) - before > 2_400 // 500
    assert [row.withdrawn for row in reader.read(2_400)] == [True, False]


def commits(log: Path) -> int:
    """How many commits the write-ahead log has: their last frames hold the size of the file."""
    raw = log.with_name(f"{log.name}-wal").read_bytes()
    page_bytes = int.from_bytes(raw[8:12], "big")
    return sum(any(raw[at + 4 : at + 8]) for at in range(WAL_HEAD, len(raw), page_bytes + FRAME_HEAD))
