# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""STOMP 1.2 on a bare socket, for tests that publish as a stranger would or look at the bytes of a frame."""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

WAIT_SECONDS = 10.0
_PIECE_BYTES = 65_536
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", ":": "\\c"}
_ESCAPED = re.compile(r"\\.?")
_PLAIN = {escaped: char for char, escaped in _ESCAPES.items()}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; of a header that came twice, the first counts."""

    command: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class StompWire:
    """One connection, logged in; raises ConnectionError when the broker refuses the login or closes.

    `read` returns ERROR frames like any other, because their meaning differs from broker to broker.
    """

    def __init__(
        self,
        port: int,
        user: tuple[str, str],
        *,
        vhost: str = "/",
        tls: ssl.SSLContext | None = None,
        heartbeat: str = "0,0",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._buffer = b""
        self._receipts = 0
        sock = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        try:
            self.socket = sock if tls is None else tls.wrap_socket(sock, server_hostname="localhost")
            login = {"accept-version": "1.2", "host": vhost, "login": user[0], "passcode": user[1]}
            # Neither broker wants the headers of CONNECT escaped.
            self.send("CONNECT", {**login, "heart-beat": heartbeat, **(headers or {})})
            self.connected = self.read()
        except BaseException:
            sock.close()
            raise
        if self.connected.command != "CONNECTED":
            self.close()
            raise ConnectionError(f"{self.connected.headers.get('message')}: {self.connected.body.decode()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, command: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send a frame as it is; nothing is added but a `content-length` where there is a body."""
        headers = dict(headers or {})
        if body:
            headers.setdefault("content-length", str(len(body)))
        self.socket.sendall(encode(Frame(command, headers, body)))

    def request(self, command: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Frame:
        """Send a frame that asks for a receipt, and give the next RECEIPT or ERROR; messages in between are lost."""
        self._receipts += 1
        self.send(command, {**(headers or {}), "receipt": f"wire-{self._receipts}"}, body)
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            answer = self.read(deadline - time.monotonic())
            if answer.command in ("RECEIPT", "ERROR"):
                return answer

    def read(self, wait_s: float = WAIT_SECONDS) -> Frame:
        """Return the next frame, passing over heartbeats; TimeoutError when none is complete in time."""
        deadline = time.monotonic() + wait_s
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            decoded = decode(self._buffer)
            if decoded is not None:
                frame, used = decoded
                self._buffer = self._buffer[used:]
                return frame
            self._buffer += self._receive(deadline)

    def read_all(self, count: int, wait_s: float = WAIT_SECONDS) -> list[Frame]:
        """Return that many frames."""
        deadline = time.monotonic() + wait_s
        return [self.read(deadline - time.monotonic()) for _ in range(count)]

    def is_silent(self, for_s: float) -> bool:
        """Return whether no frame comes for that long."""
        try:
            self.read(for_s)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        """Close the connection as a program that dies does: without DISCONNECT."""
        self.socket.close()

    def _receive(self, deadline: float) -> bytes:
        remaining = max(deadline - time.monotonic(), 0.001)
        pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
        if not pending and not select.select([self.socket], [], [], remaining)[0]:
            raise TimeoutError(f"no complete frame in time; so far {self._buffer[:200]!r}")
        self.socket.settimeout(remaining)
        try:
            data = self.socket.recv(_PIECE_BYTES)
        finally:
            self.socket.settimeout(WAIT_SECONDS)
        if not data:
            raise ConnectionError(f"the broker closed the connection; so far {self._buffer[:200]!r}")
        return data


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    plain = frame.command in ("CONNECT", "CONNECTED")
    lines = [
        f"{name}:{value}" if plain else f"{_escape(name)}:{_escape(value)}" for name, value in frame.headers.items()
    ]
    return "\n".join([frame.command, *lines, "", ""]).encode() + frame.body + b"\0"


def decode(data: bytes) -> tuple[Frame, int] | None:
    """Return the first frame of `data` and how many bytes it takes, or None while it is incomplete."""
    head, end, _ = data.partition(b"\n\n")
    if not end:
        return None
    command, *lines = head.decode().split("\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if command != "CONNECTED":
            name, value = _unescape(name), _unescape(value)
        headers.setdefault(name, value)
    start = len(head) + len(end)
    length = headers.get("content-length")
    stop = data.find(b"\0", start) if length is None else start + int(length)
    if stop < 0 or len(data) <= stop:
        return None
    if data[stop] != 0:
        raise ValueError(f"no zero byte after the body of {head!r}")
    return Frame(command, headers, data[start:stop]), stop + 1


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(char, char) for char in text)


def _unescape(text: str) -> str:
    # An escape that STOMP does not know is a KeyError, and rightly: the frame is broken.
    return _ESCAPED.sub(lambda match: _PLAIN[match[0]], text)
