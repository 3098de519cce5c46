# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Servers that are no broker, at a port of loopback, and what a client of ours says of them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import trustme

from sourcepulse.brokers import Publisher, Subscription
from sourcepulse.errors import BrokerUnavailableError

PATIENCE_SECONDS = 10.0


def tls_with(certificate: trustme.LeafCert, client_ca: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the context of a server that may require a certificate of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        client_ca.configure_trust(context)
    return context


def receive_some(peer: socket.socket) -> None:
    peer.recv(1000)


@contextmanager
def server(
    talk: Callable[[socket.socket], object] = receive_some,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> Iterator[int]:
    """Serve one connection after the other with a function, and return the port; for 127.0.0.1, also at ::1."""
    first = socket.create_server((host, 0))
    port = int(first.getsockname()[1])
    listeners = [first]
    if host == "127.0.0.1":
        with suppress(OSError):
            listeners.append(socket.create_server(("::1", port), family=socket.AF_INET6))

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peer.settimeout(PATIENCE_SECONDS)
                with peer, suppress(OSError), tls.wrap_socket(peer, server_side=True) if tls else peer as opened:
                    talk(opened)

    threads = [threading.Thread(target=serve, args=(listener,), daemon=True) for listener in listeners]
    for thread in threads:
        thread.start()
    try:
        yield port
    finally:
        for listener in listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in threads:
            thread.join(PATIENCE_SECONDS + 5)


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    """Return what a server does that answers every client the same."""

    def talk(peer: socket.socket) -> None:
        peer.recv(8)
        peer.sendall(answer)

    return talk


@contextmanager
def recorder() -> Iterator[tuple[int, list[bytes]]]:
    """Listen on localhost, and keep what each connection sends first."""
    heard: list[bytes] = []
    with server(lambda peer: heard.append(peer.recv(65_536))) as port:
        yield port, heard


def refusal_of(piece: Publisher | Subscription, password: str) -> str:
    """Return the error of a piece that cannot connect, after checking that the password is nowhere in it."""
    with pytest.raises(BrokerUnavailableError) as caught:
        piece.open()
    assert password not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
    piece.abandon()
    return str(caught.value)
