# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""No user can read an outbox that was made of a copy, and not the one that was copied."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from sourcepulse.errors import ConfigError
from sourcepulse.operations.copies.backup import backup
from sourcepulse.operations.copies.restore import restore
from sourcepulse.outbox import queries
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection
from sourcepulse.outbox.repair import repair
from sourcepulse.testing import system_event
from support.in_process import run_command

SECRET = "system://test?restricted"
PUBLIC = "system://test"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which a new outbox can be read by all."""
    open_ = tmp_path / "open"
    open_.mkdir()
    open_.chmod(0o755)
    return open_


def make(path: Path, *sources: str, private: bool = False) -> Path:
    with Outbox.open(path, private=private) as outbox:
        outbox.append([system_event(number, source=source) for number, source in enumerate(sources)])
    return path


def back_up(path: Path, target: Path) -> Path:
    with Outbox.open(path, create=False) as outbox:
        return backup(outbox, target).path


def modes(path: Path) -> set[int]:
    """Return the modes of an outbox that is open, of its log, its shared memory and its lock."""
    with Outbox.open(path, create=False) as outbox:
        outbox.append([system_event(99)])
        files = [path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm", ".lock")]
        return {file.stat().st_mode & 0o777 for file in files}


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_a_restored_outbox_has_the_mode_of_the_one_that_was_backed_up(
    folder: Path, tmp_path: Path, private: bool, mode: int
) -> None:
    saved = back_up(make(folder / "old.db", PUBLIC, private=private), tmp_path / "backup.db")
    # A lock that a former outbox left behind.
    (folder / "new.db.lock").touch(0o644)
    assert restore(folder / "new.db", saved).mode == mode
    assert modes(folder / "new.db") == {mode}


def test_an_outbox_of_unknown_mode_is_restored_for_its_owner_alone(folder: Path, tmp_path: Path) -> None:
    plain_copy = tmp_path / "copy.db"
    plain_copy.write_bytes(make(folder / "old.db", PUBLIC).read_bytes())
    ran = run_command("outbox", "restore", str(plain_copy), "--apply", "--outbox", str(folder / "new.db"))
    assert "mode 0600" in ran.stdout
    assert modes(folder / "new.db") == {0o600}


@pytest.mark.parametrize(("source", "mode"), [(SECRET, 0o600), ("bugzilla://bugs", 0o600), (PUBLIC, 0o644)])
def test_a_backup_with_private_events_narrows_the_outbox_that_it_replaces(
    folder: Path, tmp_path: Path, source: str, mode: int
) -> None:
    saved = back_up(make(folder / "old.db", source, private=True), tmp_path / "backup.db")
    restore(make(folder / "new.db", PUBLIC), saved)
    assert modes(folder / "new.db") == {mode}


@needs_root
def test_a_restored_outbox_belongs_to_the_owner_and_group_of_the_former(folder: Path, tmp_path: Path) -> None:
    owner, group = pwd.getpwnam("daemon").pw_uid, grp.getgrnam("mail").gr_gid
    path = make(folder / "old.db", SECRET)
    os.chown(path, owner, group)
    path.chmod(0o640)
    saved = back_up(path, tmp_path / "backup.db")
    restore(folder / "new.db", saved)
    status = (folder / "new.db").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (owner, group, 0o640)
    lock = (folder / "new.db.lock").stat()
    assert (lock.st_uid, lock.st_gid, lock.st_mode & 0o777) == (owner, group, 0o640)


@needs_root
def test_a_repaired_outbox_keeps_its_mode_and_its_owner(folder: Path) -> None:
    path = make(folder / "o.db", SECRET, private=True)
    owner = pwd.getpwnam("daemon").pw_uid
    os.chown(path, owner, -1)
    # It was removed by hand, and a new one must not be open to all either.
    path.with_name("o.db.lock").unlink()
    repair(path)
    assert (path.stat().st_uid, path.with_name("o.db.lock").stat().st_uid) == (owner, owner)
    assert modes(path) == {0o600}


def test_an_import_makes_an_outbox_for_its_owner_alone(folder: Path, tmp_path: Path) -> None:
    path = make(folder / "old.db", SECRET, PUBLIC, private=True)
    lines, new = tmp_path / "lines", folder / "new.db"
    run_command("outbox", "export", str(lines), "--outbox", str(path))
    (folder / "new.db.lock").touch(0o644)
    assert run_command("outbox", "import", str(lines), "--apply", "--outbox", str(new)).returncode == 0
    assert modes(new) == {0o600}


def test_restricted_events_are_not_imported_where_every_user_can_read_them(folder: Path, tmp_path: Path) -> None:
    path = make(folder / "old.db", PUBLIC, SECRET, private=True)
    lines, wide = tmp_path / "lines", make(folder / "wide.db")
    run_command("outbox", "export", str(lines), "--outbox", str(path))
    for more in ([], ["--apply"]):
        ran = run_command("outbox", "import", str(lines), *more, "--outbox", str(wide))
        assert ran.returncode != 0
        assert f"line 2: the event is restricted, and every user may read {wide}" in ran.stderr
    wide.chmod(0o640)
    assert run_command("outbox", "import", str(lines), "--apply", "--outbox", str(wide)).returncode == 0


def test_a_copy_never_replaces_the_lock_of_its_outbox_nor_follows_a_link(folder: Path, tmp_path: Path) -> None:
    path = make(folder / "o.db", PUBLIC)
    with Outbox.open(path, create=False) as outbox:
        with pytest.raises(ConfigError, match="is the outbox itself"):
            backup(outbox, folder / "o.db.lock", force=True)
        precious = tmp_path / "precious"
        precious.write_text("precious")
        link = tmp_path / "backup.db"
        link.symlink_to(precious)
        with pytest.raises(ConfigError, match="exists"):
            backup(outbox, link)
        backup(outbox, link, force=True)
    assert precious.read_text() == "precious"
    assert (link.is_symlink(), link.stat().st_mode & 0o777) == (False, 0o600)


@needs_root
def test_another_user_gets_nothing_of_a_private_outbox(folder: Path, tmp_path: Path) -> None:
    path = make(folder / "o.db", SECRET, private=True)
    saved = back_up(path, tmp_path / "backup.db")
    saved.chmod(0o644)
    folder.chmod(0o777)
    for parent in folder.parents:
        if not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o011)
    target = folder / "stolen"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(grp.getgrnam("mail").gr_gid)
            os.setuid(pwd.getpwnam("daemon").pw_uid)
            ran = [
                run_command("outbox", *arguments, "--outbox", str(path))
                for arguments in (
                    ["backup", str(target)],
                    ["export", str(target)],
                    ["import", "/dev/null", "--apply"],
                    ["restore", str(saved), "--apply"],
                )
            ]
            status = 0 if all(each.returncode and each.stderr.count("\n") == 1 for each in ran) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not target.exists()
    assert not list(folder.glob("*.restoring*"))
    with Outbox.open(path, create=False) as outbox:
        assert len(queries.rows(outbox, Selection())) == 1
