# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Messages of a hostile client that may publish: keys, properties, headers, bodies, numbers."""

from __future__ import annotations

import json
import random
import socket
import sqlite3
import struct
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import amqp
from amqp.exceptions import AMQPError

from sourcepulse.events.wire import CONTENT_TYPE, encode
from support.brokers.broker_activemq import ActiveMqBroker
from support.brokers.broker_file import FileBroker
from support.brokers.broker_rabbitmq import RabbitBroker, StompRabbitBroker
from support.brokers.broker_under_test import BrokerUnderTest
from support.brokers.embedded_log import push_event
from support.brokers.rabbitmq import ADMIN, VHOST
from support.brokers.stomp_wire import Frame, StompWire
from support.brokers.stomp_wire import encode as stomp_frame

#: What a stranger does is confirmed, or refused, within this.
CONFIRM_SECONDS = 10.0
FRAME_MAX_BYTES = 131_072
SOURCE = "hg://host/repo"

_KEYS = (b"hg.push.repo", b"hg.\xff", b"hg.push.\xc3\xa4", b"x", b"hg.push." + b"y" * 240, b"", b"hg..push", b"a/b,c")
#: Not thousands: each is a topic of ActiveMQ, which keeps them all and runs out of memory.
_RANDOM_KEYS = tuple(b"hg." + random.Random(number).randbytes(number % 40) for number in range(200))
_NUMBERS = (
    "99999999999999999999", "09223372036854775808", "09223372036854775807", "00000001000000000000",
    "00000000000000000000", "1", 7, None, "-0000000000000000001", "0" * 19 + "\u0663",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 7, -1.5, 10**30, "", "x" * 300, "y" * 100_000, "\n\x1b[31m\u202e", "\ud800", [], {}, [[[]]], "hg://a",
    "hg.push.v1", "bugzilla.bug.closed.v1", "system.event.withheld.v1", "2026-11-22T10:59:21.482913Z",
)  # fmt: skip
_NAMES = (
    "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "epoch", "sequence", "typesequence",
    "replayed", "data", "specversion",
)  # fmt: skip
_STOMP_NAMES = (
    "ack", "message-id", "subscription", "redelivered", "routing-key", "original-destination", "content-type",
    "event-id", "type", "priority", "correlation-id", "reply-to", "JMSXGroupID", "transformation", "amq-msg-type",
    "persistent", "x", "", "a:b\n",
)  # fmt: skip


class Hostile(NamedTuple):
    """One message; what a broker has no place for is left out there."""

    key: bytes
    properties: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


def hostile(chance: random.Random) -> Hostile:
    """Make any message."""
    return Hostile(
        key=chance.choice(_KEYS if chance.random() < 0.7 else _RANDOM_KEYS),
        properties=_properties(chance),
        headers=_stomp_headers(chance),
        body=_body(chance),
    )


def _body(chance: random.Random) -> bytes:
    event = push_event(chance.choice((1, 2, chance.randrange(1, 10**15))), epoch=chance.choice(("one", "two")))
    document: dict[str, Any] = json.loads(encode(event))
    kind = chance.randrange(10)
    if kind < 4:
        for _ in range(chance.randrange(1, 4)):
            name = chance.choice(_NAMES)
            document[name] = chance.choice(_NUMBERS if name.endswith("sequence") else _VALUES)
    if kind == 4:
        document = {"_meta": {**document, "exchange": "x", "routing_key": "y", "serializer": "json", "sent": "z"},
                    "payload": chance.choice(_VALUES)}  # fmt: skip
    body = json.dumps(document).encode()
    if kind == 5:
        return chance.randbytes(chance.randrange(60))
    if kind == 6:
        depth = chance.choice((100, 990, 5_000, 100_000))
        deep = b"[" * depth + b"]" * depth
        return body.replace(b'"data": {', b'"deep": ' + deep + b', "data": {')
    if kind == 7:
        damaged = bytearray(body)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        return bytes(damaged)
    if kind == 8:
        return body.replace(b'"subject"', b'"n": ' + b"9" * chance.choice((10, 5_000)) + b', "subject"')
    return body


def _short(raw: bytes) -> bytes:
    return bytes((min(len(raw), 255),)) + raw[:255]


def _field(chance: random.Random, depth: int) -> bytes:
    kind = chance.randrange(8)
    if depth and kind < 3:
        inner = _field(chance, depth - 1)
        if kind == 0:
            return b"A" + struct.pack(">I", len(inner)) + inner
        inner = _short(b"k") + inner
        return b"F" + struct.pack(">I", len(inner)) + inner
    return chance.choice(
        (
            b"S" + struct.pack(">I", 3) + b"\xff\xfe\xfd",
            b"T" + struct.pack(">Q", 2**64 - 1),
            b"T" + struct.pack(">Q", 2**62),
            b"D" + struct.pack(">Bi", 255, -1),
            b"l" + struct.pack(">q", -1),
            b"V",
            b"x" + struct.pack(">I", 2) + b"\x00\xff",
            b"t\x07",
            b"S" + struct.pack(">I", 90_000) + b"h" * 90_000,
            b"?" + chance.randbytes(4),
        )
    )


def _nested(chance: random.Random) -> bytes:
    value = b"V"
    for _ in range(chance.choice((10, 500, 3_000))):
        value = b"F" + struct.pack(">I", len(value) + 2) + b"\x01k" + value
        if len(value) > FRAME_MAX_BYTES - 1_000:
            break
    return value


def _properties(chance: random.Random) -> bytes:
    """Return the flags and the properties of a content header, with any bytes in them."""
    flags, values = 0, []
    texts = {15: "content type", 14: "encoding", 10: "correlation", 9: "reply to", 7: "message id", 5: "type", 3: "app"}
    for bit in range(15, 1, -1):
        if chance.random() < 0.6:
            continue
        if bit in texts:
            value = _short(chance.choice((CONTENT_TYPE.encode(), b"gzip", b"\xff\xfe", chance.randbytes(255), b"")))
        elif bit == 13:
            table = _short(b"k\xff") + (_nested(chance) if chance.random() < 0.3 else _field(chance, 8))
            value = struct.pack(">I", len(table)) + table
        elif bit in (12, 11):
            value = bytes((chance.choice((1, 2)) if bit == 12 else chance.randrange(256),))
        elif bit == 6:
            value = struct.pack(">Q", chance.choice((0, 2**62, 2**64 - 1)))
        else:
            # An expiration or a user that is not ours the broker refuses; the cluster id is any text.
            continue
        flags |= 1 << bit
        values.append(value)
    return struct.pack(">H", flags) + b"".join(values)


def _stomp_headers(chance: random.Random) -> list[tuple[bytes, bytes]]:
    headers = []
    for _ in range(chance.randrange(5)):
        value = chance.choice((b"", b"1", b"\xff\xfe", b"x" * 9_000, b"hg.push.other", b"/topic/x", b"\\q", b"true"))
        headers.append((chance.choice(_STOMP_NAMES).encode(), value))
    if chance.random() < 0.1:
        headers += [(b"h%d" % number, b"v" * 9_000) for number in range(chance.choice((10, 34)))]
    return headers


class Stranger(ABC):
    """A client that publishes hostile messages; one that a broker refuses ends the connection, and the next begins."""

    @abstractmethod
    def publish(self, message: Hostile) -> bool:
        """Publish and wait; return whether the broker took it."""

    @abstractmethod
    def close(self) -> None:
        """Leave."""


class _AmqpStranger(Stranger):
    def __init__(self, broker: RabbitBroker) -> None:
        self._broker = broker
        self._connection: Any = None

    def publish(self, message: Hostile) -> bool:
        try:
            if self._connection is None:
                port = self._broker.node.port
                self._connection = amqp.Connection(f"127.0.0.1:{port}", *ADMIN, virtual_host=VHOST)
                self._connection.connect()
                self._channel = self._connection.channel()
                self._channel.confirm_select()
                self._answers: list[int] = []
                self._channel.events["basic_ack"].add(lambda tag, _multiple: self._answers.append(tag))
            exchange = self._broker.exchange.encode()
            method = struct.pack(">HHH", 60, 40, 0) + _short(exchange) + _short(message.key) + b"\0"
            header = struct.pack(">HHQ", 60, 0, len(message.body)) + message.properties
            pieces = [message.body[at : at + 100_000] for at in range(0, len(message.body), 100_000)]
            frames = [(1, method), (2, header), *((3, piece) for piece in pieces)]
            number = self._channel.channel_id
            raw = b"".join(struct.pack(">BHI", kind, number, len(data)) + data + b"\xce" for kind, data in frames)
            self._connection.transport.write(raw)
            self._answers.clear()
            while not self._answers:
                self._connection.drain_events(timeout=CONFIRM_SECONDS)
        except (AMQPError, OSError):
            self.close()
            return False
        return True

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.collect()


class _StompStranger(Stranger):
    def __init__(self, port: int, login: tuple[str, str], vhost: str, destination: bytes, separator: str) -> None:
        self._port, self._login, self._vhost = port, login, vhost
        self._destination = destination
        self._separator = separator
        self._wire: StompWire | None = None

    def publish(self, message: Hostile) -> bool:
        try:
            if self._wire is None:
                self._wire = StompWire(self._port, self._login, vhost=self._vhost)
            lines = [b"destination:" + self._destination + message.key.translate(None, b"\r\n:\\\0"), b"receipt:r"]
            lines += [b"persistent:true", b"content-length:%d" % len(message.body)]
            lines += [name.translate(None, b"\r\n:\0") + b":" + value for name, value in message.headers]
            self._wire.socket.sendall(b"SEND\n" + b"\n".join(lines) + b"\n\n" + message.body + b"\0")
            if self._wire.read(CONFIRM_SECONDS).command == "RECEIPT":
                return True
        except (OSError, ValueError, KeyError):
            pass
        self.close()
        return False

    def close(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            # It may have more to say than we read, and would close by force.
            with suppress(OSError):
                wire.socket.sendall(stomp_frame(Frame("DISCONNECT")))
                wire.socket.shutdown(socket.SHUT_WR)
            wire.close()


class _FileStranger(Stranger):
    def __init__(self, broker: FileBroker) -> None:
        self._exchange = broker.exchange
        self._db = sqlite3.connect(Path(broker.url.removeprefix("file://")), timeout=CONFIRM_SECONDS)

    def publish(self, message: Hostile) -> bool:
        texts = "CAST(? AS TEXT)", "?"
        key, kind = (texts[each % 2] for each in (message.key[-1:] > b"m", message.body[-1:] > b"m"))
        body: object = message.body
        if message.body[:1] == b"{" and len(message.headers) == 3:
            body = message.body.decode("utf-8", "replace")
        with self._db:
            self._db.execute(
                f"INSERT INTO messages (at, exchange, routing_key, content_type, body) "
                f"VALUES (unixepoch(), ?, {key}, {kind}, ?)",
                (self._exchange, message.key, message.properties[2:40], body),
            )
        return True

    def close(self) -> None:
        self._db.close()


def stranger_at(broker: BrokerUnderTest) -> Stranger:
    """Return a stranger to this test's exchange."""
    match broker:
        case FileBroker():
            return _FileStranger(broker)
        case ActiveMqBroker():
            destination = f"/topic/VirtualTopic.{broker.exchange}.".encode()
            login = (broker.plain.user, broker.plain.password)
            return _StompStranger(broker.node.port, login, "/", destination, ".")
        case StompRabbitBroker() | RabbitBroker():
            return _AmqpStranger(broker)
    raise AssertionError(broker)
