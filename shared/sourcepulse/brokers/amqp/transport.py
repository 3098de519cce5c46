# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The transport below py-amqp: AMQP's frames on a socket on which every wait is bounded, read and written in bulk.

py-amqp's own transport makes three system calls for each frame it reads and one for each message it writes, and its
timeouts are per system call, so a peer that sends single bytes keeps it waiting forever.
"""

from __future__ import annotations

import ssl
import struct
from typing import Any

from amqp import transport

from sourcepulse.brokers.bounded_socket import BoundedSocket, Limits
from sourcepulse.brokers.network.connection import ForeignBytesError

#: Method, header, body, heartbeat (AMQP 0-9-1 section 4.2.3, with the heartbeat of its errata).
FRAME_KINDS = frozenset({1, 2, 3, 8})
FRAME_END = 0xCE
#: Neither we nor any broker's default (128 KiB) negotiates larger frames.
FRAME_MAX_BYTES = 64 * 1024 * 1024
_FRAME_HEADER = struct.Struct(">BHI")


class BoundedTransport(transport.TCPTransport):  # type: ignore[misc] # amqp has no types
    """A TCP connection, with TLS if a context is given, on a socket that never blocks.

    Written bytes are buffered until `flush` or the next read. After any exception except TimeoutError from a read,
    the connection is unusable.
    """

    def __init__(self, host: str, limits: Limits, tls: ssl.SSLContext | None, tls_host: str) -> None:
        super().__init__(host)
        self._tls = tls
        self._tls_host = tls_host
        self._socket = BoundedSocket(limits)

    def write(self, data: Any) -> None:
        """Buffer bytes, and flush them when there are many."""
        # `data` is a view of a buffer that py-amqp reuses, and the socket copies it.
        self._socket.write(data)

    def flush(self) -> None:
        """Pass all buffered bytes to the kernel; PeerReadsNothingError if that takes too long."""
        try:
            self._socket.flush()
        finally:
            self.connected = self._socket.connected

    def limit_writing(self, seconds: float) -> None:
        """Limit the duration of every later write."""
        self._socket.limit_writing(seconds)

    def read_frame(self, deadline: float = 0.0) -> tuple[int, int, bytes]:
        """Return the next frame as kind, channel and payload; TimeoutError if it is not complete at the deadline.

        A part that has arrived is kept for the next call.
        """
        while (frame := self._take()) is None:
            try:
                self._socket.wait(deadline)
            finally:
                self.connected = self._socket.connected
        return frame

    def arrived(self) -> tuple[bytearray, int]:
        """Return the bytes that have arrived, and the index of the first that was not read yet."""
        return self._socket.received, self._socket.at

    def skip_to(self, at: int) -> None:
        """Count the bytes before an index as read."""
        self._socket.at = at

    def last_frame(self) -> tuple[int, int, bytes] | None:
        """Return the next frame that has arrived, even if nothing can be sent any more; None if there is none."""
        if (frame := self._take()) is None:
            self._socket.receive()
            frame = self._take()
        return frame

    def _take(self) -> tuple[int, int, bytes] | None:
        buffer, at = self._socket.received, self._socket.at
        have = len(buffer) - at
        if have and buffer[at] not in FRAME_KINDS:
            raise ForeignBytesError(bytes(buffer[at : at + 16]))
        if have < _FRAME_HEADER.size + 1:
            return None
        kind, channel, size = _FRAME_HEADER.unpack_from(buffer, at)
        begin = at + _FRAME_HEADER.size
        end = begin + size
        if size > FRAME_MAX_BYTES:
            raise ForeignBytesError(bytes(buffer[at : at + 16]))
        if len(buffer) <= end:
            return None
        if buffer[end] != FRAME_END:
            raise ForeignBytesError(bytes(buffer[at : at + 16]))
        self._socket.at = end + 1
        return kind, channel, bytes(buffer[begin:end])

    # -- what py-amqp calls while it connects and closes

    def _connect(self, host: str, port: int, _timeout: float | None) -> None:
        self._socket.connect(host, port)
        self.sock = self._socket.sock

    def _set_socket_options(self, _settings: object) -> None:
        # py-amqp would set each option that it knows to the value it has just read, which Linux sometimes refuses.
        pass

    def _setup_transport(self) -> None:
        self._socket.start(self._tls, self._tls_host)
        self.sock = self._socket.sock

    def _write(self, data: bytes) -> None:
        self.write(data)

    def close(self) -> None:
        """Close at once; never raises."""
        self._socket.close()
        self.sock = None
        self.connected = False
