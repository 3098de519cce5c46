# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Very many EventSource clients in one process: `python -m bench.web_clients PORT COUNT WAY SENT`.

WAY is `reading`, or `stalled` for clients that never read, and connect again when they are cut. SENT is a file of
doubles: when each event was appended, on the clock that all processes share. It prints a line when all are connected;
after a line of input, the number of events to be expected, it prints what arrived as JSON.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import selectors
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

#: Ten filters that all pass every event of the bench; the gateway cannot know that.
FILTERS: tuple[list[tuple[str, str]], ...] = (
    [],
    [("topic", "#")],
    [("topic", "hg.#")],
    [("topic", "hg.push.#")],
    [("topic", "hg.push.*")],
    [("topic", "hg.push.bench"), ("exclude", "build.#")],
    [("topic", "*.push.bench"), ("topic", "bugzilla.#"), ("topic", "build.finished.#")],
    [("type", "hg.push.v1")],
    [("source", "hg://bench/try")],
    [("topic", "#.bench"), ("type", "hg.#"), ("source", "hg://bench/try"), ("exclude", "test.#")],
)
#: What precedes the number of an event in its bytes, and how many digits that has.
MARK, DIGITS = b'"n":"', 8
CONNECT_SECONDS = 120.0
LATE_SECONDS = 30.0
RECONNECT_SECONDS = 3.0
STALLED_RECEIVE_BYTES = 4_096
READ_BYTES = 1 << 18
TURN_SECONDS = 0.2


class Connection:
    """One client."""

    def __init__(self, port: int, number: int, *, receive_bytes: int | None = None) -> None:
        self.number = number
        self.count = 0
        self.last = -1
        self.carry = b""
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.connect(("127.0.0.1", port))
        query = urlencode(FILTERS[number % len(FILTERS)])
        self.socket.sendall(f"GET /events?{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())

    def greeted(self) -> None:
        """Wait for the first frame."""
        self.socket.settimeout(CONNECT_SECONDS)
        while b"event: hello" not in self.carry:
            data = self.socket.recv(READ_BYTES)
            assert data, self.carry
            self.carry += data
        self.carry = b""
        self.socket.setblocking(False)

    def read(self, data: bytes) -> tuple[int, int]:
        """Count what is in the bytes; return the first and the last number that is new."""
        text = self.carry + data
        found = text.count(MARK)
        if found and text.rfind(MARK) + len(MARK) + DIGITS > len(text):
            found -= 1
        # A mark with all its digits is longer, so that none is counted twice.
        self.carry = text[-(len(MARK) + DIGITS - 1) :]
        first = self.last + 1
        self.count += found
        self.last += found
        if found:
            begin = text.rfind(MARK, 0, len(text) - DIGITS) + len(MARK)
            assert int(text[begin : begin + DIGITS]) == self.last, "an event is missing or came twice"
        return first, self.last


def read_all(port: int, count: int, sent: memoryview) -> None:
    """Connect, read until all has come, and print the figures."""
    ready = selectors.DefaultSelector()
    connections = []
    for number in range(count):
        connections.append(Connection(port, number))
        connections[-1].greeted()
        ready.register(connections[-1].socket, selectors.EVENT_READ, connections[-1])
    ready.register(sys.stdin, selectors.EVENT_READ, None)
    print("connected", flush=True)
    spent: Counter[int] = Counter()
    expected, done, deadline = -1, 0, 0.0
    while expected < 0 or (done < count and time.monotonic() < deadline):
        for key, _ in ready.select(TURN_SECONDS):
            if key.data is None:
                expected = int(sys.stdin.readline())
                deadline = time.monotonic() + LATE_SECONDS
                ready.unregister(sys.stdin)
                continue
            data = key.fileobj.recv(READ_BYTES)  # type: ignore[union-attr]
            assert data, "a client that reads was cut"
            first, last = key.data.read(data)
            now = time.monotonic()
            for number in range(first, last + 1):
                spent[int((now - sent[number]) * 1_000)] += 1
        done = sum(1 for each in connections if each.count >= expected) if expected >= 0 else 0
    print(json.dumps({"whole": sum(each.count == expected for each in connections), "spent_ms": spent}), flush=True)


def stall(port: int, count: int) -> None:
    """Connect, never read, and connect again when cut."""
    ready = selectors.EpollSelector()
    cut = 0

    def connect(number: int) -> None:
        each = Connection(port, number, receive_bytes=STALLED_RECEIVE_BYTES)
        poll.register(each.socket.fileno(), 0)
        held[each.socket.fileno()] = each

    poll = select.epoll()
    held: dict[int, Connection] = {}
    waiting: list[tuple[float, int]] = []
    for number in range(count):
        connect(number)
    print("connected", flush=True)
    ready.register(sys.stdin, selectors.EVENT_READ)
    while not ready.select(0):
        for descriptor, _ in poll.poll(TURN_SECONDS):
            each = held.pop(descriptor)
            poll.unregister(descriptor)
            each.socket.close()
            cut += 1
            waiting.append((time.monotonic() + RECONNECT_SECONDS, each.number))
        while waiting and waiting[0][0] <= time.monotonic():
            connect(waiting.pop(0)[1])
    print(json.dumps({"cut": cut}), flush=True)


def main(port: int, count: int, way: str, sent_path: Path) -> None:
    """Run the clients of one process."""
    with sent_path.open("rb") as file:
        sent = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("d")
    if way == "stalled":
        stall(port, count)
    else:
        read_all(port, count, sent)
    # The sockets of thousands of clients close with the process.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
