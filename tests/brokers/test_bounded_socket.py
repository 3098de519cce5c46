# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The socket below every broker: name resolution, connect, TLS, write and read all end at their time."""

from __future__ import annotations

import socket
import ssl
import threading
import time

import pytest

from sourcepulse.brokers.bounded_socket import (
    BoundedSocket,
    Limits,
    NameLookupTimeoutError,
    PeerReadsNothingError,
    resolve,
)

LIMIT_SECONDS = 0.4
#: A loaded machine is late, but not by that much.
LATE_SECONDS = 5.0


def connected(port: int) -> BoundedSocket:
    sock = BoundedSocket(Limits(time.monotonic() + LIMIT_SECONDS, LIMIT_SECONDS))
    sock.connect("127.0.0.1", port)
    sock.start(None, "")
    return sock


def test_a_resolver_that_never_answers_is_left_behind_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    real = socket.getaddrinfo

    # No real resolver can be made to hang without the rights of root.
    def hanging(*arguments: object, flags: int = 0, **options: object) -> object:
        if not flags & socket.AI_NUMERICHOST:
            answer.wait()
        return real(*arguments, flags=flags, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    begin = time.monotonic()
    try:
        with pytest.raises(NameLookupTimeoutError, match=r"broker\.example could not be looked up"):
            resolve("broker.example", 5672, begin + LIMIT_SECONDS)
    finally:
        answer.set()

    assert LIMIT_SECONDS <= time.monotonic() - begin < LIMIT_SECONDS + LATE_SECONDS


def test_an_unknown_name_is_the_resolvers_own_error() -> None:
    with pytest.raises(socket.gaierror):
        resolve("no-such-host.invalid", 5672, time.monotonic() + 30)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_needs_no_resolver(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))

    assert [place[0] for _, place in resolve(address, 5672, 0.0)] == [address]


def test_a_silent_tls_server_ends_the_handshake_at_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = BoundedSocket(Limits(time.monotonic() + LIMIT_SECONDS, LIMIT_SECONDS))
        sock.connect("127.0.0.1", server.getsockname()[1])
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            sock.start(ssl.create_default_context(), "localhost")
        assert time.monotonic() - begin < LIMIT_SECONDS + LATE_SECONDS
        sock.close()


def test_a_peer_that_reads_nothing_ends_a_write_at_the_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = connected(server.getsockname()[1])
        begin = time.monotonic()
        with pytest.raises(PeerReadsNothingError):
            sock.write(bytes(64 * 1024 * 1024))
        assert time.monotonic() - begin < LIMIT_SECONDS + LATE_SECONDS
        assert not sock.connected
        sock.close()


def wait_for_ever(sock: BoundedSocket, deadline: float) -> None:
    """Waits until the socket raises; a wait that goes on past its deadline fails the test."""
    while time.monotonic() <= deadline + LATE_SECONDS:
        sock.wait(deadline)
    pytest.fail("the wait goes on")


def test_a_peer_that_sends_a_byte_now_and_then_does_not_prolong_a_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = connected(server.getsockname()[1])
        peer, _ = server.accept()
        done = threading.Event()

        def drip() -> None:
            while not done.wait(0.05):
                peer.send(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            deadline = time.monotonic() + LIMIT_SECONDS
            with pytest.raises(TimeoutError):
                wait_for_ever(sock, deadline)
        finally:
            done.set()
            thread.join()
            sock.close()
            peer.close()


def test_what_arrives_is_kept_in_order_and_an_end_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = connected(server.getsockname()[1])
        peer, _ = server.accept()
        peer.sendall(b"hello")
        deadline = time.monotonic() + LATE_SECONDS
        while len(sock.received) < 5:
            sock.wait(deadline)
        sock.at = 2
        peer.sendall(b" world")
        peer.close()
        with pytest.raises(ConnectionResetError):
            wait_for_ever(sock, deadline)
        assert bytes(sock.received[sock.at :]) == b"llo world"
        sock.close()
        sock.close()
