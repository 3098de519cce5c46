# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A socket on which every wait ends at a given time: name resolution, connect, TLS, write, read."""

from __future__ import annotations

import queue
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from math import ceil
from typing import Any, NamedTuple

#: How long the kernel waits for the peer to acknowledge sent bytes.
TCP_USER_TIMEOUT_MILLISECONDS = 15_000
SOCKET_OPTIONS = {socket.TCP_NODELAY: 1, socket.TCP_USER_TIMEOUT: TCP_USER_TIMEOUT_MILLISECONDS}
RECEIVE_BYTES = 65_536
#: How much is buffered before it is written without `flush`.
GATHER_BYTES = 65_536
#: How often a connection that the peer has ended is read for the peer's last bytes.
LAST_READS = 1000


class PeerReadsNothingError(TimeoutError):
    """The peer did not read our bytes in time."""


class Limits(NamedTuple):
    """When the handshake must be over (monotonic), and how long a write may take."""

    connected_by: float
    write_s: float


class BoundedSocket:
    """A TCP connection, with TLS if requested, on which every wait is bounded.

    Written bytes are buffered until `flush` or the next wait. Bytes that arrived and were not consumed yet are
    in `received`, from index `at` on. After any exception except TimeoutError from a wait for bytes, the
    connection is unusable. Errors are those of `socket` and `ssl`.
    """

    def __init__(self, limits: Limits) -> None:
        self.sock: Any = None
        #: False from the first error on.
        self.connected = False
        self.received = bytearray()
        self.at = 0
        #: When bytes were last received, and when they were last sent (monotonic).
        self.heard_at = self.wrote_at = time.monotonic()
        self._limits = limits
        self._out = bytearray()
        self._poll = select.poll()

    def connect(self, host: str, port: int) -> None:
        """Open the TCP connection to the first address of the host that answers."""
        addresses = resolve(host, port, self._limits.connected_by)
        for number, (family, address) in enumerate(addresses):
            # An address that does not answer must leave time for the others.
            share_s = self._connect_in_s() / (len(addresses) - number)
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                for option, value in SOCKET_OPTIONS.items():
                    sock.setsockopt(socket.IPPROTO_TCP, option, value)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.settimeout(share_s)
                sock.connect(address)
            except OSError:
                sock.close()
                if number + 1 == len(addresses):
                    raise
            else:
                self.sock = sock
                return

    def start(self, tls: ssl.SSLContext | None, host: str) -> None:
        """Start the exchange of bytes, over TLS if there is a context."""
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
            # The limit is for the whole handshake, not for each of its reads.
            self.sock.settimeout(self._connect_in_s())
            self.sock.do_handshake()
        self.sock.setblocking(False)
        self.connected = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Buffer bytes, and flush them when there are many."""
        self._out += data
        if len(self._out) >= GATHER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Pass all buffered bytes to the kernel; PeerReadsNothingError if that takes too long."""
        if not self._out:
            return
        deadline = time.monotonic() + self._limits.write_s
        done = 0
        try:
            with memoryview(self._out) as view:
                while done < len(view):
                    done += self._send(view[done:], deadline)
        except OSError:
            # Half a frame may have been sent, so nothing more can follow it.
            self.connected = False
            # The peer's reason for ending the connection may have arrived, such as a TLS alert about our certificate.
            with suppress(BlockingIOError, ConnectionError, ssl.SSLEOFError):
                self._receive_the_last()
            raise
        self._out.clear()
        self.wrote_at = time.monotonic()

    def limit_writing(self, seconds: float) -> None:
        """Limit the duration of every later write."""
        self._limits = self._limits._replace(write_s=seconds)

    def receive(self) -> bool:
        """Read what has arrived; False if nothing has."""
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
        del self.received[: self.at]
        self.at = 0
        self.received += data
        self.heard_at = time.monotonic()
        return True

    def wait(self, deadline: float) -> None:
        """Flush, then wait until something has arrived; TimeoutError at the deadline."""
        self.flush()
        if not self.receive():
            self._wait_for(select.POLLIN, deadline)

    def close(self) -> None:
        """Close at once, with a TLS close alert if that can be sent without waiting; never raises."""
        sock, self.sock = self.sock, None
        self.connected = False
        if sock is None:
            return
        with suppress(OSError, ValueError):
            if isinstance(sock, ssl.SSLSocket):
                # The peer's close alert is not waited for.
                sock.setblocking(False)
                sock.unwrap()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def _receive_the_last(self) -> None:
        # TLS returns one record at a time, which may hold only one short frame.
        for _ in range(LAST_READS):
            if not self.receive():
                return

    def _send(self, data: memoryview, deadline: float) -> int:
        wanted = select.POLLOUT
        try:
            return int(self.sock.send(data))
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLWantReadError:
            wanted = 0
        # A peer that waits until we read would never read our bytes.
        if not self.receive():
            try:
                self._wait_for(select.POLLIN | wanted, deadline)
            except TimeoutError:
                raise PeerReadsNothingError from None
        elif time.monotonic() >= deadline:
            raise PeerReadsNothingError
        return 0

    def _wait_for(self, events: int, deadline: float) -> None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._poll.register(self.sock, events)
        self._poll.poll(ceil(remaining * 1000))

    def _connect_in_s(self) -> float:
        remaining = self._limits.connected_by - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining


def resolve(host: str, port: int, deadline: float) -> list[tuple[int, Any]]:
    """Return the addresses of a host as pairs of family and address; TimeoutError at the deadline.

    A name is looked up in a thread, because the system's resolver cannot be interrupted; a lookup that is too slow
    ends by itself later.
    """
    with suppress(socket.gaierror):
        # A literal address needs no resolver, and most private brokers are named by one.
        return _addresses(host, port, socket.AI_NUMERICHOST)
    answers: queue.SimpleQueue[list[tuple[int, Any]] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(_addresses(host, port, 0))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for the answer
            answers.put(error)

    threading.Thread(target=look_up, name="sourcepulse-resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise NameLookupTimeoutError(host) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


class NameLookupTimeoutError(TimeoutError):
    """The system's resolver did not answer in time."""

    def __init__(self, host: str) -> None:
        super().__init__(f"the name {host} could not be looked up in time")


def _addresses(host: str, port: int, flags: int) -> list[tuple[int, Any]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(int(family), address) for family, _, _, _, address in found]
