# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The reader's end of a wake: a datagram socket at a path, created safely and created again when it is gone."""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
from contextlib import suppress
from pathlib import Path

from sourcepulse.wake.send import PAYLOAD_MAX_BYTES, short_path

MODE = 0o660
#: At most this many wakes are read at once; the kernel queues 10 to 512 of them.
WAKES_MAX = 1_000

logger = logging.getLogger(__name__)


class Listener:
    """Listens at a path while that is possible; without a socket, `wait` only waits.

    `without` ends the warning that it does not listen, for example "the table is read every few seconds".

    >>> listener = Listener(Path("/var/lib/sourcepulse/outbox.db.wake"), without="the outbox is polled")
    >>> listener.open()
    >>> payloads = listener.wait(5.0)
    """

    def __init__(self, path: Path, *, without: str) -> None:
        self._path = path
        self._without = without
        self._socket: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._warning = ""

    def open(self) -> bool:
        """Listen at the path, replacing an earlier listener; return whether the socket is new.

        Our own socket is kept. An error that prevents listening is logged once, and the next call tries again.
        """
        if self._is_ours():
            return False
        self._drop()
        try:
            self._bind()
        except OSError as error:
            self._drop()
            warning = f"wakes cannot be received at {self._path}: {error.strerror or error}; {self._without}"
            if warning != self._warning:
                self._warning = warning
                logger.warning("%s", warning)
            return False
        self._warning = ""
        return True

    @property
    def is_open(self) -> bool:
        """Whether wakes can arrive."""
        return self._socket is not None

    def set_group(self, group: int) -> None:
        """Allow the members of a group to wake this process; OSError if that is not possible."""
        with _Pinned(self._path) as pinned:
            if pinned.group != group:
                os.chown(pinned.path, -1, group)

    def share(self) -> None:
        """Allow the group of the folder to wake this process, if this user may set that."""
        with suppress(OSError):
            self.set_group(self._path.parent.stat().st_gid)

    def wait(self, seconds: float, *also: socket.socket) -> list[bytes]:
        """Wait until woken, until something can be read from `also`, or until the time is over.

        Returns the payloads of all wakes that arrived, [] if none did.
        """
        # A Buildbot master has more open files than `select` can name.
        poll = select.poll()
        for each in (*also, *filter(None, [self._socket])):
            poll.register(each, select.POLLIN)
        poll.poll(max(0.0, 1_000 * seconds))
        return self.arrived()

    def arrived(self) -> list[bytes]:
        """Return the payloads of the wakes that arrived, without waiting."""
        payloads: list[bytes] = []
        if self._socket is not None:
            with suppress(OSError):
                while len(payloads) < WAKES_MAX:
                    payloads.append(self._socket.recv(PAYLOAD_MAX_BYTES))
        return payloads

    def close(self) -> None:
        """Stop listening; the socket file is removed if it is still ours."""
        if self._is_ours():
            with suppress(OSError):
                self._path.unlink()
        self._drop()

    def _bind(self) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise OSError("there is a file that is not a socket")
            # We hold the reader's lock, so the process that created it has ended or is about to end.
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        address, folder = short_path(str(self._path))
        try:
            self._socket.bind(address)
        finally:
            if folder >= 0:
                os.close(folder)
        # Changed by descriptor, because a user who may write to the folder could replace the file with a link.
        with _Pinned(self._path) as pinned:
            pinned.path.chmod(MODE)
            self._identity = pinned.identity

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


class _Pinned:
    """A socket file held by its descriptor, so that it cannot be replaced by another file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.path = Path(f"/proc/self/fd/{self._fd}")
        status = os.fstat(self._fd)
        self.identity = (status.st_dev, status.st_ino)
        self.group = status.st_gid
        if not stat.S_ISSOCK(status.st_mode):
            os.close(self._fd)
            raise OSError("there is a file that is not a socket")

    def __enter__(self) -> _Pinned:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
