# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A log or hook store that is locked, full, moved away or replaced: the sender waits, names it, and goes on."""

from __future__ import annotations

import logging
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sourcepulse.brokers.file.tables import LOG_FILE
from sourcepulse.outbox.sqlite_file import FileKind, SqliteFile
from sourcepulse_web.webhooks.store.tables import HOOK_STORE
from support.webhooks.receiver import Reply
from support.webhooks.rig import Rig, Running

#: More than any file here has now, and less than all of them need to grow.
ROOM_BYTES = 4_096


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as made:
        yield made


@contextmanager
def locked(path: Path, kind: FileKind) -> Iterator[None]:
    """Hold the lock of the file's writers."""
    with closing(SqliteFile(path, kind, lock_wait_s=10.0, create=False)) as file, file.write():
        yield


def wait_for_problem(rig: Rig, running: Running) -> str:
    rig.wait_until(lambda: running.sender.problem)
    return running.sender.problem


@pytest.mark.parametrize("name", ["log.db", "webhooks.db"])
def test_while_a_file_is_locked_events_wait_and_none_is_sent_twice_or_lost(rig: Rig, name: str) -> None:
    room = rig.hook("room")
    running = rig.start()
    sent = rig.publish(count=10)
    rig.wait_until(lambda: len(room.got) == 10)
    # What is delivered meanwhile cannot be recorded.
    room.answers = lambda *_: Reply(delay_s=0.3)
    sent += rig.publish(count=3)
    with locked(rig.folder / name, LOG_FILE if name == "log.db" else HOOK_STORE):
        assert "lock" in wait_for_problem(rig, running)
    room.answers = lambda *_: None
    rig.wait_until(lambda: room.got == sent)
    rig.wait_idle()
    assert len(room.receiver.requests) == len(sent)
    assert running.sender.problem == ""


def test_a_log_that_is_away_for_a_while_is_read_on_and_a_new_one_from_its_beginning(rig: Rig) -> None:
    room = rig.hook("room")
    running = rig.start()
    sent = rig.publish(count=5)
    rig.wait_until(lambda: room.got == sent)
    files = ["log.db", "log.db-wal", "log.db-shm"]
    away = rig.folder / "away"
    away.mkdir()
    for each in files:
        (rig.folder / each).rename(away / each)
    assert "log.db" in wait_for_problem(rig, running)
    for each in files:
        (away / each).rename(rig.folder / each)
    sent += rig.publish(count=5)
    rig.wait_until(lambda: room.got == sent)
    for each in files:
        (rig.folder / each).rename(away / each)
    # The positions of the new log are those of other events.
    sent += rig.publish(count=7)
    rig.wait_until(lambda: room.got == sent)
    rig.wait_until(lambda: running.sender.problem == "" and rig.standing("room").delivered == len(sent))
    assert len(room.receiver.requests) == len(sent)
    assert rig.standing("room").interrupted_at is not None


def test_a_sender_that_sees_a_hook_before_its_queue_reports_nothing_as_missing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    room = rig.hook("room")
    # As it is between the two steps of `webhook add`.
    rig.queues.remove("room")
    rig.start()
    sent = rig.publish(count=3)
    rig.wait_until(lambda: room.got == sent)
    assert rig.standing("room").interrupted_at is None
    assert "no queue" not in caplog.text


def test_an_answer_that_comes_after_the_log_was_replaced_settles_no_event_of_the_new_one(rig: Rig) -> None:
    room = rig.hook("room")
    room.answers = lambda *_: Reply(delay_s=2.0)
    running = rig.start()
    sent = rig.publish(count=1)
    rig.wait_until(lambda: len(room.receiver.requests) == 1)
    for each in ("log.db", "log.db-wal", "log.db-shm"):
        (rig.folder / each).unlink()
    # The first of these has the position of the one that is POSTed now.
    sent += rig.publish(count=3)
    room.answers = lambda *_: None
    rig.wait_until(lambda: room.got == sent)
    rig.wait_until(lambda: running.sender.problem == "" and rig.standing("room").delivered == len(sent))


def test_refusals_of_an_event_of_a_former_log_do_not_count_for_another_one(rig: Rig) -> None:
    room = rig.hook("room")
    room.answers = lambda *_: Reply(status=422)
    running = rig.start()
    rig.publish(count=1)
    rig.wait_until(lambda: len(room.receiver.requests) >= 3)
    running.stop()
    for each in ("log.db", "log.db-wal", "log.db-shm"):
        (rig.folder / each).unlink()
    rig.publish(count=1)
    began = time.time()
    rig.start()
    # It has the position of the one that was refused, and is refused as often before it is set aside.
    rig.wait_until(lambda: sum(each.at > began for each in rig.attempts("room")) >= 5)


def test_without_hooks_or_a_log_there_is_no_problem(rig: Rig) -> None:
    running = rig.start()
    rig.wait_until(lambda: rig.store.sender_seen_at() is not None)
    first = rig.store.sender_seen_at()
    rig.wait_until(lambda: rig.store.sender_seen_at() != first)
    assert running.sender.problem == ""
    assert not (rig.folder / "log.db").exists()


def test_a_hook_store_that_is_replaced_ends_the_run_and_the_next_one_uses_the_new_file(rig: Rig) -> None:
    room = rig.hook("room")
    running = rig.start()
    sent = rig.publish(count=2)
    rig.wait_until(lambda: rig.standing("room").delivered == 2)
    # As from a backup.
    with sqlite3.connect(rig.folder / "webhooks.db") as db, sqlite3.connect(rig.folder / "copy.db") as copy:
        db.backup(copy)
    (rig.folder / "copy.db").chmod(0o600)
    for each in ("webhooks.db", "webhooks.db-wal", "webhooks.db-shm"):
        (rig.folder / each).unlink()
    (rig.folder / "copy.db").rename(rig.folder / "webhooks.db")
    running.wait_for_end()
    assert "replaced" in running.sender.problem
    sent += rig.publish(count=2)
    rig.start()
    rig.wait_until(lambda: room.got == sent)


def test_on_a_full_disk_nothing_is_lost_and_it_goes_on_when_there_is_room(rig: Rig) -> None:
    room = rig.hook("room")
    pid = rig.launch()
    sent = rig.publish(count=5)
    rig.wait_until(lambda: rig.figures("room").waiting == 0 and room.got == sent)
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, unlimited[1]))
    sent += rig.publish(count=50)
    rig.wait_until(lambda: "webhooks wait, and none is lost" in rig.child_log())
    arrived = len(room.got)
    assert arrived < len(sent)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)
    rig.wait_until(lambda: room.first_copies == sent)
    rig.wait_idle()
    assert rig.child_log().count("Traceback") == 0
    assert rig.standing("room").delivered >= len(sent)


def test_a_message_that_is_no_event_is_passed_over_and_a_second_sender_changes_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    room = rig.hook("room")
    rig.publish_raw("hg.push.chat", b"\xff not an event")
    rig.publish_raw("hg.push.chat", b'{"specversion": "1.0"}')
    with caplog.at_level(logging.WARNING):
        rig.start()
        sent = rig.publish(count=3)
        rig.wait_until(lambda: room.got == sent)
        rig.wait_idle()
    assert "not sent to the webhook room" in caplog.text
    pid = rig.launch()
    assert pid
    sent += rig.publish(count=3)
    rig.wait_until(lambda: room.got == sent)
    time.sleep(0.5)
    assert room.got == sent
