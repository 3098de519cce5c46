# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What an earlier version left is read, continued and sent by this one; `record.py` writes the files."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.errors import OutboxForeignError
from sourcepulse.events.event import Event, Numbers
from sourcepulse.events.wire import decode, encode
from sourcepulse.operations.copies.backup import backup
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse.outbox.repair import problems
from sourcepulse.outbox.sqlite_file import FileKind, SqliteFile
from sourcepulse.outbox.tables import OUTBOX_FILE
from sourcepulse.testing import system_event
from support.in_process import run_command
from upgrade.record import FOLDER, RECORDED, SOURCE

#: An event that the earlier version has not stored.
NEXT = Event.of(
    "hg.push.v1", source=SOURCE, key=["next"], subject="repo", time=1_795_345_200.0, data={}, words=["repo"]
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The files of the earlier version, as if they had always been here."""
    for name in ("outbox", "log", "state"):
        path = tmp_path / f"{name}.db"
        with closing(sqlite3.connect(path)) as db:
            db.executescript((RECORDED / f"{name}.sql").read_text(encoding="utf-8").replace(FOLDER, str(tmp_path)))
            if name == "outbox":
                # The dump has another inode, which would be a restored backup.
                with db:
                    db.execute("UPDATE meta SET value = ? WHERE name = 'inode'", (str(path.stat().st_ino),))
            db.execute("PRAGMA journal_mode = WAL")
    return tmp_path


def relay(folder: Path) -> None:
    ran = run_command("relay", "--once", "--outbox", f"{folder}/outbox.db", "--broker", f"file://{folder}/log.db")
    assert ran.returncode == 0, ran.stderr


def wire() -> list[tuple[str, str]]:
    """The messages of the earlier version: routing key and body."""
    return [json.loads(line) for line in (RECORDED / "wire.jsonl").read_text(encoding="utf-8").splitlines()]


def test_old_messages_are_read_and_written_again_byte_for_byte() -> None:
    lines = wire()
    assert len(lines) > 5
    for key, body in lines:
        assert encode(decode(body.encode(), routing_key=key)) == body.encode()


def test_an_old_outbox_is_sent_and_goes_on_counting_where_it_was(old: Path) -> None:
    with Outbox.open(old / "outbox.db", create=False) as outbox:
        before = rows(outbox, Selection())
        epoch = figures(outbox)["epoch"]
        assert {row["state"] for row in before} == {"delivered", "pending"}
        outbox.append([NEXT])
        newest = rows(outbox, Selection())[-1]
        assert (newest["epoch"], newest["sequence"]) == (epoch, before[-1]["sequence"] + 1)
        assert problems(outbox) == []
    relay(old)
    with Outbox.open(old / "outbox.db") as outbox:
        assert {row["state"] for row in rows(outbox, Selection())} == {"delivered"}


def test_an_old_consumer_s_memory_and_its_queue_go_on_without_a_repeat_or_a_gap(old: Path) -> None:
    reports: list[object] = []
    with Outbox.open(old / "outbox.db") as outbox:
        outbox.append([NEXT])
        numbers = [row["sequence"] for row in rows(outbox, Selection())]
    with Consumer(
        f"file://{old}/log.db",
        topics=["hg.#"],
        queue="reader",
        durable=True,
        state=old / "state.db",
        on_gap=reports.append,
        on_reset=reports.append,
    ) as consumer:
        relay(old)
        received = []
        while len(received) < len(numbers) - 3 and (event := consumer.receive(10)) is not None:
            assert isinstance(event.numbers, Numbers)
            received.append(event.numbers.sequence)
            consumer.acknowledge()
        assert (consumer.stats.repeats, consumer.stats.bad) == (0, 0)
    # The earlier version had handled three.
    assert received == numbers[3:]
    assert reports == []


def test_an_old_log_is_read_by_position_at_once_and_its_envelopes_are_filled_by_what_is_appended(old: Path) -> None:
    with closing(LogReader(old / "log.db", "sourcepulse")) as reader:
        rows = reader.read(0)
        assert [row.body for row in rows] == [body.encode() for _, body in wire()[: len(rows)]]
        assert {row.source for row in rows} == {SOURCE}
        assert [row.id for row in rows] == [json.loads(row.body)["id"] for row in rows]
        assert reader.exchanges() == ("sourcepulse",)
        # A program of the earlier version that had the log open goes on appending.
        with closing(sqlite3.connect(old / "log.db")) as db, db:
            columns = "at, exchange, routing_key, content_type, body"
            db.execute(f"INSERT INTO messages ({columns}) SELECT {columns} FROM messages WHERE position = 1")
        relay(old)
        after = reader.read(0)
        assert after[: len(rows)] == rows
        assert len(rows) < len(after) == len({row.id for row in after}), "the second copy is known as one"
    with closing(sqlite3.connect(old / "log.db")) as db:
        assert db.execute("SELECT count(*) FROM unread").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM envelopes").fetchone() == (len(after) + 1,)


def test_an_old_first_copy_is_collected(old: Path) -> None:
    dot_hg = old / "repo" / ".hg"
    (dot_hg / "store").mkdir(parents=True)
    (dot_hg / "requires").write_text("")
    folder = dot_hg / "sourcepulse"
    folder.mkdir()
    header, *events = (RECORDED / "first-copy.jsonl").read_text(encoding="utf-8").splitlines()
    # The copy belongs to the repository with this inode.
    copy = {**json.loads(header), "inode": dot_hg.stat().st_ino}
    name = f"r-{copy['counter']:016d}-{copy['txnid'].partition(':')[2]}"
    (folder / name).write_text("\n".join([json.dumps(copy), *events]) + "\n", encoding="utf-8")
    ran = run_command("collect", str(old / "repo"), "--outbox", str(old / "outbox.db"))
    assert (ran.returncode, ran.stdout) == (0, f"{len(events)} events were stored\n")
    with Outbox.open(old / "outbox.db") as outbox:
        assert rows(outbox, Selection())[-1]["id"] == json.loads(events[-1])["id"]
        assert problems(outbox) == []


def test_an_old_outbox_is_backed_up_and_restored(old: Path) -> None:
    with Outbox.open(old / "outbox.db") as outbox:
        count = len(rows(outbox, Selection()))
        assert backup(outbox, old / "backup.db").events == count
    ran = run_command("outbox", "restore", str(old / "backup.db"), "--apply", "--outbox", str(old / "outbox.db"))
    assert ran.returncode == 0, ran.stderr
    relay(old)


#: A format that a later version might have.
LATER = OUTBOX_FILE._replace(
    migrations=(*OUTBOX_FILE.migrations, "ALTER TABLE events ADD COLUMN later TEXT;\nCREATE TABLE more (a TEXT)")
)


def later(path: Path, kind: FileKind = LATER) -> None:
    """Open a file as a later version does, which brings it to its format."""
    SqliteFile(path, kind, lock_wait_s=5, create=False).close()


def test_a_file_of_a_later_version_is_refused_with_the_advice_to_upgrade_and_left_alone(old: Path) -> None:
    path = old / "outbox.db"
    later(path)
    before = path.read_bytes()
    with pytest.raises(OutboxForeignError, match=r"has format 2, .* only knows formats up to 1: upgrade sourcepulse"):
        Outbox.open(path)
    for command in (
        ["status"],
        ["outbox", "list"],
        ["outbox", "repair", "--apply"],
        ["relay", "--once", "--broker", "file:///x"],
    ):
        ran = run_command(*command, "--outbox", str(path))
        assert (ran.returncode, "upgrade sourcepulse" in ran.stderr) == (6, True)
    assert path.read_bytes() == before


def test_a_migration_waits_for_no_reader_and_spoils_nothing_for_who_has_the_file_open(old: Path) -> None:
    path = old / "outbox.db"
    with Outbox.open(path) as attached, closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        (before,) = reader.execute("SELECT count(*) FROM events").fetchone()
        later(path)
        # The reader goes on in its instant, and a writer of this version goes on counting.
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (before,)
        attached.append([NEXT])
        attached.acknowledge("public", [attached.claim("public")[0].position])
        assert len(rows(attached, Selection())) == before + 1
        assert problems(attached) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM events WHERE later IS NULL").fetchone() == (before + 1,)


def test_a_migration_that_fails_leaves_the_file_as_it_was(old: Path) -> None:
    path = old / "outbox.db"
    broken = LATER._replace(
        migrations=(*OUTBOX_FILE.migrations, "CREATE TABLE more (a TEXT);\nCREATE TABLE more (a TEXT)")
    )
    with pytest.raises(OutboxForeignError.__mro__[1], match="already exists"):
        later(path, broken)
    with Outbox.open(path) as outbox:
        assert outbox.append([system_event(1)])[0].new
        assert problems(outbox) == []
