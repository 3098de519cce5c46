# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Files that several processes and users share: owner and mode, a lock that ends with its process, replacement."""

import errno
import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

#: The suffix of a file's next content until that is complete.
PART_SUFFIX = ".part"
#: Between two attempts to get a lock.
LOCK_POLL_SECONDS = 0.005
#: Other users may never write to a file of ours, whatever the directory's mode.
MODE_MASK = 0o664
#: With less room than this a disk is full: the shared memory of an open SQLite file needs 32 KiB.
FULL_BYTES = 64 * 1024


def try_lock(fd: int) -> bool:
    """Lock an open file; False if another process holds the lock, OSError if the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_until(fd: int, deadline: float) -> bool:
    """Lock an open file; False if another process still holds the lock at this monotonic time."""
    while not try_lock(fd):
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOCK_POLL_SECONDS)
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


def open_lock(path: Path, mode: int | None = None) -> int:
    """Open or create the side file whose `flock` every writer of a file takes; the same users may open both."""
    return open_shared(lock_file(path), mode, like=path)


def lock_file(path: Path) -> Path:
    """Return the path of that side file."""
    return path.with_name(path.name + ".lock")


def real_path(path: Path) -> Path:
    """Resolve a symbolic link, so that all processes take the same locks beside the same file.

    PermissionError for a link not made by this user, root or the owner of its folder: in a shared folder, another user
    could redirect it anywhere.
    """
    if not path.is_symlink():
        return path
    if path.lstat().st_uid not in (0, os.geteuid(), path.parent.stat().st_uid):
        raise PermissionError(errno.EPERM, "a symbolic link made by another user is not followed", str(path))
    return path.resolve()


def shared_mode(directory: Path) -> int:
    """Return the mode of a new file in a directory: its read and write bits, never writable by the world."""
    return directory.stat().st_mode & MODE_MASK


def open_shared(path: Path, mode: int | None = None, *, like: Path | None = None) -> int:
    """Open or create a file, independent of the umask.

    A new file gets this mode, or else the mode, owner and group of `like` if that exists, or else its directory's.
    """
    while True:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            pass
        model = like.stat() if like is not None and like.exists() else None
        if mode is None:
            mode = shared_mode(path.parent) if model is None else model.st_mode & MODE_MASK
        with suppress(FileExistsError):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            _hand_over(fd, path.parent, model)
            if model is not None and os.fstat(fd).st_gid != model.st_gid:
                # Another group could read what the group of the model can.
                mode &= ~0o070
            os.fchmod(fd, mode)
            return fd


def _hand_over(fd: int, folder: Path, model: os.stat_result | None) -> None:
    """Set the owner and group of a new file to those of its model or its folder; otherwise it would lock them out."""
    place = model or folder.stat()
    if model is None and place.st_mode & stat.S_IWOTH:
        return
    with suppress(OSError):
        # SQLite under root gives its side files the owner of the database as well.
        os.fchown(fd, place.st_uid if os.geteuid() == 0 else -1, place.st_gid)


def is_disk_full(path: Path) -> bool:
    """Return whether the file system of a file has no room for another few pages; False if that is unknown."""
    try:
        status = os.statvfs(path)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < FULL_BYTES
