# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The outbox: numbers without gaps, each fact once, whatever the process or the disk does."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sourcepulse.errors import (
    NothingThereError,
    OutboxDamagedError,
    OutboxLockedError,
    OutboxReplacedError,
    OutboxWriteError,
)
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.outgoing.replays import claim_replays, finish_replays, request_replay
from sourcepulse.outbox.problems import clear_problem, set_problem
from sourcepulse.outbox.queries import Selection, figures, find, rows
from sourcepulse.outbox.repair import problems, repair
from sourcepulse.outbox.retention import DAY_SECONDS, Keep, prune
from sourcepulse.outbox.sqlite_file import WAL_KEEP_BYTES
from sourcepulse.relay.relay import is_relayed, relay_lock
from sourcepulse.testing import system_event

needs_root = pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="needs root")


def test_events_of_one_source_are_numbered_from_one_without_gaps(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(n) for n in range(3)])
        outbox.append([system_event(3, state="up"), system_event(4)])
        numbers = [(row["sequence"], row["typesequence"]) for row in rows(outbox, Selection())]
    assert numbers == [(1, 1), (2, 2), (3, 3), (4, 1), (5, 4)]


def test_the_outbox_returns_which_of_many_ids_it_has(tmp_path: Path) -> None:
    events = [system_event(n) for n in range(1_200)]
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append(events[::2])
        assert outbox.known([]) == set()
        assert outbox.known([event.id for event in events]) == {event.id for event in events[::2]}


def test_each_source_has_numbers_of_its_own_and_the_restricted_one_is_another(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append(
            [
                system_event(1, source="system://a"),
                system_event(1, source="system://a?restricted"),
                system_event(1, source="system://b"),
            ]
        )
        found = rows(outbox, Selection())
    assert [(row["stream"], row["sequence"]) for row in found] == [("public", 1), ("restricted", 1), ("public", 1)]


def test_a_repeat_is_stored_once_and_uses_no_number(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        first = outbox.append([system_event(1)])
        again = outbox.append([system_event(1), system_event(2), system_event(2)])
        sequences = [row["sequence"] for row in rows(outbox, Selection())]
    assert [stored.new for stored in first + again] == [True, False, True, False]
    assert sequences == [1, 2]


def test_the_stored_bytes_carry_the_numbers(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
        (claimed,) = outbox.claim("public")
        epoch = figures(outbox)["epoch"]
    body = json.loads(claimed.body)
    assert (body["epoch"], body["sequence"], body["typesequence"]) == (epoch, "0" * 19 + "1", "0" * 19 + "1")


def test_an_event_that_is_too_large_is_buried_with_its_reason_and_its_number(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1, message="x" * 300_000), system_event(2)])
        buried, pending = rows(outbox, Selection())
    assert buried["state"] == "buried"
    assert "too large" in buried["reason"]
    assert pending["sequence"] == 2


def test_claims_come_in_order_and_stay_until_acknowledged(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(n) for n in range(5)])
        first = outbox.claim("public", limit=3)
        assert [claimed.position for claimed in first] == [1, 2, 3]
        assert [c.position for c in outbox.claim("public", after=3)] == [4, 5]
        outbox.acknowledge("public", [1, 3])
        assert [c.position for c in outbox.claim("public")] == [2, 4, 5]


def test_a_buried_event_comes_back_first_with_its_old_numbers(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(n) for n in range(3)])
        before = outbox.claim("public")[0]
        outbox.bury(1, "a test")
        assert [c.position for c in outbox.claim("public")] == [2, 3]
        assert find(outbox, "1")["reason"] == "a test"
        outbox.retry(1)
        assert outbox.claim("public")[0] == before
        with pytest.raises(NothingThereError):
            outbox.retry(1)


def test_a_replay_is_claimed_beside_the_pending_and_asked_for_once(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(n) for n in range(2)])
        outbox.acknowledge("public", [1, 2])
        request_replay(outbox, 2)
        request_replay(outbox, 2)
        ((number, claimed),) = claim_replays(outbox, "public")
        assert claimed.position == 2
        assert outbox.claim("public") == []
        finish_replays(outbox, "public", [number])
        assert claim_replays(outbox, "public") == []


def test_a_copied_outbox_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
        old = figures(outbox)["epoch"]
    (tmp_path / "copy.db").write_bytes((tmp_path / "o.db").read_bytes())
    with Outbox.open(tmp_path / "copy.db") as copy:
        copy.append([system_event(2)])
        newest = rows(copy, Selection())[-1]
    assert newest["epoch"] != old
    assert newest["sequence"] == 1


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), max_size=12))
@settings(max_examples=40, deadline=None)
def test_whatever_is_appended_in_whatever_groups_the_numbers_are_gapless_and_the_ids_unique(
    groups: list[list[int]],
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory, Outbox.open(Path(directory, "o.db")) as outbox:
        for group in groups:
            outbox.append([system_event(n) for n in group])
        found = rows(outbox, Selection())
        assert problems(outbox) == []
    assert [row["sequence"] for row in found] == list(range(1, len({n for group in groups for n in group}) + 1))
    assert len({row["id"] for row in found}) == len(found)


def test_many_events_of_two_types_are_stored_in_one_commit_in_their_order(tmp_path: Path) -> None:
    numbers = [*range(120), *range(40, 60), *range(120, 240)]
    events = [system_event(n, state="degraded" if n % 3 else "ok") for n in numbers]
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append(events[30:35])
        stored = outbox.append(events)
        found = rows(outbox, Selection())
    position = {row["id"]: row["position"] for row in found}
    assert [one.position for one in stored] == [position[event.id] for event in events]
    assert sum(one.new for one in stored) == 235
    assert [row["sequence"] for row in found] == list(range(1, 241))
    for type_ in {row["type"] for row in found}:
        typed = [row["typesequence"] for row in found if row["type"] == type_]
        assert typed == list(range(1, len(typed) + 1))
    assert len({row["stored_at"] for row in found}) == 2


def _append_many(path: str, first: int, count: int) -> None:
    with Outbox.open(path, lock_wait_s=30) as outbox:
        for number in range(first, first + count):
            outbox.append([system_event(number)])


def test_four_processes_that_append_at_once_lose_nothing_and_leave_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append_many, args=(str(path), n * 100, 50)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    with Outbox.open(path) as outbox:
        assert [row["sequence"] for row in rows(outbox, Selection())] == list(range(1, 201))
        assert problems(outbox) == []


def test_a_killed_writer_loses_nothing_that_was_reported_stored(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    program = (
        "import sys\nfrom sourcepulse import Outbox\nfrom sourcepulse.testing import system_event\n"
        f"o = Outbox.open({str(path)!r}, lock_wait_s=30)\nn = int(sys.argv[1])\n"
        "while True:\n    o.append([system_event(n), system_event(n + 1)])\n    print(n + 1, flush=True)\n    n += 2\n"
    )
    stored = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", program, str(stored)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(7):
            reported = int(process.stdout.readline())
        process.kill()
        rest = process.stdout.read().split()
        process.wait()
        stored = int(rest[-1] if rest else reported) + 1
    with Outbox.open(path) as outbox:
        found = rows(outbox, Selection())
        assert problems(outbox) == []
    assert [row["sequence"] for row in found] == list(range(1, len(found) + 1))
    assert len(found) >= stored
    assert len(found) % 2 == 0


@pytest.mark.parametrize("how", ["flock", "sqlite"])
def test_a_locked_outbox_is_given_up_within_the_wait(tmp_path: Path, how: str) -> None:
    path = tmp_path / "o.db"
    Outbox.open(path).close()
    program = {
        "flock": f"import fcntl\nf = open({str(path) + '.lock'!r})\nfcntl.flock(f, fcntl.LOCK_EX)\n",
        "sqlite": f"import sqlite3\nd = sqlite3.connect({str(path)!r})\nd.execute('BEGIN EXCLUSIVE')\n",
    }[how]
    holder = subprocess.Popen(
        [sys.executable, "-c", program + "print('held', flush=True)\nimport time\ntime.sleep(60)\n"],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        started = time.monotonic()
        with pytest.raises(OutboxLockedError, match="locked"), Outbox.open(path, lock_wait_s=0.2) as outbox:
            outbox.append([system_event(1)])
        assert time.monotonic() - started < 2
    finally:
        holder.kill()
        holder.wait()
    with Outbox.open(path, lock_wait_s=0.2) as outbox:
        assert outbox.append([system_event(1)])[0].new


def test_a_writer_that_waits_gets_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        release = threading.Event()

        def hold() -> None:
            with outbox.writing():
                release.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        threading.Timer(0.3, release.set).start()
        with Outbox.open(path, lock_wait_s=5) as other:
            assert other.append([system_event(1)])[0].new
        holder.join()


def test_a_foreign_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(OutboxDamagedError, match="another program"):
        Outbox.open(path)
    assert path.read_bytes() == before


def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "o.db").write_text("not a database, whatever its name\n" * 50)
    with pytest.raises(OutboxDamagedError, match="outbox repair"):
        Outbox.open(tmp_path / "o.db")


def test_repair_of_a_file_that_is_not_a_database_keeps_it_aside_and_starts_from_scratch(tmp_path: Path) -> None:
    (tmp_path / "o.db").write_text("not a database, whatever its name\n" * 50)
    report = repair(tmp_path / "o.db")
    assert report.aside.read_text().startswith("not a database")
    with Outbox.open(tmp_path / "o.db") as outbox:
        assert outbox.append([system_event(1)])[0].new


def test_a_newer_format_is_refused_with_the_advice_to_upgrade(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    Outbox.open(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(OutboxDamagedError, match="upgrade sourcepulse"):
        Outbox.open(path)


def test_an_outbox_truncated_to_nothing_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        outbox.append([system_event(1)])
    os.truncate(path, 0)
    with pytest.raises(OutboxDamagedError, match="empty although it held data"):
        Outbox.open(path)


def test_a_removed_outbox_is_created_again_with_another_epoch(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    epochs = []
    for _ in range(2):
        with Outbox.open(path) as outbox:
            outbox.append([system_event(1)])
            epochs.append(figures(outbox)["epoch"])
        path.unlink()
    assert epochs[0] != epochs[1]


def test_repair_saves_what_a_truncated_outbox_still_holds(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        outbox.append([system_event(n, message="x" * 2_000) for n in range(200)])
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(OutboxDamagedError, match="outbox repair"), Outbox.open(path) as outbox:
        outbox.append([system_event(999)])
    report = repair(path)
    assert report.aside.exists()
    with Outbox.open(path) as outbox:
        assert outbox.file_problems() == []
        assert outbox.append([system_event(1_000)])[0].new
        pending = outbox.claim("public", limit=1_000)
    assert 1 < len(pending) <= 201


def test_repair_of_a_sound_outbox_keeps_every_event_and_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        outbox.append([system_event(n) for n in range(20)])
        before = outbox.claim("public")
    assert repair(path).unreadable == 0
    with Outbox.open(path) as outbox:
        assert outbox.claim("public") == before
        assert not outbox.append([system_event(3)])[0].new


def test_a_directory_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutboxWriteError, match="does not exist; create it"):
        Outbox.open(tmp_path / "nowhere" / "o.db")


@needs_root
def test_a_read_only_outbox_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "o.db"
    Outbox.open(path).close()
    program = (
        "import os, sys, uuid\nfrom sourcepulse import Outbox\n"
        "from sourcepulse.testing import system_event\nfrom sourcepulse.errors import OutboxWriteError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"try:\n    Outbox.open({str(path)!r}).append([system_event(1)])\n"
        "except OutboxWriteError as error:\n    print(error)\n"
    )
    for directory in [tmp_path, *tmp_path.parents]:
        if directory.stat().st_uid == 0 and not directory.stat().st_mode & 1:
            directory.chmod(directory.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert "Permission denied" in done.stdout, done.stderr
    assert str(path) in done.stdout


def _append_large(outbox: Outbox, count: int) -> None:
    for number in range(1, count):
        outbox.append([system_event(number, message="x" * 50_000)])


@needs_root
def test_a_full_disk_is_a_clear_error_and_what_was_stored_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=True)
    try:
        with Outbox.open(disk / "o.db") as outbox:
            outbox.append([system_event(0)])
            with pytest.raises(OutboxWriteError, match="full"):
                _append_large(outbox, 1_000)
            stored = rows(outbox, Selection())
            assert outbox.file_problems() == []
        assert [row["sequence"] for row in stored] == list(range(1, len(stored) + 1))
        assert len(stored) < 12
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(("directory_mode", "file_mode"), [(0o755, 0o644), (0o2775, 0o664), (0o700, 0o600)])
def test_every_file_has_the_mode_of_the_directory_whatever_the_umask(
    tmp_path: Path, directory_mode: int, file_mode: int
) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    directory.chmod(directory_mode)
    umask = os.umask(0o077)
    try:
        with Outbox.open(directory / "o.db") as outbox:
            outbox.append([system_event(1)])
            modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    finally:
        os.umask(umask)
    assert set(modes) == {"o.db", "o.db.lock", "o.db-wal", "o.db-shm"}
    assert set(modes.values()) == {file_mode}


@needs_root
def test_two_users_of_one_group_share_an_outbox(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    os.chown(directory, 0, 65534)
    directory.chmod(0o2775)
    for parent in directory.parents:
        if not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o011)
    program = (
        "import os, sys, uuid\nfrom sourcepulse import Outbox\nfrom sourcepulse.testing import system_event\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(int(sys.argv[1])); os.umask(0o022)\n"
        f"with Outbox.open({str(directory / 'o.db')!r}) as o: o.append([system_event(int(sys.argv[1]))])\n"
    )
    for user in ("65530", "65531", "65530"):
        subprocess.run([sys.executable, "-c", program, user], check=True, cwd="/")
    with Outbox.open(directory / "o.db") as outbox:
        assert [row["sequence"] for row in rows(outbox, Selection())] == [1, 2]


def test_where_the_file_system_has_no_shared_memory_the_rollback_journal_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sourcepulse.outbox.sqlite_setup._file_system", lambda _: "nfs4")
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(1)])
        with outbox.reading() as db:
            assert db.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
            assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
    with Outbox.open(tmp_path / "o.db") as outbox:
        assert not outbox.append([system_event(1)])[0].new


def test_a_backup_written_over_the_file_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        outbox.append([system_event(1)])
    backup = path.read_bytes()
    with Outbox.open(path) as outbox:
        outbox.append([system_event(2), system_event(3)])
        before = figures(outbox)["epoch"]
    inode = path.stat().st_ino
    path.write_bytes(backup)
    assert path.stat().st_ino == inode
    epochs = []
    for n in (4, 5):
        with Outbox.open(path) as outbox:
            outbox.append([system_event(n)])
            epochs.append(figures(outbox)["epoch"])
            assert rows(outbox, Selection())[-1]["sequence"] == n - 3
    assert epochs[0] != before
    assert epochs[0] == epochs[1]


def test_an_outbox_that_is_being_made_by_another_process_is_not_taken_for_a_foreign_one(tmp_path: Path) -> None:
    # Sixteen processes at a time wait for the end of one pipe, so that all of them begin in the same instant.
    script = (
        "import os, sys; from sourcepulse import Outbox; from sourcepulse.testing import system_event\n"
        "for path in sys.argv[1:]:\n"
        "    reader, writer = os.pipe()\n"
        "    writers = []\n"
        "    for number in range(16):\n"
        "        writers.append(os.fork())\n"
        "        if not writers[-1]:\n"
        "            os.close(writer); os.read(reader, 1)\n"
        "            Outbox.open(path).append([system_event(number)])\n"
        "            sys.exit(0)\n"
        "    os.close(writer)\n"
        "    assert [os.waitpid(pid, 0)[1] for pid in writers] == [0] * 16\n"
    )
    paths = [tmp_path / f"{attempt}.db" for attempt in range(8)]
    subprocess.run([sys.executable, "-c", script, *paths], check=True, timeout=120)
    for path in paths:
        with Outbox.open(path) as opened:
            assert len(list(rows(opened, Selection()))) == 16


def test_processes_notice_that_the_outbox_they_have_open_was_removed_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        outbox.append([system_event(1)])
        path.rename(tmp_path / "aside.db")
        with pytest.raises(OutboxReplacedError):
            outbox.append([system_event(2)])
        Outbox.open(path).close()
        with pytest.raises(OutboxReplacedError):
            outbox.claim("public")


def test_a_linked_outbox_is_the_same_outbox_with_the_same_locks(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link = tmp_path / "o.db"
    link.symlink_to(tmp_path / "data" / "o.db")
    with Outbox.open(link) as outbox, relay_lock(link):
        outbox.append([system_event(1)])
        assert is_relayed(tmp_path / "data" / "o.db")
        assert is_relayed(link)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "o.db"]


@needs_root
def test_a_link_that_another_user_laid_is_not_followed(tmp_path: Path) -> None:
    link = tmp_path / "o.db"
    link.symlink_to(tmp_path / "elsewhere")
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(OutboxWriteError, match="symbolic link"):
        Outbox.open(link)
    assert not (tmp_path / "elsewhere").exists()


def test_the_lock_of_the_relay_is_never_written_through_a_link(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    Outbox.open(tmp_path / "o.db").close()
    (tmp_path / "o.db.relay.lock").symlink_to(precious)
    with pytest.raises(OutboxWriteError, match=r"relay\.lock"), relay_lock(tmp_path / "o.db"):
        pass
    assert precious.read_text() == "precious"


def test_what_is_appended_while_a_repair_runs_is_in_the_new_outbox(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        outbox.append([system_event(n) for n in range(20_000)])
    stored: list[str] = []
    done = threading.Event()

    def write() -> None:
        number = 100_000
        while not done.is_set():
            number += 1
            event = system_event(number)
            # Two ways to meet the repair: opening in its middle, and having opened before.
            with suppress(OutboxReplacedError), Outbox.open(path) as outbox:
                time.sleep(0.002)
                outbox.append([event])
                stored.append(event.id)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.1)
    report = repair(path)
    time.sleep(0.1)
    done.set()
    writer.join()
    with Outbox.open(path) as outbox:
        kept = {row["id"] for row in rows(outbox, Selection())}
    assert report.saved["events"] >= 20_000
    assert len(kept) == 20_000 + len(stored)
    assert kept.issuperset(stored)
    assert not list(tmp_path.glob("*.repairing*"))


def test_a_missing_number_is_a_problem_unless_its_id_has_expired(tmp_path: Path) -> None:
    now = 500 * DAY_SECONDS
    with Outbox.open(tmp_path / "o.db", clock=lambda: now) as outbox:
        outbox.append([system_event(n) for n in range(4)])
        outbox.bury(1, "stays for ever")
        outbox.acknowledge("public", [2, 3])
        now += 399 * DAY_SECONDS
        outbox.acknowledge("public", [4])
        now += 2 * DAY_SECONDS
        outbox.append([system_event(n) for n in range(4, 7)])
        prune(outbox, Keep(days=1, bytes=2**30))
        assert [row["sequence"] for row in rows(outbox, Selection())] == [1, 4, 5, 6, 7]
        assert problems(outbox) == []
        with outbox.writing() as db:
            db.execute("DELETE FROM bodies WHERE position IN (6, 7)")
            db.execute("DELETE FROM events WHERE position IN (6, 7)")
        (problem,) = problems(outbox)
    assert "5 and 8" in problem


def test_looking_for_what_expired_keeps_no_writer_waiting(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db", lock_wait_s=0.5) as outbox, Outbox.open(tmp_path / "o.db") as other:
        outbox.append([system_event(n) for n in range(5)])
        outbox.acknowledge("public", range(1, 6))
        with other.writing():
            # Nothing is too old, so nothing is to be written.
            assert prune(outbox, Keep(days=1, bytes=2**30)) == 0


def test_expired_payloads_go_and_their_ids_stay(tmp_path: Path) -> None:
    now = [1_000_000_000.0]
    with Outbox.open(tmp_path / "o.db", clock=lambda: now[0]) as outbox:
        outbox.append([system_event(n) for n in range(4)])
        outbox.acknowledge("public", [1, 2])
        outbox.bury(3, "a test")
        now[0] += 8 * DAY_SECONDS
        assert prune(outbox, Keep(days=7, bytes=2**30)) == 2
        assert not outbox.append([system_event(0)])[0].new
        assert [row["bytes"] is None for row in rows(outbox, Selection())] == [True, True, False, False]
        with pytest.raises(NothingThereError, match="expired"):
            request_replay(outbox, 1)
        now[0] += 500 * DAY_SECONDS
        prune(outbox, Keep(days=7, bytes=2**30))
        assert [row["position"] for row in rows(outbox, Selection())] == [3, 4]
        assert problems(outbox) == []


def test_the_oldest_delivered_payloads_go_first_when_they_are_too_many_bytes(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.append([system_event(n, message="x" * 10_000) for n in range(10)])
        outbox.acknowledge("public", list(range(1, 10)))
        prune(outbox, Keep(days=7, bytes=45_000))
        kept = [row["position"] for row in rows(outbox, Selection()) if row["bytes"]]
    assert kept == [7, 8, 9, 10]


def test_a_problem_is_shown_until_it_is_cleared_and_keeps_its_time(tmp_path: Path) -> None:
    now = 1_000_000.0
    with Outbox.open(tmp_path / "o.db", clock=lambda: now) as outbox:
        assert figures(outbox)["problems"] == []
        set_problem(outbox, "disk-slow", "the disk is slow")
        now += 60
        set_problem(outbox, "disk-slow", "the disk is slower")
        set_problem(outbox, "clock-wrong", "x" * 5_000)
        assert figures(outbox)["problems"] == [
            {"name": "clock-wrong", "message": "x" * 1_000, "since": "1970-01-12T13:47:40.000000Z"},
            {"name": "disk-slow", "message": "the disk is slower", "since": "1970-01-12T13:46:40.000000Z"},
        ]
        clear_problem(outbox, "clock-wrong")
        clear_problem(outbox, "disk-slow")
        clear_problem(outbox, "disk-slow")
        assert figures(outbox)["problems"] == []
        set_problem(outbox, "disk-slow", "again")
        assert [problem["since"] for problem in figures(outbox)["problems"]] == ["1970-01-12T13:47:40.000000Z"]


def test_one_problem_of_two_places_is_two(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        set_problem(outbox, "silent", "here", place="a")
        set_problem(outbox, "silent", "there", place="b")
        clear_problem(outbox, "silent")
        clear_problem(outbox, "silent", place="b")
        assert [(found["name"], found["message"]) for found in figures(outbox)["problems"]] == [("silent", "here")]


def test_a_problem_that_is_known_already_costs_no_write(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox, Outbox.open(tmp_path / "o.db", lock_wait_s=0.1) as other:
        set_problem(outbox, "disk-slow", "the disk is slow")
        with outbox.writing():
            set_problem(other, "disk-slow", "the disk is slow")
            clear_problem(other, "disk-fast")


def test_origins_are_remembered_once(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db") as outbox:
        outbox.remember_origin("hg", "/srv/a")
        outbox.remember_origin("hg", "/srv/a")
        assert [(o.kind, o.location) for o in outbox.origins()] == [("hg", "/srv/a")]
        outbox.forget_origin("hg", "/srv/a")
        assert outbox.origins() == []


def test_a_journal_that_grew_beside_a_long_reader_shrinks_again(tmp_path: Path) -> None:
    path = tmp_path / "o.db"
    with Outbox.open(path) as outbox:
        with sqlite3.connect(path) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            for number in range(60):
                outbox.append([system_event(number, message="x" * 200_000)])
        reader.close()
        grown = path.with_name("o.db-wal").stat().st_size
        for number in range(60, 64):
            outbox.append([system_event(number)])
        assert grown > 3 * WAL_KEEP_BYTES // 2
        assert path.with_name("o.db-wal").stat().st_size <= WAL_KEEP_BYTES
