# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A backup is the outbox of one instant, made beside writers and a relay; a restored one counts in a new epoch."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse import Consumer
from sourcepulse.errors import ConfigError, NothingThereError, OutboxDamagedError, OutboxForeignError, OutboxWriteError
from sourcepulse.gaps import Gap, Reset
from sourcepulse.operations.copies import restore as restore_module
from sourcepulse.operations.copies.backup import STEP_PAGES, backup
from sourcepulse.operations.copies.restore import examine, restore
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse.outbox.repair import problems
from sourcepulse.relay.relay import relay_lock
from sourcepulse.testing import system_event
from support.brokers.embedded_log import wait_until
from support.in_process import Ran, run_command


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db") as opened:
        yield opened


def run(outbox: Outbox, action: str, *arguments: str) -> Ran:
    return run_command("outbox", action, *arguments, "--outbox", str(outbox.path))


def relay(outbox: Outbox, log: Path) -> None:
    ran = run_command("relay", "--once", "--outbox", str(outbox.path), "--broker", f"file://{log}")
    assert ran.returncode == 0, ran.stderr


def content(path: Path) -> list[tuple[object, ...]]:
    # A backup has no log, and none is to be made beside it.
    log = "" if path.with_name(path.name + "-wal").exists() else "&immutable=1"
    with closing(sqlite3.connect(f"file:{path}?mode=ro{log}", uri=True)) as db:
        return db.execute(
            "SELECT e.*, b.body FROM events e LEFT JOIN bodies b USING (position) ORDER BY position"
        ).fetchall()


def test_a_backup_is_made_while_writers_and_a_relay_continue(outbox: Outbox, tmp_path: Path) -> None:
    # More than one step, so that commits come in between.
    outbox.append([system_event(number, message="x" * 60_000) for number in range(300)])
    outbox.append([system_event(number) for number in range(300, 1_000)])
    stop, steps = threading.Event(), []
    stored: list[int] = []

    def write() -> None:
        with Outbox.open(outbox.path) as own:
            for number in range(1_000, 100_000):
                own.append([system_event(number)])
                own.acknowledge("public", [own.claim("public", limit=1)[0].position])
                stored.append(number)
                if stop.wait(0.001):
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: stored)
        with Outbox.open(outbox.path) as own:
            made = backup(own, tmp_path / "backup.db", progress=lambda done, total: steps.append((done, total)))
        after = len(stored)
        wait_until(lambda: len(stored) > after)
    finally:
        stop.set()
        writer.join()
    assert len(steps) > 1
    assert steps[-1][0] == steps[-1][1] > STEP_PAGES
    assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith("backup.db")][1:]
    saved = content(made.path)
    assert len(saved) == made.events > 1_000
    # It is a prefix of what came later: no event is missing in it.
    assert [row[:5] for row in saved] == [row[:5] for row in content(outbox.path)[: len(saved)]]


def test_a_backup_replaces_nothing_without_force_and_leaves_nothing_behind(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(1)])
    target = tmp_path / "backup.db"
    target.write_text("precious")
    for path, said in (
        (target, "exists"),
        (outbox.path, "is the outbox itself"),
        (tmp_path / "outbox.db-wal", "is the outbox itself"),
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "backup.db", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=said):
            backup(outbox, path)
    assert target.read_text() == "precious"
    # The log of a former database would be applied to the new one.
    target.with_name("backup.db-wal").write_text("stale")
    assert backup(outbox, target, force=True).events == 1
    assert len(content(target)) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.name.startswith("backup")) == ["backup.db"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_backup_that_does_not_fit_on_the_disk_is_an_error_and_leaves_nothing(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(number, message="x" * 60_000) for number in range(30)])
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=True)
    try:
        with pytest.raises(OutboxWriteError, match="full"):
            backup(outbox, disk / "backup.db")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert outbox.append([system_event(99)])[0].new


def test_a_restore_is_shown_first_with_what_the_backup_lacks(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(number) for number in range(3)])
    outbox.acknowledge("public", [1])
    assert "has 3 events, 2 of them pending" in run(outbox, "backup", str(tmp_path / "backup.db")).stdout
    outbox.append([system_event(number) for number in range(3, 8)])
    outbox.acknowledge("public", [2, 3, 4, 5, 6])
    before = content(outbox.path)
    shown = run(outbox, "restore", str(tmp_path / "backup.db"))
    assert shown.returncode == 0
    assert f"it lacks events of {outbox.path}: 3 delivered, 2 pending" in shown.stdout
    assert "system://test: the last number in it is 3" in shown.stdout
    assert "nothing was changed" in shown.stderr
    assert content(outbox.path) == before
    done = run(outbox, "restore", str(tmp_path / "backup.db"), "--apply")
    assert done.returncode == 0, done.stderr
    with Outbox.open(outbox.path) as restored:
        assert [row["state"] for row in rows(restored, Selection())] == ["delivered", "pending", "pending"]
        assert problems(restored) == []
        # What the backup lacks comes from the former file, by the command that was printed.
        command = done.stdout.splitlines()[-1].partition(": ")[2]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["bash", "-ec", command], check=True, timeout=60, env={**os.environ, "PATH": path})
        assert [row["id"] for row in rows(restored, Selection())] == [system_event(number).id for number in range(8)]
        assert problems(restored) == []


def test_consumers_of_a_restored_outbox_see_a_reset_and_no_false_order(outbox: Outbox, tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    seen: list[object] = []
    outbox.append([system_event(number) for number in range(3)])
    run(outbox, "backup", str(tmp_path / "backup.db"))
    outbox.append([system_event(number) for number in range(3, 6)])
    with Consumer(
        f"file://{log}",
        topics=["#"],
        queue="q",
        durable=True,
        state=":memory:",
        on_gap=seen.append,
        on_reset=seen.append,
    ) as consumer:
        relay(outbox, log)
        for _ in range(6):
            event = consumer.receive(10)
            assert event is not None
            seen.append(event.id)
            consumer.acknowledge()
        epoch = figures(outbox)["epoch"]
        assert run(outbox, "restore", str(tmp_path / "backup.db"), "--apply").returncode == 0
        with Outbox.open(outbox.path) as restored:
            # Numbers 4 and 5 of the old epoch were sent with other events.
            restored.append([system_event(7), system_event(8)])
            assert [row["sequence"] for row in rows(restored, Selection(state="pending"))] == [1, 2, 3, 1, 2]
            now = figures(restored)["epoch"]
            relay(restored, log)
        while (event := consumer.receive(1)) is not None:
            seen.append(event.id)
            consumer.acknowledge()
        assert (consumer.stats.repeats, consumer.stats.bad) == (3, 0)
    ids = [system_event(number).id for number in (0, 1, 2, 3, 4, 5, 7, 8)]
    assert seen == [*ids[:6], Reset(source="system://test", epoch=now), *ids[6:]]
    assert now != epoch
    assert not any(isinstance(each, Gap) for each in seen)


def test_what_a_source_publishes_once_more_after_a_restore_is_no_gap(outbox: Outbox, tmp_path: Path) -> None:
    log = tmp_path / "log.db"
    gaps: list[Gap] = []
    outbox.append([system_event(0)])
    run(outbox, "backup", str(tmp_path / "backup.db"))
    outbox.append([system_event(1), system_event(2)])
    with Consumer(
        f"file://{log}", topics=["#"], queue="q", durable=True, state=":memory:", on_gap=gaps.append, hold_seconds=0.2
    ) as consumer:
        relay(outbox, log)
        assert run(outbox, "restore", str(tmp_path / "backup.db"), "--apply").returncode == 0
        with Outbox.open(outbox.path) as restored:
            # The source goes on, finds again what it published, and goes on.
            restored.append([system_event(number) for number in (3, 1, 2, 4)])
            relay(restored, log)
        received = []
        while (event := consumer.receive(1)) is not None:
            received.append(event.id)
            consumer.acknowledge()
        # The same facts under other numbers are set aside, and are not missing.
        assert (consumer.stats.repeats, consumer.stats.bad) == (1, 2)
    assert received == [system_event(number).id for number in range(5)]
    assert gaps == []


@pytest.mark.parametrize("way", ["copied over it", "moved to its place", "moved to its place and the lock removed"])
def test_a_backup_that_is_put_back_by_hand_has_an_epoch_of_its_own(outbox: Outbox, tmp_path: Path, way: str) -> None:
    outbox.append([system_event(number) for number in range(3)])
    made = backup(outbox, tmp_path / "backup.db")
    outbox.append([system_event(3)])
    former = figures(outbox)["epoch"]
    outbox.close()
    if way.startswith("copied"):
        outbox.path.write_bytes(made.path.read_bytes())
    else:
        made.path.replace(outbox.path)
    if way.endswith("removed"):
        outbox.path.with_name("outbox.db.lock").unlink()
    with Outbox.open(outbox.path) as restored:
        restored.append([system_event(9)])
        newest = rows(restored, Selection())[-1]
        assert (newest["sequence"], newest["epoch"] != former) == (1, True)
        assert problems(restored) == []


def test_what_a_source_knows_of_the_outbox_goes_with_it_and_comes_back(outbox: Outbox, tmp_path: Path) -> None:
    marks = tmp_path / "outbox.db.bugzilla-1.json"
    marks.write_text('{"marks": {"bug": 1}, "missed": 0}')
    outbox.append([system_event(1)])
    made = backup(outbox, tmp_path / "backup.db")
    marks.write_text('{"marks": {"bug": 2}, "missed": 0}')
    done = restore(outbox.path, made.path)
    assert marks.read_text() == '{"marks": {"bug": 1}, "missed": 0}'
    assert done.aside is not None
    kept = marks.with_name(marks.name + done.aside.name.removeprefix("outbox.db"))
    assert kept.read_text() == '{"marks": {"bug": 2}, "missed": 0}'
    assert marks.stat().st_mode & 0o777 == 0o600


def test_a_lost_outbox_is_restored_where_nothing_is_left(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(1)])
    backup(outbox, tmp_path / "backup.db")
    (tmp_path / "new").mkdir()
    path = tmp_path / "new" / "outbox.db"
    ran = run_command("outbox", "restore", str(tmp_path / "backup.db"), "--outbox", str(path))
    assert "is unknown, because there is no such file" in ran.stdout
    assert not list(path.parent.iterdir())
    assert (
        run_command("outbox", "restore", str(tmp_path / "backup.db"), "--apply", "--outbox", str(path)).returncode == 0
    )
    with Outbox.open(path) as restored:
        assert [row["sequence"] for row in rows(restored, Selection())] == [1]


def test_nothing_is_restored_beside_a_running_relay(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(1)])
    made = backup(outbox, tmp_path / "backup.db")
    before = outbox.path.stat().st_ino
    with relay_lock(outbox.path):
        ran = run(outbox, "restore", str(made.path), "--apply")
    assert (ran.returncode, "stop the relay first" in ran.stderr) == (6, True)
    assert outbox.path.stat().st_ino == before


@pytest.mark.parametrize("step", ["put_back", "put_in_place", "replace"])
def test_a_restore_that_is_killed_leaves_the_former_outbox_whole(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    outbox.append([system_event(1)])
    made = backup(outbox, tmp_path / "backup.db")
    outbox.close()
    # In the log, because its writer was killed.
    program = (
        "import os, sys\nfrom sourcepulse import Outbox\nfrom sourcepulse.testing import system_event\n"
        "Outbox.open(sys.argv[1]).append([system_event(2)])\nos._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, outbox.path], check=True, timeout=60)
    assert outbox.path.with_name("outbox.db-wal").stat().st_size > 0

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path if step == "replace" else restore_module, step, kill)
    with pytest.raises(KeyboardInterrupt):
        restore(outbox.path, made.path)
    monkeypatch.undo()
    with Outbox.open(outbox.path) as former:
        assert [row["sequence"] for row in rows(former, Selection())] == [1, 2]
        assert problems(former) == []
    # It can be done once more.
    restore(outbox.path, made.path)
    with Outbox.open(outbox.path) as restored:
        assert [row["sequence"] for row in rows(restored, Selection())] == [1]


def test_a_damaged_outbox_is_not_backed_up_as_a_sound_one(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(number, message="x" * 5_000) for number in range(50)])
    path = outbox.path
    outbox.close()
    raw = bytearray(path.read_bytes())
    (leaf, *_) = [at for at in range(0, len(raw), 4096) if raw[at] == 0x0D and b"xxxx" in raw[at : at + 4096]]
    raw[leaf : leaf + 4096] = bytes(4096)
    path.write_bytes(raw)
    ran = run_command("outbox", "backup", str(tmp_path / "backup.db"), "--outbox", str(path))
    assert ran.returncode == 6, ran.stderr
    assert not list(tmp_path.glob("backup*"))


def test_what_is_no_sound_backup_of_this_version_is_not_restored(outbox: Outbox, tmp_path: Path) -> None:
    outbox.append([system_event(number, message="x" * 5_000) for number in range(50)])
    path = tmp_path / "backup.db"
    with pytest.raises(NothingThereError, match="no backup"):
        examine(outbox.path, path)
    backup(outbox, path)
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    with pytest.raises(OutboxDamagedError, match="is damaged"):
        examine(outbox.path, path)
    path.write_text("not a database, whatever its name\n" * 50)
    with pytest.raises(OutboxDamagedError, match="is damaged"):
        examine(outbox.path, path)
    path.write_bytes(whole)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(OutboxForeignError, match="upgrade sourcepulse"):
        examine(outbox.path, path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (a)")
    db.close()
    with pytest.raises(OutboxForeignError, match="not a backup of an outbox"):
        examine(outbox.path, path)
    assert len(list(tmp_path.glob("outbox.db*before-restore*"))) == 0
