# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The bytes that publish one message: the frames of AMQP 0-9-1 sections 2.3.5 and 4.2, faster than py-amqp.

With py-amqp's `Channel.send_method` and `amqp.Message` the relay needs 1.8 times the CPU for an event (48 instead of
27 microseconds; medians of 20 interleaved rounds of 5,000 events), with its `frame_writer` and cached arguments 1.4
times, and 1.1 times if we also encode the properties.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sourcepulse.brokers import Message

PERSISTENT = 2
SHORT_STRING_MAX_BYTES = 255
#: The bytes of a frame besides its payload: kind, channel and size before it, the end mark after it.
FRAME_OVERHEAD_BYTES = 8

_METHOD, _HEADER, _BODY = 1, 2, 3
_END = b"\xce"
_CLASS_BASIC, _BASIC_PUBLISH = 60, 40
_MANDATORY = 1
#: Content type, delivery mode, message id and type: bits 15, 12, 7 and 5 of the property flags.
_FLAGS = 1 << 15 | 1 << 12 | 1 << 7 | 1 << 5
_TIMESTAMP_FLAG = 1 << 6

_frame_head = struct.Struct(">BHI").pack
_publish_head = struct.Struct(">HHH").pack
_header_head = struct.Struct(">HHQH").pack
_timestamp = struct.Struct(">Q").pack


def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """Return the method frame of a mandatory publish; ValueError if a name is too long."""
    # The reserved short before the names is 0.
    names = _publish_head(_CLASS_BASIC, _BASIC_PUBLISH, 0) + _short_string(exchange) + _short_string(routing_key)
    return _frame(_METHOD, channel, names + bytes((_MANDATORY,)))


def content_frames(channel: int, message: Message, frame_max_bytes: int) -> bytes:
    """Return the header frame and the body frames of a persistent message; ValueError if a property is too long.

    A time before 1970 is left out: AMQP's timestamp cannot express it, and the event itself contains it.
    """
    seconds = int(datetime.fromisoformat(message.time).timestamp())
    flags, timestamp = (_FLAGS | _TIMESTAMP_FLAG, _timestamp(seconds)) if seconds >= 0 else (_FLAGS, b"")
    body = message.body
    header = b"".join(
        (
            _header_head(_CLASS_BASIC, 0, len(body), flags),
            _short_string(message.content_type),
            bytes((PERSISTENT,)),
            _short_string(message.id),
            timestamp,
            _short_string(message.type),
        )
    )
    frames = _frame(_HEADER, channel, header)
    most = frame_max_bytes - FRAME_OVERHEAD_BYTES
    if len(body) <= most:
        # An empty body has no body frame.
        return frames + _frame(_BODY, channel, body) if body else frames
    pieces = [_frame(_BODY, channel, body[begin : begin + most]) for begin in range(0, len(body), most)]
    return b"".join((frames, *pieces))


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _frame_head(kind, channel, len(payload)) + payload + _END


def _short_string(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > SHORT_STRING_MAX_BYTES:
        raise ValueError(f"{text[:60]!r}... has more than {SHORT_STRING_MAX_BYTES} bytes")
    return bytes((len(raw),)) + raw
