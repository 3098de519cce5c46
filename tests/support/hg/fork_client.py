# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Asks a fork server for an hg; the ssh of the tests imports it, too, and starts often, so it loads little."""

from __future__ import annotations

import _socket
import marshal
import sys

ANSWER_BYTES = 32
FD_BYTES = 4


class Forked:
    """A process that a fork server started; where it refused, `pid` is 0, and hg must be started in the usual way."""

    def __init__(
        self,
        path: str,
        arguments: list[bytes],
        environ: dict[bytes, bytes],
        folder: bytes,
        fds: tuple[int, int, int],
    ) -> None:
        self.pid = 0
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        request = marshal.dumps((arguments, environ, folder, _umask()))
        rights = b"".join(fd.to_bytes(FD_BYTES, sys.byteorder) for fd in fds)
        try:
            self._socket.connect(path)
            self._socket.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
            self.pid = self._answer()
        except OSError:
            pass  # no server, or one of another user
        if not self.pid:
            self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the process ends."""
        return self._socket.fileno()

    def wait(self) -> int:
        """Return the exit code after the process's end; a signal's number is negative."""
        code = self._answer()
        self._socket.close()
        return code

    def _answer(self) -> int:
        return int(self._socket.recv(ANSWER_BYTES) or 0)


def _umask() -> int:
    """Return this process's umask without a change that another thread could see."""
    with open("/proc/self/status", "rb") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith(b"Umask:"))
