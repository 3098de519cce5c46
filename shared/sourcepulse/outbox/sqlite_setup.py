# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Set up a SQLite file that is new or has an older format: create it, choose its journal, make its tables."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.outbox.files import open_lock, open_shared

if TYPE_CHECKING:
    from sourcepulse.outbox.sqlite_file import FileKind

#: File systems on which SQLite's shared memory does not work between machines (sqlite.org/wal.html, section 1).
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs"}
)


def create_empty(path: Path, kind: FileKind, mode: int | None) -> None:
    """Create the file and its lock with this mode, or else the directory's."""
    try:
        os.close(open_shared(path, mode))
        # A file that was removed on purpose is not damaged: the mark in its old lock file is void.
        lock_fd = open_lock(path, mode)
        os.ftruncate(lock_fd, 0)
        if mode is not None:
            with suppress(PermissionError):
                os.fchmod(lock_fd, mode)
        os.close(lock_fd)
    except FileNotFoundError:
        raise kind.unwritable(f"the folder of the {kind.name} {path} does not exist; create it") from None


def choose_journal(db: sqlite3.Connection, path: Path) -> None:
    """Switch to a write-ahead log where the file system allows it."""
    if _file_system(path) in NETWORK_FILE_SYSTEMS:
        return
    try:
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
            raise
        # The file system refuses shared memory: the rollback journal stays, which is slower but as safe.


def make_tables(db: sqlite3.Connection, kind: FileKind, path: Path, version: int) -> None:
    """Bring the tables from a version to the newest and commit the open transaction."""
    try:
        for number, script in enumerate(kind.migrations[version:], start=version + 1):
            # executescript() would commit first, so the statements go one by one.
            for statement in script.split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {number}")
        db.execute(f"PRAGMA application_id = {kind.application_id}")
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    if 0 < version < len(kind.migrations):
        # Seldom needed, and every first push would load it.
        import logging

        logging.getLogger("sourcepulse.files").info(
            "the %s %s was brought from format %d to %d; older programs that open it from now on are refused",
            kind.name,
            path,
            version,
            len(kind.migrations),
        )


def _file_system(path: Path) -> str:
    """Return the type of the file system of a path, empty if it is unknown."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    place = str(path.resolve())
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, file_system, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if (place == point or place.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, file_system
    return kind
