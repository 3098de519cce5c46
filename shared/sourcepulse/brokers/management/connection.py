# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One HTTP request and its answer, over a socket on which every wait ends at one deadline."""

from __future__ import annotations

import http.client
import io
import ssl
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sourcepulse.brokers.bounded_socket import BoundedSocket, Limits
from sourcepulse.brokers.network.connection import BrokerConnection, ForeignBytesError
from sourcepulse.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sourcepulse.brokers.url import BrokerUrl

#: A list of 500 queues with all their figures takes about 1 MB.
ANSWER_MAX_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 65_536
_BEGINNING = b"HTTP/"
_NOT_HTTP = "is not an HTTP server; the management API has a port of its own, usually 15672, or 15671 with TLS"


class Answer(NamedTuple):
    """The answer to a request; `at` is the server's time of it, in seconds since 1970, None if it named none."""

    status: int
    is_json: bool
    body: bytes
    at: float | None


class HttpConnection(BrokerConnection):
    """A connection for one request to the first host that accepts it; all of it ends within the limit."""

    _protocol = "HTTP"
    _tls_scheme = "https"

    def __init__(self, url: BrokerUrl, *, limit_s: float) -> None:
        super().__init__(url, connect_limit_s=limit_s / len(url.hosts), call_limit_s=limit_s)
        self._deadline = time.monotonic() + limit_s
        self._socket: BoundedSocket | None = None

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request and return its answer, whatever its status; redirects are not followed.

        BrokerError for an answer that is too large.
        """
        assert self._socket is not None  # noqa: S101 - the caller opened the connection
        http_client = http.client.HTTPConnection("localhost")
        http_client.sock = cast("Any", _Adapter(self._socket, self._deadline))
        try:
            http_client.request(method, path, body=body, headers=dict(headers))
            self._check_beginning()
            answer = http_client.getresponse()
            raw = self._read(answer)
        except http.client.HTTPException as error:
            text = f"{self.host} answers what is not HTTP: {type(error).__name__}; check the port in the URL"
            raise self._unavailable(OSError(text)) from None
        except OSError as error:
            raise self._unavailable(error, f"within {self._call_limit_s:g} s") from None
        kind = answer.headers.get_content_type()
        return Answer(answer.status, kind == "application/json", raw, _moment(answer.getheader("Date")))

    def flush(self) -> None:
        """Do nothing: a request is flushed as it is sent."""

    def abandon(self) -> None:
        """Drop the connection at once; never raises."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    close = abandon

    def _connect(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        now = time.monotonic()
        limits = Limits(min(self._deadline, now + self._connect_limit_s), self._call_limit_s)
        self._socket = BoundedSocket(limits)
        try:
            self._socket.connect(host, port)
            self._socket.start(tls, host)
        except (OSError, UnicodeError) as error:
            plain_error = error if isinstance(error, OSError) else OSError("its name is not valid")
            raise self._unavailable(plain_error, f"within {self._connect_limit_s:g} s") from None

    def _check_beginning(self) -> None:
        socket = self._socket
        assert socket is not None  # noqa: S101 - the caller opened the connection
        while len(socket.received) < len(_BEGINNING):
            socket.wait(self._deadline)
        if not socket.received.startswith(_BEGINNING):
            raise ForeignBytesError(bytes(socket.received[:16]))

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        pieces, size = [], 0
        while piece := answer.read(_PIECE_BYTES):
            size += len(piece)
            if size > ANSWER_MAX_BYTES:
                raise BrokerError(f"the management API at {self.host} answers with more than {ANSWER_MAX_BYTES} bytes")
            pieces.append(piece)
        if answer.length:
            raise http.client.IncompleteRead(b"", answer.length)
        return b"".join(pieces)

    def _what_it_speaks(self, raw: bytes) -> str:
        said = super()._what_it_speaks(raw)
        return said if said.startswith("speaks TLS") else _NOT_HTTP


class _Adapter:
    """What http.client needs of a socket."""

    def __init__(self, socket: BoundedSocket, deadline: float) -> None:
        self._socket = socket
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._socket.write(data)
        self._socket.flush()

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Received(self._socket, self._deadline))

    def close(self) -> None:
        """Do nothing: http.client closes before the answer is read, as it may with a real socket."""


class _Received(io.RawIOBase):
    """The bytes that arrive, as a file."""

    def __init__(self, socket: BoundedSocket, deadline: float) -> None:
        self._socket = socket
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        socket = self._socket
        try:
            while socket.at == len(socket.received):
                socket.wait(self._deadline)
                if time.monotonic() >= self._deadline:
                    raise TimeoutError
        except ConnectionResetError:
            # The end of an answer that names no length.
            return 0
        piece = bytes(socket.received[socket.at : socket.at + len(buffer)])
        socket.at += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def _moment(text: str | None) -> float | None:
    with suppress(ValueError, TypeError):
        return parsedate_to_datetime(text or "").timestamp()
    return None
