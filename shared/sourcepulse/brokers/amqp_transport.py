# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The socket below py-amqp: every wait ends at a given time, and bytes go in large pieces both ways.

py-amqp's own transport asks the kernel three times for each frame and once for each message, and its time-outs
hold for one of these calls, so that a peer that sends a byte now and then is waited for without end.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from contextlib import suppress
from math import ceil
from typing import Any, NamedTuple

from amqp import transport

#: The kernel gives up on bytes that the peer does not acknowledge; py-amqp's default of 1 s is too short.
TCP_USER_TIMEOUT_MILLISECONDS = 15_000
SOCKET_OPTIONS = {socket.TCP_NODELAY: 1, socket.TCP_USER_TIMEOUT: TCP_USER_TIMEOUT_MILLISECONDS}
RECEIVE_BYTES = 65_536
#: So much is gathered before it is written without being asked for.
GATHER_BYTES = 65_536

#: Method, header, body, heartbeat (AMQP 0-9-1 section 4.2.3, with the heartbeat of its errata).
FRAME_KINDS = frozenset({1, 2, 3, 8})
FRAME_END = 0xCE
#: Larger frames are not asked for by us, nor by any broker's default (128 KiB).
FRAME_MAX_BYTES = 64 * 1024 * 1024
_FRAME_HEADER = struct.Struct(">BHI")


class NotAmqpError(OSError):
    """The peer's bytes are no AMQP frame; `raw` holds the first of them."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(f"no AMQP frame: {raw!r}")
        self.raw = raw


class PeerReadsNothingError(TimeoutError):
    """The peer did not take our bytes in time."""


class Limits(NamedTuple):
    """When the handshake must be over (monotonic), and how long a write may take."""

    connected_by: float
    write_s: float


class BoundedTransport(transport.TCPTransport):  # type: ignore[misc] # amqp has no types
    """A TCP connection, with TLS if a context is given, on a socket that never blocks.

    Written bytes are gathered; `flush` or the next read hands them on. After any exception but TimeoutError
    from a read the connection is of no more use.
    """

    def __init__(self, host: str, limits: Limits, tls: ssl.SSLContext | None, tls_host: str) -> None:
        super().__init__(host)
        self._limits = limits
        self._tls = tls
        self._tls_host = tls_host
        self._out = bytearray()
        self._in = bytearray()
        #: Where the first frame begins that was not taken out of `_in`.
        self._at = 0
        self._poll = select.poll()

    def write(self, data: Any) -> None:
        """Gather bytes, and hand them on when they are many."""
        # They are a view of a buffer that py-amqp uses again: this copies them.
        self._out += data
        if len(self._out) >= GATHER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand everything gathered to the kernel; PeerReadsNothingError if that takes too long."""
        if not self._out:
            return
        deadline = time.monotonic() + self._limits.write_s
        done = 0
        try:
            with memoryview(self._out) as view:
                while done < len(view):
                    done += self._send(view[done:], deadline)
        except OSError:
            # Half a frame may be on its way; nothing more can follow it.
            self.connected = False
            # Why the peer ended the connection may have arrived, such as TLS's word on our certificate.
            with suppress(BlockingIOError, ConnectionError, ssl.SSLEOFError):
                self._receive()
            raise
        self._out.clear()

    def limit_writing(self, seconds: float) -> None:
        """Let a write take no longer from now on."""
        self._limits = self._limits._replace(write_s=seconds)

    def read_frame(self, deadline: float = 0.0) -> tuple[int, int, bytes]:
        """Give the next frame as kind, channel and payload; TimeoutError if it is not complete at the deadline.

        What has come of it is kept for the next call.
        """
        while (frame := self._take()) is None:
            self.flush()
            if not self._receive():
                self._wait(select.POLLIN, deadline)
        return frame

    def last_frame(self) -> tuple[int, int, bytes] | None:
        """Give the next frame of what has arrived, though nothing can be sent any more; None if there is none."""
        if (frame := self._take()) is None:
            self._receive()
            frame = self._take()
        return frame

    def _take(self) -> tuple[int, int, bytes] | None:
        buffer, at = self._in, self._at
        have = len(buffer) - at
        if have and buffer[at] not in FRAME_KINDS:
            raise NotAmqpError(bytes(buffer[at : at + 16]))
        if have < _FRAME_HEADER.size + 1:
            return None
        kind, channel, size = _FRAME_HEADER.unpack_from(buffer, at)
        begin = at + _FRAME_HEADER.size
        end = begin + size
        if size > FRAME_MAX_BYTES:
            raise NotAmqpError(bytes(buffer[at : at + 16]))
        if len(buffer) <= end:
            return None
        if buffer[end] != FRAME_END:
            raise NotAmqpError(bytes(buffer[at : at + 16]))
        self._at = end + 1
        return kind, channel, bytes(buffer[begin:end])

    def _receive(self) -> bool:
        """Take in what has arrived; False if nothing has."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            self.connected = False
            raise
        if not data:
            self.connected = False
            raise ConnectionResetError("the broker closed the connection")
        del self._in[: self._at]
        self._at = 0
        self._in += data
        return True

    def _send(self, data: memoryview, deadline: float) -> int:
        wanted = select.POLLOUT
        try:
            return int(self.sock.send(data))
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLWantReadError:
            wanted = 0
        # A peer that waits for us to read would never read itself.
        if not self._receive():
            try:
                self._wait(select.POLLIN | wanted, deadline)
            except TimeoutError:
                raise PeerReadsNothingError from None
        elif time.monotonic() >= deadline:
            raise PeerReadsNothingError
        return 0

    def _wait(self, events: int, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._poll.register(self.sock, events)
        self._poll.poll(ceil(remaining * 1000))

    # -- what py-amqp calls while it connects

    def _connect(self, host: str, port: int, _timeout: float | None) -> None:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            # One address that swallows everything must leave time for the others.
            share_s = self._remaining_s() / (len(addresses) - number)
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(share_s)
                sock.connect(address)
            except OSError:
                sock.close()
                if number + 1 == len(addresses):
                    raise
            else:
                self.sock = sock
                return

    def _set_socket_options(self, _settings: object) -> None:
        # py-amqp would also set each option that it knows to the value just read, which Linux now and then refuses.
        for option, value in SOCKET_OPTIONS.items():
            self.sock.setsockopt(socket.IPPROTO_TCP, option, value)

    def _setup_transport(self) -> None:
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._tls_host, do_handshake_on_connect=False)
            # The whole of it, not each of its reads.
            self.sock.settimeout(self._remaining_s())
            self.sock.do_handshake()
        self.sock.setblocking(False)

    def _write(self, data: bytes) -> None:
        self.write(data)

    def _shutdown_transport(self) -> None:
        # The good-bye of TLS is sent; the peer's is not waited for.
        if isinstance(self.sock, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                self.sock.setblocking(False)
                self.sock.unwrap()

    def _remaining_s(self) -> float:
        remaining = self._limits.connected_by - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining
