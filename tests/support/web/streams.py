# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A process that serves the streams of a log, and a client that reads them as a browser would, over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.events.event import Event
from support.forked_module import module_server
from support.web.event_source import EventSourceParser, MessageEvent
from support.web.gateway import EXCHANGE, Answer, publish

LIMIT_SECONDS = 30.0
READ_BYTES = 1 << 16
PROGRAM = "support.web.stream_server"

Query = Sequence[tuple[str, str]]


class StreamServer:
    """A process of `support.web.stream_server` on a log, which several may share."""

    def __init__(self, log: Path, *, clients_max: int = 100) -> None:
        self.log = log
        self._input: int | None
        (read, self._input), (output, write) = os.pipe(), os.pipe()
        try:
            arguments = (str(log), "0", str(clients_max))
            process = module_server().start(PROGRAM, arguments, fds=(read, write, 2), environ=os.environ)
        finally:
            os.close(read)
            os.close(write)
        assert process is not None
        self._process = process
        with open(output, encoding="ascii") as lines:
            self.port = int(lines.readline())

    @property
    def pid(self) -> int:
        return self._process.pid

    def append(self, *events: Event) -> None:
        """Append events in one commit."""
        publish(self.log, events)

    def get(self, path: str, *, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        """Return the whole answer to a request, of a stream as well once it ends."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_SECONDS)) as connection:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    @property
    def place(self) -> str:
        """The id of the end of the log."""
        with closing(LogReader(self.log, EXCHANGE)) as reader:
            return f"{reader.token}.{reader.bounds().end}"

    def listen(self, query: Query = (), **options: Any) -> StreamClient:
        """Open a stream."""
        return StreamClient(self.port, query, **options)

    def stop(self) -> int:
        """End it in good order, and return its exit code."""
        self._end_input()
        return self._process.wait(LIMIT_SECONDS)

    def kill(self) -> None:
        """Kill it in the middle of whatever it does."""
        self._process.kill()
        self._process.wait(LIMIT_SECONDS)
        self._end_input()

    def _end_input(self) -> None:
        if self._input is not None:
            os.close(self._input)
            self._input = None


@contextmanager
def serving(log: Path, **options: Any) -> Iterator[StreamServer]:
    """Serve the streams of a log."""
    server = StreamServer(log, **options)
    try:
        yield server
    finally:
        server.kill()


class StreamClient:
    """One connection to `/events`; what it dispatched is in `events`, control frames too."""

    def __init__(
        self,
        port: int,
        query: Query = (),
        *,
        last_id: str | None = None,
        parser: EventSourceParser | None = None,
        version: str = "1.1",
        receive_bytes: int | None = None,
        headers: Sequence[str] = (),
    ) -> None:
        self.parser = parser or EventSourceParser()
        self.events: list[MessageEvent] = []
        self.ended = False
        self._raw = b""
        self._socket = socket.socket()
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(LIMIT_SECONDS)
        self._socket.connect(("127.0.0.1", port))
        lines = [f"GET /events?{urlencode(query)} HTTP/{version}", f"Host: 127.0.0.1:{port}", *headers]
        if last_id is None and self.parser.last_event_id:
            last_id = self.parser.reconnect()
        if last_id is not None:
            lines.append(f"Last-Event-ID: {last_id}")
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.head = self._read_head()
        self.is_chunked = "transfer-encoding: chunked" in self.head.lower()
        self._decode()

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    @property
    def unfinished(self) -> bytes:
        """What came of a chunk that is not whole yet."""
        return self._raw

    @property
    def numbers(self) -> list[int]:
        """The numbers of the pushes that `onmessage` got."""
        return [message["data"]["number"] for message in self.messages]

    @property
    def messages(self) -> list[Any]:
        """What `onmessage` got, decoded."""
        return [json.loads(event.data) for event in self.events if event.type == "message"]

    def named(self, name: str) -> list[Any]:
        """What the listeners of a name got, decoded."""
        return [json.loads(event.data) for event in self.events if event.type == name]

    def until(self, holds: Callable[[StreamClient], object]) -> StreamClient:
        """Read until a condition holds, and fail if it does not in time or the stream ends before."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not holds(self):
            assert not self.ended, f"the stream ended: {[event.type for event in self.events]}"
            assert time.monotonic() < deadline, f"it does not come: {[event.type for event in self.events]}"
            self.read()
        return self

    def to_the_end(self) -> StreamClient:
        """Read until the gateway closes."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not self.ended:
            assert time.monotonic() < deadline, f"it does not end: {[event.type for event in self.events]}"
            self.read()
        return self

    def read(self, max_bytes: int = READ_BYTES) -> None:
        """Read what is there, or wait for the next bytes."""
        try:
            data = self._socket.recv(max_bytes)
        except ConnectionResetError:
            data = b""
        if not data:
            self.ended = True
            return
        self._raw += data
        self._decode()

    def close(self) -> None:
        """Go away without a word."""
        self._socket.close()

    def _read_head(self) -> str:
        while b"\r\n\r\n" not in self._raw:
            data = self._socket.recv(READ_BYTES)
            assert data, f"no answer: {self._raw!r}"
            self._raw += data
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        return head.decode()

    def _decode(self) -> None:
        if not self.is_chunked:
            data, self._raw = self._raw, b""
            self.events += self.parser.feed(data)
            return
        while b"\r\n" in self._raw:
            size, _, rest = self._raw.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            assert rest[length : length + 2] == b"\r\n"
            self.events += self.parser.feed(rest[:length])
            self._raw = rest[length + 2 :]
            self.ended = self.ended or length == 0
