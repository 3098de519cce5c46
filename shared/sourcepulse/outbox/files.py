# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Files that several processes share: a lock that ends with its process, and an atomic replacement."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

#: The suffix of a file's next content until that is complete.
PART_SUFFIX = ".part"


def try_lock(fd: int) -> bool:
    """Lock an open file; False if another process holds the lock, OSError if the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: str | bytes | os.PathLike[str]) -> bool:
    """Return whether a process holds the lock of a file; OSError if the file cannot be opened."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        # Shared, so that two simultaneous checks do not mistake each other for the owner.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def replace_file(path: str | bytes | os.PathLike[str], content: bytes, *, mode: int, durable: bool = False) -> None:
    """Replace a file atomically, independent of the umask; OSError if that fails, and then nothing changed.

    With `durable` the content is on the disk before the file gets its name.
    """
    part = Path(os.fsdecode(path) + PART_SUFFIX)
    try:
        # In a folder that others may write to, an existing entry could be a link to any file.
        with suppress(FileNotFoundError):
            part.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.rename(os.fsdecode(path))
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
