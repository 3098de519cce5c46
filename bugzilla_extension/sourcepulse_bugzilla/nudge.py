# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The datagram socket on which Bugzilla announces new rows; only a hint, because the table is polled anyway."""

from __future__ import annotations

import logging
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from sourcepulse_bugzilla.lifecycle.stopping import Stop

#: The longest path in a sockaddr_un.
PATH_MAX_BYTES = 107
MODE = 0o660
#: At most this many nudges are read at once; a single one would be enough.
NUDGES_MOST = 1_000

logger = logging.getLogger(__name__)


class Nudge:
    """Listens at a path while that is possible; without a socket, `wait` only waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._warning = ""

    def open(self, group: int | None, *, wanted: bool) -> None:
        """Listen at the path, replacing an earlier listener; our own socket is kept.

        `group` may write to the socket if we may change its group; if not, a warning is logged if it was `wanted`.
        An error that prevents listening is logged once, and the next call tries again.
        """
        if self._is_ours():
            return
        self._drop()
        try:
            self._bind()
        except OSError as error:
            self._drop()
            self._warn(f"nudges cannot be received at {self._path}: {error.strerror or error}")
            return
        self._warning = ""
        self._set_group(group, wanted=wanted)

    def wait(self, seconds: float, stop: Stop) -> None:
        """Wait for a nudge, for the given number of seconds, or until stopped."""
        stop.wait(seconds, self._socket)
        if self._socket is not None:
            with suppress(OSError):
                for _ in range(NUDGES_MOST):
                    self._socket.recv(16)

    def close(self) -> None:
        """Stop listening; the socket file is removed if it is still ours."""
        if self._is_ours():
            with suppress(OSError):
                self._path.unlink()
        self._drop()

    def _bind(self) -> None:
        if len(os.fsencode(self._path)) > PATH_MAX_BYTES:
            raise OSError(f"the path has more than {PATH_MAX_BYTES} bytes")
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise OSError("there is a file that is not a socket")
            # We hold the drainer's lock, so the process that made it has ended or is about to end.
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        # Changed by descriptor, because a user who may write to the folder could replace the file with a link.
        with _Pinned(self._path) as pinned:
            pinned.path.chmod(MODE)
            self._identity = pinned.identity

    def _set_group(self, group: int | None, *, wanted: bool) -> None:
        if group is None or group == self._path.lstat().st_gid:
            return
        try:
            with _Pinned(self._path) as pinned:
                os.chown(pinned.path, -1, group)
        except OSError as error:
            if wanted or os.geteuid() == 0:
                logger.warning("the group of %s cannot be set: %s", self._path, error.strerror)
            else:
                logger.warning(
                    "the web server may not be able to nudge this process: %s does not belong to its group, and only "
                    "a member of the group can change that; the table is read every few seconds",
                    self._path,
                )

    def _is_ours(self) -> bool:
        if self._socket is None:
            return False
        try:
            status = self._path.lstat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._identity = None

    def _warn(self, sentence: str) -> None:
        if sentence != self._warning:
            self._warning = sentence
            logger.warning("%s; the table is read every few seconds", sentence)


class _Pinned:
    """A socket file held by its descriptor, so that it cannot be replaced by another file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.path = Path(f"/proc/self/fd/{self._fd}")
        status = os.fstat(self._fd)
        self.identity = (status.st_dev, status.st_ino)
        if not stat.S_ISSOCK(status.st_mode):
            os.close(self._fd)
            raise OSError("there is a file that is not a socket")

    def __enter__(self) -> _Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
