# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A real receiver of webhooks on loopback, over HTTP or HTTPS, that answers as badly as it is asked to.

>>> with Receiver() as receiver:
...     receiver.then(Reply(status=422, body=b"no such bug"), times=3)
...     receiver.usual = Reply(status=204)
...     # POST to receiver.url
...     receiver.wait_for(4)
...     assert receiver.requests[0].headers["webhook-id"] == receiver.requests[3].headers["webhook-id"]
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus
from pathlib import Path
from typing import Any

import trustme

WAIT_SECONDS = 30.0
#: A client that writes nothing for this long is no part of a test.
READ_SECONDS = 60.0
HEAD_MAX_BYTES = 1024 * 1024
DRIP_SECONDS = 0.05
FLOOD_LINE = b"x-flood: " + b"f" * 100 + b"\r\n"


class Manner(Enum):
    """How an answer is written."""

    WHOLE = auto()
    #: The length of the body is announced, half of it is written, and the connection is closed.
    CUT = auto()
    #: The connection is closed without a byte.
    CLOSE = auto()
    #: The connection is reset without a byte.
    RESET = auto()
    #: Nothing is written, and the connection stays open until the receiver stops.
    NEVER = auto()
    #: The status line, and then a header line every 50 ms, without end.
    DRIP_HEADERS = auto()
    #: The status line, and then header lines as fast as they are read, without end.
    FLOOD_HEADERS = auto()
    #: One header line that does not end.
    ENDLESS_LINE = auto()
    #: A byte of the body every 50 ms, without end and without an announced length.
    DRIP_BODY = auto()
    #: A body as fast as it is read, without end and without an announced length.
    FLOOD_BODY = auto()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer; `raw` replaces all of it with other bytes, after which the connection is closed."""

    status: int = 204
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    delay_s: float = 0.0
    manner: Manner = Manner.WHOLE
    #: Statuses of answers before this one, such as 100 or 103.
    interim: tuple[int, ...] = ()
    raw: bytes | None = None


def redirect(to: str, status: int = 302) -> Reply:
    """Return the answer that sends a client elsewhere."""
    return Reply(status=status, headers=(("location", to),))


def later(seconds: float | str, status: int = 503) -> Reply:
    """Return a refusal with Retry-After, in seconds or as an HTTP date."""
    return Reply(status=status, headers=(("retry-after", str(seconds)),))


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived; the names of the headers in small letters."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    #: Every header line, in order.
    lines: tuple[str, ...]
    peer: Any
    #: The name that the client asked for in TLS; None without TLS or without a name.
    asked_name: str | None


class Authority:
    """A certificate authority of a test, and certificates from it.

    >>> authority = Authority(tmp_path)
    >>> Receiver(tls=authority.server("hooks.example.org"))  # its clients trust `authority.file`
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "authority.pem"
        self._ca = trustme.CA()
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str, **options: Any) -> ssl.SSLContext:
        """Return what a server of these names shows; `not_after` is an option of trustme."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names, **options).configure_cert(context)
        return context


@dataclass
class Receiver:
    """A server with a thread for each connection; each connection is one request.

    The next answer is the first of `then`, or what `rule` returns for the request, or `usual`.
    """

    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    usual: Reply = field(default_factory=Reply)
    #: Decides by the request; None for the usual answer.
    rule: Callable[[Request], Reply | None] = lambda _: None
    path: str = "/in"

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._next: deque[Reply] = deque()
        self._requests: list[Request] = []
        self._connections = 0
        self._open: set[socket.socket] = set()
        self._asked_names: dict[int, str | None] = {}
        self._stopped = threading.Event()
        self._listener: socket.socket | None = None
        if self.tls is not None:
            self.tls.sni_callback = self._keep_name
        self.start()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The URL of this receiver, by its address."""
        return self.url_of(f"[{self.host}]" if ":" in self.host else self.host)

    def url_of(self, host: str) -> str:
        """Return the URL of this receiver under a name."""
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}{self.path}"

    @property
    def allowed(self) -> str:
        """What `allow` of the settings must contain for `url`."""
        return f"{self.host}:{self.port}" if ":" not in self.host else f"[{self.host}]:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order in which they were complete."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many connections were accepted, also those without a request."""
        with self._changed:
            return self._connections

    def then(self, *replies: Reply, times: int = 1) -> None:
        """Answer the next requests so, in this order."""
        with self._changed:
            self._next.extend(replies * times)

    def wait_for(self, count: int, seconds: float = WAIT_SECONDS) -> list[Request]:
        """Wait until this number of requests arrived, and return them all."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self._requests) >= count, seconds)
            assert arrived, f"{len(self._requests)} of {count} requests arrived within {seconds} s"
            return list(self._requests)

    def start(self) -> None:
        """Listen, after `stop` at the same port again."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._stopped = threading.Event()
        self._listener = socket.create_server((self.host, self.port), family=family, backlog=512)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener, self._stopped), daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection."""
        self._stopped.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._changed:
            open_now = list(self._open)
        for sock in open_now:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                sock, peer = listener.accept()
            except OSError:
                return
            with self._changed:
                self._connections += 1
                self._open.add(sock)
            threading.Thread(target=self._serve, args=(sock, peer, stopped), daemon=True).start()

    def _serve(self, plain: socket.socket, peer: Any, stopped: threading.Event) -> None:
        sock = plain
        # What a client does to its connection is the client's affair, and seen there.
        with suppress(OSError, ValueError):
            plain.settimeout(READ_SECONDS)
            if self.tls is not None:
                sock = self.tls.wrap_socket(plain, server_side=True)
                with self._changed:
                    self._open.add(sock)
            request = self._read(sock, peer)
            if request is not None:
                self._answer(sock, self._decide(request), stopped)
        with self._changed:
            self._open -= {plain, sock}
        sock.close()

    def _keep_name(self, sock: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        assert isinstance(sock, ssl.SSLSocket)
        with self._changed:
            self._asked_names[sock.fileno()] = name

    def _read(self, sock: socket.socket, peer: Any) -> Request | None:
        with self._changed:
            asked_name = self._asked_names.pop(sock.fileno(), None)
        data = b""
        while b"\r\n\r\n" not in data and len(data) < HEAD_MAX_BYTES:
            more = sock.recv(65_536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(body) < length:
            more = sock.recv(65_536)
            if not more:
                return None
            body += more
        method, path, _ = first.split(" ", 2)
        return Request(
            at=time.time(),
            method=method,
            path=path,
            headers=headers,
            body=body,
            lines=tuple(lines),
            peer=peer,
            asked_name=asked_name,
        )

    def _decide(self, request: Request) -> Reply:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            if self._next:
                return self._next.popleft()
        return self.rule(request) or self.usual

    def _answer(self, sock: socket.socket, reply: Reply, stopped: threading.Event) -> None:
        stopped.wait(reply.delay_s)
        if reply.manner is Manner.CLOSE:
            return
        if reply.manner is Manner.RESET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            return
        if reply.manner is Manner.NEVER:
            stopped.wait()
            return
        if reply.raw is not None:
            sock.sendall(reply.raw)
            return
        for status in reply.interim:
            sock.sendall(f"HTTP/1.1 {status} Wait\r\nx-interim: yes\r\n\r\n".encode())
        sock.sendall(_status_line(reply.status))
        endless = _ENDLESS.get(reply.manner)
        if endless is not None:
            before, again, pause_s = endless
            sock.sendall(before)
            while not stopped.wait(pause_s):
                sock.sendall(again)
            return
        head = [*reply.headers, ("content-length", str(len(reply.body))), ("connection", "close")]
        body = reply.body[: len(reply.body) // 2] if reply.manner is Manner.CUT else reply.body
        sock.sendall("".join(f"{name}: {value}\r\n" for name, value in head).encode() + b"\r\n" + body)


def _status_line(status: int) -> bytes:
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Odd"
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


#: What is written once, what again and again, and the pause between.
_ENDLESS = {
    Manner.DRIP_HEADERS: (b"", b"x-drip: d\r\n", DRIP_SECONDS),
    Manner.FLOOD_HEADERS: (b"", FLOOD_LINE * 100, 0.0),
    Manner.ENDLESS_LINE: (b"x-long: ", b"l" * 10_000, 0.0),
    Manner.DRIP_BODY: (b"content-type: text/plain\r\n\r\n", b"d", DRIP_SECONDS),
    Manner.FLOOD_BODY: (b"content-type: text/plain\r\n\r\n", b"f" * 65_536, 0.0),
}
