# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Decodes deliveries from AMQP frames, whatever their publisher wrote into properties and headers.

py-amqp decodes all properties, and raises on text that is not UTF-8 and on tables nested too deeply: such a message
would block the queue. Here only the content type is read, and for messages sent directly to a queue the routing key
that they were published under.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from amqp import method_framing
from amqp.exceptions import UnexpectedFrame
from amqp.serialization import loads

from sourcepulse.brokers.amqp.transport import FRAME_END
from sourcepulse.brokers.dead_letters import KEY_HEADER
from sourcepulse.events.safe_text import ascii_line

_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
#: Class basic, method deliver (AMQP 0-9-1 section 1.8.3.9).
_DELIVER = struct.pack(">HH", 60, 60)
_CONTENT_TYPE_FLAG = 0x8000
_CONTENT_ENCODING_FLAG = 0x4000
_HEADERS_FLAG = 0x2000
#: The kinds of the three frames of a delivery, and the bytes at their ends.
_SOUND = ((_METHOD, _HEADER, _BODY), (FRAME_END, FRAME_END, FRAME_END))
_frame_head = struct.Struct(">BHI")
_header_head = struct.Struct(">HHQH")
_tag = struct.Struct(">Q")


class Inbound(NamedTuple):
    """One delivery; bytes of the key that are not UTF-8 are replaced by U+FFFD."""

    consumer_tag: str
    delivery_tag: int
    redelivered: bool
    routing_key: str
    content_type: str
    body: bytes


class _Partial:
    """A delivery of which some frames have not arrived yet."""

    def __init__(self, payload: bytes) -> None:
        consumer_tag, at = _short_bytes(payload, len(_DELIVER))
        (self.delivery_tag,) = _tag.unpack_from(payload, at)
        at += _tag.size
        self.redelivered = bool(payload[at] & 1)
        exchange, at = _short_bytes(payload, at + 1)
        routing_key, _ = _short_bytes(payload, at)
        self.consumer_tag = consumer_tag.decode("utf-8", "replace")
        self.routing_key = routing_key.decode("utf-8", "replace")
        self.content_type = ""
        self._came_straight = not exchange
        self.expected = _HEADER
        self._missing = 0
        self._pieces: list[bytes] = []

    def add(self, payload: bytes) -> bool:
        """Add the next frame and return whether it was the last."""
        if self.expected == _HEADER:
            _, _, self._missing, flags = _header_head.unpack_from(payload)
            at = _header_head.size
            if flags & _CONTENT_TYPE_FLAG:
                # The content type is always the first of the properties.
                content_type, at = _short_bytes(payload, at)
                self.content_type = ascii_line(content_type.decode("latin-1"))
            if self._came_straight and flags & _HEADERS_FLAG:
                if flags & _CONTENT_ENCODING_FLAG:
                    _, at = _short_bytes(payload, at)
                self.routing_key = _key_header(payload, at) or self.routing_key
            self.expected = _BODY
        else:
            self._pieces.append(payload)
            self._missing -= len(payload)
        return self._missing <= 0

    def inbound(self) -> Inbound:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        return Inbound(
            self.consumer_tag, self.delivery_tag, self.redelivered, self.routing_key, self.content_type, body
        )


def take_whole(buffer: bytearray, at: int) -> tuple[int, Inbound, int] | None:
    """Return channel and delivery at an index and the index after it, if all of it has arrived in three sound frames.

    Nearly every delivery has; reading it frame by frame takes twice the CPU.
    """
    begin = at + _frame_head.size
    if not buffer.startswith(_DELIVER, begin):
        return None
    try:
        _, channel, size = _frame_head.unpack_from(buffer, at)
        end = begin + size
        header_kind, header_channel, size = _frame_head.unpack_from(buffer, end + 1)
        header = end + 1 + _frame_head.size
        header_end = header + size
        body_kind, body_channel, size = _frame_head.unpack_from(buffer, header_end + 1)
        body = header_end + 1 + _frame_head.size
        body_end = body + size
        ends = buffer[end], buffer[header_end], buffer[body_end]
        _, _, body_size, _ = _header_head.unpack_from(buffer, header)
    except (struct.error, IndexError):
        return None
    kinds = buffer[at], header_kind, body_kind
    if (kinds, ends) != _SOUND or not channel == header_channel == body_channel or body_size != size:
        return None
    delivery = _Partial(bytes(buffer[begin:end]))
    delivery.add(bytes(buffer[header:header_end]))
    delivery.add(bytes(buffer[body:body_end]))
    return channel, delivery.inbound(), body_end + 1


def frame_handler(connection: Any, callback: Callable[..., object]) -> Callable[[tuple[int, int, bytes]], bool]:
    """Return py-amqp's callback for frames: deliveries go to `Channel.deliver`, all others to py-amqp's handler."""
    others = method_framing.frame_handler(connection, callback)
    partial: dict[int, _Partial] = {}

    def on_frame(frame: tuple[int, int, bytes]) -> bool:
        kind, number, payload = frame
        delivery = partial.get(number)
        if delivery is None:
            if kind != _METHOD or not payload.startswith(_DELIVER):
                return bool(others(frame))
            connection.bytes_recv += 1
            partial[number] = _Partial(payload)
            return False
        if kind == _HEARTBEAT:
            return bool(others(frame))
        if kind != delivery.expected:
            raise UnexpectedFrame(f"frame {kind} instead of {delivery.expected}")
        connection.bytes_recv += 1
        if not delivery.add(payload):
            return False
        del partial[number]
        connection.channels[number].deliver(delivery.inbound())
        return True

    return on_frame


def _key_header(payload: bytes, at: int) -> str:
    """Return the key that a requeued dead letter was published under, empty if there is no readable one."""
    try:
        ((headers,), _) = loads("F", payload, at)
        key = headers.get(KEY_HEADER, "")
    except Exception:  # noqa: BLE001 - a stranger's headers can make py-amqp raise anything
        return ""
    return key if isinstance(key, str) else ""


def _short_bytes(payload: bytes, at: int) -> tuple[bytes, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end], end
