# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""TLS over STOMP where it goes wrong: wrong ports, wrong certificates, each explained without the password."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme

from sourcepulse.brokers import Outcome
from sourcepulse.brokers.bounded_socket import BoundedSocket, Limits
from sourcepulse.errors import BrokerRefusedUsError, BrokerUnavailableError
from support.brokers.activemq import ActiveMqNode
from support.brokers.amqp import publisher as amqp_publisher
from support.brokers.impostor import answering, refusal_of, server, tls_with
from support.brokers.messages import message, outcomes, send_all
from support.brokers.rabbitmq import ADMIN, RabbitNode, free_port
from support.brokers.stomp import LIMIT_SECONDS, bounded, hasty, publisher

SCHEMES = ("stomps+rabbitmq", "stomps+activemq")
#: A loopback address that the certificates do not name, unless a test wants it.
OTHER_HOST = "127.0.0.2"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trust(ca: trustme.CA, tmp_path: Path) -> str:
    """The option that trusts our CA alone."""
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return f"?ca={tmp_path}/ca.pem"


def url_to(scheme: str, hosts: str, options: str = "") -> str:
    return f"{scheme}://{ADMIN[0]}:{ADMIN[1]}@{hosts}{options}"


def refusal(url: str) -> str:
    """Return the error of a publisher that cannot connect."""
    with bounded():
        return refusal_of(hasty(url), ADMIN[1])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_mentions_that_a_certificate_has_expired(scheme: str, ca: trustme.CA, trust: str) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = ca.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
    with server(tls=tls_with(expired)) as port:
        assert "expired" in refusal(url_to(scheme, f"localhost:{port}", trust))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_host_must_show_a_certificate_with_its_own_name(scheme: str, ca: trustme.CA, trust: str) -> None:
    # The second one shows the first one's name, which would do if the names were mixed up.
    with server(tls=tls_with(ca.issue_cert("localhost")), host=OTHER_HOST) as port:
        text = refusal(url_to(scheme, f"localhost:{free_port()},{OTHER_HOST}:{port}", trust))
        assert f"certificate of {OTHER_HOST}:{port} cannot be trusted" in text
    # The other way round it must do though the first host failed.
    with server(tls=tls_with(ca.issue_cert(OTHER_HOST)), host=OTHER_HOST) as port:
        text = refusal(url_to(scheme, f"localhost:{free_port()},{OTHER_HOST}:{port}", trust))
        assert "cannot be trusted" not in text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_names_a_peer_that_ends_tls_after_the_handshake(scheme: str, ca: trustme.CA, trust: str) -> None:
    with server(lambda _: None, tls=tls_with(ca.issue_cert("localhost"))) as port:
        assert f"localhost:{port}" in refusal(url_to(scheme, f"localhost:{port}", trust))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_peer_that_is_silent_after_the_handshake_is_left_at_the_limit(
    scheme: str, ca: trustme.CA, trust: str
) -> None:
    done = threading.Event()
    with server(lambda _: done.wait(10), tls=tls_with(ca.issue_cert("localhost"))) as port:
        text = refusal(url_to(scheme, f"localhost:{port}", trust))
        done.set()
    assert f"does not answer within {LIMIT_SECONDS:g} s" in text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_names_the_protocol_of_another_server_behind_tls(scheme: str, ca: trustme.CA, trust: str) -> None:
    with server(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), tls=tls_with(ca.issue_cert("localhost"))) as port:
        assert "speaks HTTP, not STOMP" in refusal(url_to(scheme, f"localhost:{port}", trust))


def test_the_ports_of_amqp_are_not_ports_for_stomp(rabbitmq: RabbitNode) -> None:
    trust = f"?ca={rabbitmq.ca_file}"
    plain = refusal(url_to("stomp+rabbitmq", f"localhost:{rabbitmq.port}"))
    assert "speaks AMQP 0.9.1, not STOMP" in plain or "is that its STOMP port" in plain
    encrypted = refusal(url_to("stomps+rabbitmq", f"localhost:{rabbitmq.tls_port}", trust))
    assert "speaks AMQP 0.9.1, not STOMP" in encrypted or "is that its STOMP port" in encrypted


def test_the_ports_of_stomp_are_not_ports_for_amqp(rabbitmq: RabbitNode) -> None:
    trust = f"?ca={rabbitmq.ca_file}"
    for url in (
        url_to("amqp", f"localhost:{rabbitmq.stomp_port}"),
        url_to("amqps", f"localhost:{rabbitmq.stomp_tls_port}", trust),
    ):
        with bounded(), pytest.raises(BrokerUnavailableError, match="localhost") as caught:
            amqp_publisher(url, connect_limit_s=LIMIT_SECONDS, call_limit_s=LIMIT_SECONDS).open()
        assert ADMIN[1] not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_the_error_distinguishes_a_port_with_tls_from_one_without(rabbitmq: RabbitNode, activemq: ActiveMqNode) -> None:
    assert "stomps+..." in refusal(url_to("stomp+rabbitmq", f"localhost:{rabbitmq.stomp_tls_port}"))
    # ActiveMQ ends the connection without a word.
    assert "is it without TLS?" in refusal(url_to("stomp+activemq", f"localhost:{activemq.tls_port}"))
    for scheme, port, node in (
        ("stomps+rabbitmq", rabbitmq.stomp_port, rabbitmq),
        ("stomps+activemq", activemq.port, activemq),
    ):
        assert "is that its TLS port" in refusal(url_to(scheme, f"localhost:{port}", f"?ca={node.ca_file}"))


def test_activemq_may_want_our_certificate(activemq: ActiveMqNode, tmp_path: Path) -> None:
    trust = f"?ca={activemq.ca_file}"
    missing = refusal(activemq.client_cert_url(options=trust))
    assert "?cert=" in missing
    trustme.CA().issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "bad"))
    bad = refusal(activemq.client_cert_url(options=f"{trust}&cert={tmp_path}/bad"))
    # The broker's word may get lost when it ends the connection; then all that may be wrong is named.
    assert "certificate" in bad
    ours = f"{trust}&cert={activemq.client_cert_file}&key={activemq.client_key_file}"
    sender = publisher(activemq.client_cert_url(options=ours))
    sender.open()
    assert outcomes(send_all(sender, [message(1)])) == {1: Outcome.DELIVERED}
    sender.close()


def test_a_file_that_cannot_be_used_is_refused_before_connecting() -> None:
    for options in ("?ca=/nonexistent/ca.pem", "?cert=/nonexistent/cert.pem", "?key=/nonexistent/key.pem"):
        with pytest.raises(BrokerRefusedUsError, match=r"cannot be read|no \?cert="):
            hasty(url_to("stomps+activemq", f"localhost:{free_port()}", options)).open()


def write_until_it_fails(sock: BoundedSocket) -> None:
    while True:
        sock.write(bytes(100_000))


def test_all_that_a_broker_said_before_it_ended_the_connection_is_heard(ca: trustme.CA) -> None:
    """Each receipt is a TLS record of its own, and the reason for the end is the last."""
    words = [b"receipt %d" % number for number in range(20)]
    ended = threading.Event()

    def talk(peer: socket.socket) -> None:
        for word in words:
            peer.sendall(word)
        # Without TLS's good-bye, as RabbitMQ does.
        peer.shutdown(socket.SHUT_RDWR)
        ended.set()

    context = ssl.create_default_context()
    ca.configure_trust(context)
    with server(talk, tls=tls_with(ca.issue_cert("127.0.0.1"))) as port:
        sock = BoundedSocket(Limits(time.monotonic() + LIMIT_SECONDS, LIMIT_SECONDS))
        sock.connect("127.0.0.1", port)
        sock.start(context, "127.0.0.1")
        assert ended.wait(LIMIT_SECONDS)
        with pytest.raises((ConnectionError, ssl.SSLEOFError)):
            write_until_it_fails(sock)
        assert bytes(sock.received) == b"".join(words)
        sock.close()
