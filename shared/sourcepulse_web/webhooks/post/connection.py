# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A connection to one of the checked addresses of a receiver, on which everything together ends at one deadline."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import Any

from sourcepulse.events.safe_text import short
from sourcepulse_web.webhooks.errors import NoAnswerError, Problem
from sourcepulse_web.webhooks.post.address import Address

RECEIVE_BYTES = 65_536
#: How many addresses of a name are tried, so that each has some time.
ADDRESSES_MAX = 4


class Connection:
    """A TCP connection, with TLS if there is a context.

    Every error is a NoAnswerError in one sentence. What has arrived is in `received`.

    >>> connection = Connection("chat.example.org", deadline=time.monotonic() + 15)
    >>> connection.open(resolve(target, connection.deadline), ssl_context)
    """

    def __init__(self, host: str, deadline: float) -> None:
        self.host = host
        #: Monotonic.
        self.deadline = deadline
        self.received = bytearray()
        self._sock: Any = None
        self._poll = select.poll()

    def open(self, addresses: Sequence[Address], tls: ssl.SSLContext | None) -> None:
        """Connect to the first address that accepts, and start TLS with the name of the host."""
        sock = self._connect(addresses[:ADDRESSES_MAX])
        self._sock = sock
        if tls is not None:
            self._start_tls(sock, tls)
        self._sock.setblocking(False)
        self._poll.register(self._sock)

    def send(self, data: bytes, answered: Callable[[bytearray], bool]) -> None:
        """Send everything, unless the receiver has answered before or reads no more; then its answer is what counts."""
        view = memoryview(data)
        done = 0
        while done < len(view):
            wanted = select.POLLIN | select.POLLOUT
            try:
                done += self._sock.send(view[done:])
                continue
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except (BlockingIOError, ssl.SSLWantWriteError):
                pass
            except OSError:
                # The reason may have arrived as an answer, such as 413.
                return
            if self._wait(wanted, "read the event") & select.POLLOUT:
                continue
            if not self._has_more() or answered(self.received):
                return

    def receive(self, what: str) -> bool:
        """Wait for more bytes; False if the receiver has ended the connection. `what` it does, for the error."""
        while True:
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN, what)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, what)
            except ssl.SSLError as error:
                raise NoAnswerError(f"{self.host} ended TLS: {_ssl_words(error)}", Problem.TLS) from None
            except OSError as error:
                raise NoAnswerError(
                    f"the connection to {self.host} broke: {short(error.strerror or '')}", Problem.CONNECTION
                ) from None
            else:
                self.received += data
                return bool(data)

    def close(self) -> None:
        """Close at once; never raises."""
        sock, self._sock = self._sock, None
        if sock is None:
            return
        with suppress(OSError, ValueError):
            if isinstance(sock, ssl.SSLSocket):
                # The receiver's close alert is not waited for.
                sock.setblocking(False)
                sock.unwrap()
        sock.close()

    def _connect(self, addresses: Sequence[Address]) -> socket.socket:
        failure = "no address"
        for number, (family, address) in enumerate(addresses):
            # An address that does not answer must leave time for the others.
            share_s = self._remaining_s("accept a connection") / (len(addresses) - number)
            sock: socket.socket | None = None
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(share_s)
                sock.connect(address)
                return sock
            except TimeoutError:
                failure = "it does not answer"
            except OSError as error:
                failure = error.strerror or type(error).__name__
            if sock is not None:
                sock.close()
        raise NoAnswerError(f"no connection to {self.host}: {short(failure)}", Problem.CONNECTION)

    def _start_tls(self, sock: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            self._sock = tls.wrap_socket(sock, server_hostname=self.host, do_handshake_on_connect=False)
            # The limit is for the whole handshake, not for each of its reads.
            self._sock.settimeout(self._remaining_s("end the handshake of TLS"))
            self._sock.do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise NoAnswerError(
                f"the certificate of {self.host} is not trusted: {short(error.verify_message)}", Problem.CERTIFICATE
            ) from None
        except TimeoutError:
            raise self._late("end the handshake of TLS") from None
        except ssl.SSLError as error:
            raise NoAnswerError(f"TLS with {self.host} failed: {_ssl_words(error)}", Problem.TLS) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its name is not one"
            raise NoAnswerError(
                f"{self.host} ended the connection during TLS: {short(reason or '')}", Problem.TLS
            ) from None

    def _has_more(self) -> bool:
        """Read what has arrived while something is sent; False if nothing more will."""
        try:
            data = self._sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False
        self.received += data
        return bool(data)

    def _wait(self, events: int, what: str) -> int:
        self._poll.modify(self._sock, events)
        ready = self._poll.poll(ceil(self._remaining_s(what) * 1000))
        return ready[0][1] if ready else 0

    def _remaining_s(self, what: str) -> float:
        remaining_s = self.deadline - time.monotonic()
        if remaining_s <= 0:
            raise self._late(what)
        return remaining_s

    def _late(self, what: str) -> NoAnswerError:
        return NoAnswerError(f"{self.host} did not {what} in time", Problem.TIME)


def _ssl_words(error: ssl.SSLError) -> str:
    # "TLSV13_ALERT_CERTIFICATE_REQUIRED" without the name of a file of OpenSSL.
    return short((error.reason or "the connection ended").replace("_", " ").lower())
