# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A file is replaced whole, no link leads the writer elsewhere, and of several programs one makes it."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from sourcepulse.brokers.file.tables import LOG_FILE
from sourcepulse.outbox.files import is_locked, lock_file, replace_file, try_lock
from sourcepulse.outbox.sqlite_file import SqliteFile


def test_a_file_gets_the_content_and_the_mode_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0o077)
    try:
        replace_file(path, b"one", mode=0o664)
        replace_file(os.fsencode(path), b"two", mode=0o640, durable=True)
    finally:
        os.umask(before)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o640)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_a_link_in_the_place_of_the_next_content_is_not_followed(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    link = tmp_path / "file.part"
    link.symlink_to(victim) if kind == "symbolic" else link.hardlink_to(victim)
    replace_file(tmp_path / "file", b"new", mode=0o644)
    assert (victim.read_bytes(), (tmp_path / "file").read_bytes()) == (b"precious", b"new")
    assert sorted(os.listdir(tmp_path)) == ["file", "victim"]


def test_a_file_that_cannot_be_replaced_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    (tmp_path / "file.part").mkdir()
    with pytest.raises(OSError, match=r"file\.part"):
        replace_file(path, b"new", mode=0o644)
    assert path.read_bytes() == b"old"


def test_a_lock_is_seen_by_others_and_ends_with_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT) for _ in range(2))
    try:
        assert not is_locked(path)
        assert try_lock(first)
        assert (try_lock(second), is_locked(path)) == (False, True)
    finally:
        os.close(first)
        os.close(second)
    assert not is_locked(path)
    with pytest.raises(FileNotFoundError):
        is_locked(tmp_path / "none")


def open_and_close(path: Path) -> None:
    SqliteFile(path, LOG_FILE, lock_wait_s=30.0, create=True).close()


def test_of_programs_that_make_a_file_at_the_same_time_each_opens_it_and_logs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "log.db"
    lock = os.open(lock_file(path), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        # All of them see an empty file before the first one may make its tables.
        assert try_lock(lock)
        with ThreadPoolExecutor() as pool:
            opened = [pool.submit(open_and_close, path) for _ in range(3)]
            assert not wait(opened, timeout=1.0).done
            fcntl.flock(lock, fcntl.LOCK_UN)
            for each in opened:
                each.result()
    finally:
        os.close(lock)
    assert caplog.text == ""
