# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Who reads an answer slowly costs little memory, and gets nothing of what stops being public meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from support.events.bugzilla_events import Site
from support.web.rows import push
from support.web.streams import LIMIT_SECONDS, StreamServer, serving

SECRET = "the-quick-brown-secret"
#: Together more than the kernel holds for a connection; the last one has the secret.
EVENTS, EVENT_BYTES = 8, 400_000
#: Slow readers, whose answers are far more than this many bytes together.
READERS, MEMORY_MAX_BYTES = 60, 150 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StreamServer]:
    with serving(tmp_path / "log.db") as server:
        yield server


def ask(server: StreamServer, path: str) -> socket.socket:
    """Ask for a page, and read nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
    connection.settimeout(LIMIT_SECONDS)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    return connection


def rest(connection: socket.socket) -> bytes:
    """Read until it is closed."""
    read = b""
    while True:
        try:
            data = connection.recv(1 << 20)
        except ConnectionResetError:
            return read
        if not data:
            return read
        read += data


def memory(server: StreamServer) -> int:
    """How many bytes the process has now."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


def test_what_waits_of_an_answer_is_dropped_when_something_is_withdrawn(server: StreamServer) -> None:
    site = Site()
    server.append(*[push(number, padding=EVENT_BYTES) for number in range(EVENTS)])
    server.append(site.changed(1, SECRET))
    with closing(ask(server, "/events.json?limit=1000&after=0")) as slow:
        head = slow.recv(100)
        assert b"200" in head
        server.append(site.bug_hidden(1))
        assert SECRET not in server.get("/events.json?limit=1000&after=0").text
        assert SECRET.encode() not in rest(slow)


def test_many_slow_readers_of_large_answers_cost_bounded_memory(server: StreamServer) -> None:
    server.append(*[push(number, padding=EVENT_BYTES) for number in range(EVENTS)])
    size = len(server.get("/events.json?after=0").body)
    assert size * READERS > 180 << 20
    before = memory(server)
    with ExitStack() as stack:
        for _ in range(READERS):
            slow = stack.enter_context(closing(ask(server, "/events.json?after=0")))
            slow.recv(100)
        assert memory(server) - before < MEMORY_MAX_BYTES
        # Who reads gets everything.
        assert len(server.get("/events.json?after=0").body) == size


def test_an_answer_of_many_chunks_arrives_whole_and_the_connection_serves_the_next_request(
    server: StreamServer,
) -> None:
    server.append(*[push(number, padding=EVENT_BYTES) for number in range(EVENTS)])
    request = f"GET /events.json?after=0 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    with closing(ask(server, "/events.json?after=0")) as connection:
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        time.sleep(0.2)
        answers = rest(connection).split(b"HTTP/1.1 200 OK\r\n")[1:]
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1] == server.get("/events.json?after=0").body
