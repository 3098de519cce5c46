# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write files atomically with the mode of their folder, and lock a folder."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sourcepulse.outbox.files import replace_file as replace_whole
from sourcepulse.outbox.files import try_lock

#: Other users may never write to our files, whatever the mode of `.hg`.
_FILE_MODE_MASK = 0o664
_FOLDER_MODE_MASK = 0o2775


def ensure_folder(path: str | bytes | os.PathLike[str], *, like: str | bytes | os.PathLike[str]) -> None:
    """Make a folder with the mode of another one, including setgid, unless it exists; raises OSError."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    # mkdir() inherits the setgid bit; only the owner, which we are now, can set the others.
    with suppress(OSError):
        os.chmod(path, stat.S_IMODE(os.stat(like).st_mode) & _FOLDER_MODE_MASK)


def open_like_folder(path: os.PathLike[str]) -> int:
    """Open a file for reading and writing; a new one gets the mode of its folder. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    status = os.fstat(fd)
    if status.st_size == 0 and status.st_uid == os.geteuid():
        mode = os.stat(os.path.dirname(path)).st_mode & _FILE_MODE_MASK
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(fd, mode)
    return fd


def replace_file(
    path: str | bytes | os.PathLike[str], content: bytes, *, like: str | bytes | os.PathLike[str], durable: bool = False
) -> None:
    """Replace a file atomically, with the mode of a folder; raises OSError, and then nothing has changed.

    With `durable` the content is synced to disk before the file gets its name.
    """
    replace_whole(path, content, mode=os.stat(like).st_mode & _FILE_MODE_MASK, durable=durable)


_POLL_SECONDS = 0.005
#: The errors of a file system without locks, such as NFS without its lock service.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@contextmanager
def folder_lock(path: Path, *, elsewhere: Path, wait_s: float) -> Iterator[bool]:
    """Hold the lock of this file, or of `elsewhere` if the file system of the first has no locks.

    Yields False if the lock was not acquired in time; raises OSError if neither file can be opened or locked.
    """
    deadline = time.monotonic() + wait_s
    fd = open_like_folder(path)
    try:
        try:
            got = _take(fd, deadline)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            os.close(fd)
            fd = -1
            fd = open_like_folder(elsewhere)
            got = _take(fd, deadline)
        yield got
    finally:
        if fd >= 0:
            os.close(fd)


def _take(fd: int, deadline: float) -> bool:
    while not try_lock(fd):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
