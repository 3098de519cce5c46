# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Let one process at a time do something in a folder; the lock goes with the process that holds it."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sourcepulse.outbox.files import try_lock
from sourcepulse_hg.pending.files import open_like_folder

_POLL_SECONDS = 0.005
#: What a file system says that has no locks, such as NFS without its lock service.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


@contextmanager
def folder_lock(path: Path, *, elsewhere: Path, wait_s: float) -> Iterator[bool]:
    """Hold the lock of this file, or of the one elsewhere if the file system of the first has no locks.

    Gives False if it could not be had in time; OSError if neither file can be opened or locked.
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
