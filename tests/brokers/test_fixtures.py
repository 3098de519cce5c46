# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""What other tests take for granted of the private brokers and of the bare STOMP client: rights, TLS, full stores."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.brokers.activemq import ActiveMqNode
from support.brokers.messages import SMALL_MESSAGE_BYTES
from support.brokers.rabbitmq import ADMIN, KEEPER, NARROW, READER, RELAY, VHOST, RabbitNode
from support.brokers.stomp_wire import Frame, StompWire, decode, encode

BODY = b"two\n\nlines and a zero byte \0."
SILENCE_SECONDS = 0.5


@dataclass(frozen=True)
class Stomp:
    """One of the two brokers, as a STOMP client sees it."""

    port: int
    tls_port: int
    ca_file: Path
    send_to: str
    #: What a consumer named `sub.…` reads from, and the headers that it needs.
    read_from: str
    read_with: dict[str, str]
    dead: str

    def wire(self, user: tuple[str, str] = ADMIN) -> StompWire:
        return StompWire(self.port, user, vhost=VHOST)

    def send(self, user: tuple[str, str], destination: str) -> Frame:
        with self.wire(user) as wire:
            return wire.request("SEND", {"destination": destination, "persistent": "true"}, BODY)

    def subscribe(self, wire: StompWire, destination: str) -> Frame:
        headers = {"destination": destination, "id": "1", "ack": "client-individual", **self.read_with}
        return wire.request("SUBSCRIBE", headers)


@pytest.fixture
def stomp_of_rabbitmq(rabbitmq: RabbitNode) -> Stomp:
    return Stomp(
        port=rabbitmq.stomp_port,
        tls_port=rabbitmq.stomp_tls_port,
        ca_file=rabbitmq.ca_file,
        send_to="/exchange/{exchange}/{key}",
        read_from="/exchange/{exchange}/fixture.#",
        read_with={"x-queue-name": "sub.fixture", "auto-delete": "true"},
        dead="/queue/sub.fixture.dead",
    )


@pytest.fixture
def stomp_of_activemq(activemq: ActiveMqNode) -> Stomp:
    return Stomp(
        port=activemq.port,
        tls_port=activemq.tls_port,
        ca_file=activemq.ca_file,
        send_to="/topic/VirtualTopic.{exchange}.{key}",
        read_from="/queue/Consumer.fixture.VirtualTopic.{exchange}.fixture.>",
        read_with={},
        dead="/queue/sub.fixture.dead",
    )


@pytest.fixture(params=["stomp_of_rabbitmq", "stomp_of_activemq"])
def stomp(request: pytest.FixtureRequest) -> Stomp:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Stomp)
    return found


def test_what_a_relay_sends_a_reader_gets_byte_by_byte(stomp: Stomp) -> None:
    source, target = stomp.read_from.format(exchange="sourcepulse"), stomp.send_to
    with stomp.wire(READER) as reader, stomp.wire(RELAY) as relay:
        assert stomp.subscribe(reader, source).command == "RECEIPT"
        headers = {"destination": target.format(exchange="sourcepulse", key="fixture.a"), "note": "a:b\\c\nd"}
        assert relay.request("SEND", headers, BODY).command == "RECEIPT"
        got = reader.read()
        assert (got.command, got.body, got.headers["note"]) == ("MESSAGE", BODY, "a:b\\c\nd")
        assert reader.request("ACK", {"id": got.headers["ack"]}).command == "RECEIPT"
        assert reader.is_silent(SILENCE_SECONDS)


@pytest.mark.parametrize(
    ("user", "exchange", "key"),
    [
        (RELAY, "sourcepulse-restricted", "fixture.a"),
        (READER, "sourcepulse", "fixture.a"),
        (NARROW, "sourcepulse", "system.a"),
    ],
)
def test_what_a_user_may_not_send_is_refused(stomp: Stomp, user: tuple[str, str], exchange: str, key: str) -> None:
    target = stomp.send_to.format(exchange=exchange, key=key)
    assert stomp.send(ADMIN, target).command == "RECEIPT"
    assert stomp.send(user, target).command == "ERROR"


def test_the_narrow_user_may_send_about_hg(stomp: Stomp) -> None:
    assert stomp.send(NARROW, stomp.send_to.format(exchange="sourcepulse", key="hg.a")).command == "RECEIPT"


def test_a_reader_may_not_read_restricted_events_but_the_admin_may(stomp: Stomp) -> None:
    source = stomp.read_from.format(exchange="sourcepulse-restricted")
    with stomp.wire(READER) as reader, stomp.wire() as admin:
        assert stomp.subscribe(reader, source).command == "ERROR"
        assert stomp.subscribe(admin, source).command == "RECEIPT"


def test_the_keeper_may_put_messages_aside(stomp: Stomp) -> None:
    with stomp.wire(KEEPER) as wire:
        assert stomp.subscribe(wire, stomp.dead).command == "RECEIPT"
        wire.send("SEND", {"destination": stomp.dead}, BODY)
        assert wire.read().body == BODY


def test_a_wrong_password_is_refused(stomp: Stomp) -> None:
    with pytest.raises(ConnectionError, match=r"(?i)refused|invalid"):
        stomp.wire((READER[0], "wrong"))


def test_tls_is_by_the_nodes_own_ca(stomp: Stomp) -> None:
    tls = ssl.create_default_context(cafile=str(stomp.ca_file))
    with StompWire(stomp.tls_port, READER, vhost=VHOST, tls=tls) as wire:
        assert wire.connected.headers["version"] == "1.2"


@pytest.fixture(scope="module")
def small_activemq(activemq: ActiveMqNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ActiveMqNode]:
    """A broker of a small store."""
    node = ActiveMqNode(tmp_path_factory.mktemp("small"), store_limit_bytes=1_000_000)
    try:
        node.start()
        yield node
    finally:
        node.close()


def test_the_client_certificate_port_of_activemq_wants_one(activemq: ActiveMqNode) -> None:
    tls = ssl.create_default_context(cafile=str(activemq.ca_file))
    with pytest.raises(OSError, match=r"(?i)certificate|closed|reset"):
        StompWire(activemq.client_cert_port, READER, tls=tls)
    tls.load_cert_chain(activemq.client_cert_file, activemq.client_key_file)
    StompWire(activemq.client_cert_port, READER, tls=tls).close()


def test_what_was_stored_is_there_after_a_kill(small_activemq: ActiveMqNode) -> None:
    with StompWire(small_activemq.port, READER) as wire:
        headers = {"destination": "/queue/sub.killed", "persistent": "true"}
        assert wire.request("SEND", headers, b"kept").command == "RECEIPT"
    small_activemq.kill()
    small_activemq.start()
    with StompWire(small_activemq.port, READER) as wire:
        wire.send("SUBSCRIBE", {"destination": "/queue/sub.killed", "id": "1", "ack": "client-individual"})
        assert wire.read().body == b"kept"


def test_a_frozen_activemq_answers_when_it_is_thawed(small_activemq: ActiveMqNode) -> None:
    with StompWire(small_activemq.port, READER) as wire:
        small_activemq.freeze()
        try:
            wire.send("BEGIN", {"transaction": "1", "receipt": "late"})
            assert wire.is_silent(SILENCE_SECONDS)
        finally:
            small_activemq.thaw()
        assert wire.read().headers["receipt-id"] == "late"


def test_a_full_store_and_a_large_frame_are_refused(small_activemq: ActiveMqNode) -> None:
    with StompWire(small_activemq.port, ADMIN) as wire:
        headers = {"destination": "/queue/sub.full", "persistent": "true"}
        answers = [wire.request("SEND", headers, bytes(40_000)) for _ in range(40)]
        assert answers[0].command == "RECEIPT"
        assert answers[-1].command == "ERROR"
        assert "Persistent store is Full" in answers[-1].headers["message"]
    with StompWire(small_activemq.small_port, ADMIN) as wire:
        with suppress(ConnectionError):
            wire.send("SEND", headers, bytes(SMALL_MESSAGE_BYTES + 1))
        assert "maximum frame size" in wire.read().headers["message"]


def test_frames_are_read_as_they_were_written() -> None:
    frame = Frame("SEND", {"a": "1:2\\n\n", "content-length": "3"}, b"\0\n\0")
    data = encode(frame)
    assert decode(data + b"\nMESS") == (frame, len(data))
    assert all(decode(data[:length]) is None for length in range(len(data)))
