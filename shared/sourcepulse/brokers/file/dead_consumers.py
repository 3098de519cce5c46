# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Detects dead consumers: each consumer of the log holds a lock that the kernel releases when its process ends."""

from __future__ import annotations

import errno
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.outbox.files import is_locked, shared_mode, try_lock
from sourcepulse.wake.send import SUFFIX

#: A lock file that belongs to no consumer in the log is removed as a crash leftover once it is older than this.
ORPHAN_AGE_SECONDS = 60.0


class Owner:
    """A token and its locked file, held until released or until the process ends.

    The kernel releases a `flock` however the process ends, even in containers that share the directory but not
    their process ids.
    """

    def __init__(self, token: str, log: Path, fd: int) -> None:
        self.token = token
        self._log = log
        self._fd = fd

    @classmethod
    def claim(cls, log: Path) -> Self:
        """Create a new token with its locked file; BrokerUnavailableError if the file cannot be created."""
        token = uuid.uuid4().hex
        path = owner_path(log, token)
        try:
            mode = shared_mode(log.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
            os.fchmod(fd, mode)
            if not try_lock(fd):
                raise BlockingIOError(errno.EAGAIN, "another process locked it")
        except OSError as error:
            raise BrokerUnavailableError(
                f"a consumer's lock file beside the log {log} cannot be created: {error.strerror}"
            ) from error
        return cls(token, log, fd)

    def release(self) -> None:
        """Release the lock and remove its file; never raises, may be called more than once."""
        if self._fd >= 0:
            remove_files(self._log, self.token)
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def owner_path(log: Path, token: str) -> Path:
    """Return the path of a consumer's lock file."""
    return log.with_name(f"{log.name}.consumer-{token}")


def ear_path(log: Path, token: str) -> str:
    """Return the path of the socket on which a consumer is woken."""
    return f"{owner_path(log, token)}{SUFFIX}"


def remove_files(log: Path, token: str) -> None:
    """Remove the files that a dead consumer left; never raises."""
    for path in (owner_path(log, token), Path(ear_path(log, token))):
        with suppress(OSError):
            path.unlink()


def is_alive(log: Path, token: str) -> bool:
    """Return whether a consumer's process still holds its lock; True in case of doubt."""
    try:
        return is_locked(owner_path(log, token))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def remove_orphans(log: Path, known: set[str]) -> None:
    """Remove files that a crash left behind and no consumer in the log owns; never raises."""
    limit = time.time() - ORPHAN_AGE_SECONDS
    prefix = owner_path(log, "").name
    with suppress(OSError):
        for path in log.parent.glob(f"{prefix}*"):
            token = path.name.removeprefix(prefix).removesuffix(SUFFIX)
            with suppress(OSError):
                if token not in known and path.stat().st_mtime < limit and not is_alive(log, token):
                    remove_files(log, token)
