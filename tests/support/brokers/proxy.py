# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A TCP proxy that holds bytes back, drops the rest, or cuts the connection after a number of them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

PIECE_BYTES = 65_536
JOIN_SECONDS = 5.0


class Direction:
    """One way through the proxy, for all its connections."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        #: How many bytes may still pass; None for any number.
        self._left: int | None = None
        self._cuts = False
        self.passed = 0

    def hold(self, after_bytes: int = 0) -> None:
        """Pass `after_bytes` more bytes, then none until `release`; what comes is kept."""
        self._set(after_bytes, cuts=False)

    def cut(self, after_bytes: int = 0) -> None:
        """Pass `after_bytes` more bytes, then reset the connection; the next one is not touched."""
        self._set(after_bytes, cuts=True)

    def release(self) -> None:
        """Pass everything."""
        self._set(None, cuts=False)

    def _set(self, left: int | None, *, cuts: bool) -> None:
        with self._changed:
            self._left, self._cuts = left, cuts
            self._changed.notify_all()

    def wait_until_open(self) -> None:
        """Wait until something may pass, or the connection is to be cut."""
        with self._changed:
            self._changed.wait_for(lambda: self._left != 0 or self._cuts)

    def pass_on(self, data: bytes, target: socket.socket) -> bool:
        """Send what may pass, waiting for the rest to be released; False if the connection is to be cut."""
        while data:
            with self._changed:
                if self._left == 0 and self._cuts:
                    self._left, self._cuts = None, False
                    return False
                self._changed.wait_for(lambda: self._left != 0)
                piece = data if self._left is None else data[: self._left]
                if self._left is not None:
                    self._left -= len(piece)
                self.passed += len(piece)
            target.sendall(piece)
            data = data[len(piece) :]
        return True


class Proxy:
    """Forwards connections from a port of its own to a port of this machine, until closed."""

    def __init__(self, target_port: int, *, host: str = "127.0.0.1") -> None:
        self.to_broker, self.to_client = Direction(), Direction()
        self._target_port = target_port
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hold(self) -> None:
        """Become a black hole: connections stand, nothing passes either way."""
        self.to_broker.hold()
        self.to_client.hold()

    def release(self) -> None:
        """Pass everything again, what was held first."""
        self.to_broker.release()
        self.to_client.release()

    def close(self) -> None:
        """End all connections and threads."""
        for sock in [self._listener, *self._sockets]:
            _drop(sock)
        self.release()
        for thread in self._threads:
            thread.join(JOIN_SECONDS)

    def _start(self, work: object, *arguments: object) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    broker = socket.create_connection(("127.0.0.1", self._target_port))
                except OSError:
                    client.close()
                    continue
                self._sockets += [client, broker]
                self._start(self._pump, client, broker, self.to_broker)
                self._start(self._pump, broker, client, self.to_client)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, direction: Direction) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                if not direction.pass_on(data, target):
                    break
        # The end of a connection is held back too, or the other side would learn of it.
        direction.wait_until_open()
        _drop(source)
        _drop(target)


def _drop(sock: socket.socket) -> None:
    # shutdown() wakes a thread that waits in accept() or recv(), close() alone does not.
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
