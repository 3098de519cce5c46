# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The connection of one client: whether everything sent has left this process, and closing within a bounded time."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from sourcepulse_web.stream.frames import chunk

if TYPE_CHECKING:
    from twisted.web.server import Request

#: What the kernel may hold for a client that does not read; the kernel doubles it for its own needs.
SEND_BUFFER_BYTES = 64 << 10
#: How long a client may take to read the rest before its connection is cut.
CLOSE_SECONDS = 3.0
LAST_CHUNK = b"0\r\n\r\n"


class Wire:
    """Writes past twisted.web, whose chunks and producers would be made again for each of thousands of clients.

    As the pull producer of the transport it hears when the last byte has left. While nothing waits, bytes go to the
    socket at once, without a turn of the reactor.
    """

    __slots__ = ("_chunked", "_drained", "_reactor", "_transport", "closing", "lost", "waiting")

    def __init__(self, request: Request, reactor: Any, first: bytes, drained: Callable[[], None]) -> None:
        """Send status, headers and the first bytes."""
        self.waiting = True
        self.closing = False
        self.lost = False
        self._drained = drained
        self._reactor = reactor
        request.setHeader(b"connection", b"close")
        cast(Any, request.channel).is_stream = True
        request.write(first)
        self._chunked = bool(request.chunked)
        self._transport = cast(Any, request.channel.transport)
        with suppress(OSError, AttributeError):
            self._transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._transport.unregisterProducer()
        registered, self._drained = self._drained, _nothing
        self._transport.registerProducer(self, False)
        self._drained = registered
        self.waiting = True

    @property
    def chunked(self) -> bool:
        """Whether what is sent must be chunks."""
        return self._chunked

    def send(self, data: bytes) -> bool:
        """Send bytes, in chunks where the connection needs them; return whether all have left.

        Not while earlier ones wait.
        """
        sent = self._transport.writeSomeData(data)
        if sent == len(data):
            return True
        self.waiting = True
        self._transport.write(data[sent:] if isinstance(sent, int) and sent > 0 else data)
        return False

    def close(self, last: bytes) -> None:
        """Send the last bytes, and close as soon as they have left, at the latest after CLOSE_SECONDS."""
        if self.closing or self.lost:
            return
        self.closing = True
        self._transport.write(chunk(last) + LAST_CHUNK if self._chunked else last)
        self._transport.unregisterProducer()
        self._transport.loseConnection()
        self._reactor.callLater(CLOSE_SECONDS, self._cut)

    def abort(self) -> None:
        """Cut the connection, and drop what waits to be sent, in the kernel as well."""
        if not self.lost:
            self.closing = True
            self._transport.abortConnection()

    def resumeProducing(self) -> None:
        self.waiting = False
        self._drained()

    def stopProducing(self) -> None:
        self.lost = True

    def _cut(self) -> None:
        if not self.lost:
            self._transport.abortConnection()


def _nothing() -> None:
    pass
