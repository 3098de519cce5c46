# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who still lives: each consumer of the log holds a lock that the system drops when its process ends."""

from __future__ import annotations

import errno
import os
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from sourcepulse.errors import BrokerUnavailableError
from sourcepulse.outbox.files import is_locked, try_lock
from sourcepulse.outbox.sqlite_file import shared_mode

#: A lock file without a consumer in the log is left over from a crash once it is older than this.
ORPHAN_AGE_SECONDS = 60.0


class Owner:
    """A token and the locked file that stands for it, as long as this process lives and keeps it.

    The kernel releases a `flock` however the process ends, also inside containers that share the directory
    but not their process ids.
    """

    def __init__(self, token: str, path: Path, fd: int) -> None:
        self.token = token
        self._path = path
        self._fd = fd

    @classmethod
    def claim(cls, log: Path) -> Self:
        """Make a new token with its locked file; BrokerUnavailableError if the directory refuses."""
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
                f"a consumer's lock file beside the log {log} cannot be made: {error.strerror}"
            ) from error
        return cls(token, path, fd)

    def release(self) -> None:
        """Give up the lock and remove its file; never raises, may be called again."""
        if self._fd >= 0:
            with suppress(OSError):
                self._path.unlink()
            with suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def owner_path(log: Path, token: str) -> Path:
    """Name the lock file of a consumer."""
    return log.with_name(f"{log.name}.consumer-{token}")


def is_alive(log: Path, token: str) -> bool:
    """Return whether a consumer's process still holds its lock; in doubt it does."""
    try:
        return is_locked(owner_path(log, token))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def remove_orphans(log: Path, known: set[str]) -> None:
    """Remove lock files that no consumer in the log owns, left by a crash; never raises."""
    limit = time.time() - ORPHAN_AGE_SECONDS
    prefix = owner_path(log, "").name
    with suppress(OSError):
        for path in log.parent.glob(f"{prefix}*"):
            token = path.name.removeprefix(prefix)
            with suppress(OSError):
                if token not in known and path.stat().st_mtime < limit and not is_alive(log, token):
                    path.unlink()
