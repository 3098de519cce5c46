# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read version 2 of subunit: packets with a checksum, anywhere in other output.

A packet is the signature, 16 bits of flags, its length, then what the flags name in this order: time, test, tags, type
and content of a file, route; then a CRC-32. The two highest bits of a number encode its own length.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from sourcepulse_buildbot.test_reports.cases import ERROR, FAILED, PASSED, SKIPPED, ReportBuilder
from sourcepulse_buildbot.test_reports.message_parts import Message
from sourcepulse_buildbot.test_reports.numbers import NS_PER_SECOND
from sourcepulse_buildbot.test_reports.subunit.details import OPEN_TESTS_MAX, UNEXPECTED, UNFINISHED, Details

#: Each broken packet may cost the checksum of 4 MiB, so their number is limited.
BROKEN_PACKETS_MAX = 1_000

_SIGNATURE = 0xB3
_SIGNATURE_BYTE = b"\xb3"
_VERSION_MASK, _VERSION = 0xF000, 0x2000
_TEST, _ROUTE, _TIME = 0x0800, 0x0400, 0x0200
_TAGS, _FILE, _TYPE, _UNUSED = 0x0080, 0x0040, 0x0020, 0x0008
_STATUS_MASK = 0x0007
_EXISTS, _IN_PROGRESS = 1, 2
_OUTCOMES = {3: PASSED, 4: FAILED, 5: SKIPPED, 6: FAILED, 7: SKIPPED}
_UNEXPECTED_SUCCESS = 4
#: Signature, flags, one byte of length and the checksum.
_LEAST_BYTES = 8
_MOST_BYTES = 4 * 1024 * 1024 - 1
_CHECKSUM_BYTES = 4

_FIXTURE = re.compile(r"setUp(?:Class|Module) \((?P<of>[^()]+)\)")


class _BrokenError(Exception):
    """The bytes are not a packet."""


class _Packet(NamedTuple):
    status: int
    test: str | None
    route: str | None
    time_ns: int | None
    file_type: str
    file_name: str
    content: bytes


class _Open:
    """A test that was mentioned and has no outcome yet."""

    def __init__(self) -> None:
        self.is_running = False
        self.started_ns: int | None = None
        self.details = Details()


def has_packets(data: bytes) -> bool:
    """Return whether the data contains a complete packet."""
    return any(True for packet in _packets(data) if packet is not None)


def read_packets(data: bytes, builder: ReportBuilder) -> None:
    """Add the tests of a stream of packets."""
    open_tests: dict[tuple[str | None, str], _Open] = {}
    announced: set[tuple[str | None, str]] = set()
    for packet in _packets(data):
        if packet is None:
            builder.problem("some packets of the report are broken and left out")
        elif packet.test is not None:
            key = (packet.route, packet.test)
            if packet.status == _EXISTS:
                announced.add(key)
            elif packet.status:
                announced.discard(key)
                if packet.status in _OUTCOMES and (fixture := _FIXTURE.fullmatch(packet.test)):
                    # If the setup of a class failed, its tests did not run, and a case of its own says why.
                    below = f"{fixture['of']}."
                    announced = {each for each in announced if not each[1].startswith(below)}
            _read(packet, packet.test, open_tests, builder)
    for (_, name), test in open_tests.items():
        if test.is_running:
            builder.add(name, ERROR, message=_message(test) or UNFINISHED)
    if announced:
        builder.problem(f"{len(announced)} tests are announced and did not run")


def _read(packet: _Packet, name: str, open_tests: dict[tuple[str | None, str], _Open], builder: ReportBuilder) -> None:
    is_news = packet.status in _OUTCOMES or packet.status == _IN_PROGRESS or packet.content
    if not is_news:
        # The test only exists, which is announced of all tests before the first one runs.
        return
    key = (packet.route, name)
    if key not in open_tests and len(open_tests) >= OPEN_TESTS_MAX and packet.status not in _OUTCOMES:
        return
    test = open_tests.setdefault(key, _Open())
    if packet.file_type.startswith("text/"):
        test.details.add(packet.file_name, packet.file_type, packet.content)
    if packet.status == _IN_PROGRESS:
        test.is_running, test.started_ns = True, packet.time_ns
    elif packet.status in _OUTCOMES:
        del open_tests[key]
        outcome = _OUTCOMES[packet.status]
        message: str | Message = _message(test) or (UNEXPECTED if packet.status == _UNEXPECTED_SUCCESS else "")
        known = packet.time_ns is not None and test.started_ns is not None
        builder.add(
            name,
            outcome,
            duration_ns=(packet.time_ns or 0) - (test.started_ns or 0) if known else None,
            message=None if outcome == PASSED else message,
        )


def _message(test: _Open) -> Message | None:
    message = test.details.message()
    return message if message.text else None


def _packets(data: bytes) -> Iterator[_Packet | None]:
    """Yield the packets; None for something that looks like a packet but is broken.

    A packet may begin at the end of the previous one and after a line break.
    """
    position = broken = 0
    while position < len(data) and broken < BROKEN_PACKETS_MAX:
        if data[position] == _SIGNATURE:
            try:
                packet, position = _packet(data, position)
            except _BrokenError:
                broken += 1
                yield None
            else:
                yield packet
                continue
        following = data.find(b"\n" + _SIGNATURE_BYTE, position)
        position = following + 1 if following >= 0 else len(data)


def _packet(data: bytes, begin: int) -> tuple[_Packet, int]:
    if len(data) - begin < _LEAST_BYTES:
        raise _BrokenError
    flags = int.from_bytes(data[begin + 1 : begin + 3])
    length, position = _number(data, begin + 3, len(data))
    end = begin + length - _CHECKSUM_BYTES
    if flags & _VERSION_MASK != _VERSION or flags & _UNUSED or not _LEAST_BYTES <= length <= _MOST_BYTES:
        raise _BrokenError
    if begin + length > len(data) or zlib.crc32(data[begin:end]) != int.from_bytes(data[end : begin + length]):
        raise _BrokenError
    time_ns = test = route = None
    file_type, file_name, content = "", "", b""
    if flags & _TIME:
        if position + 4 > end:
            raise _BrokenError
        (seconds,) = struct.unpack_from(">I", data, position)
        nanoseconds, position = _number(data, position + 4, end)
        time_ns = seconds * NS_PER_SECOND + nanoseconds
    if flags & _TEST:
        test, position = _text(data, position, end)
    if flags & _TAGS:
        count, position = _number(data, position, end)
        for _ in range(count):
            _, position = _bytes(data, position, end)
    if flags & _TYPE:
        file_type, position = _text(data, position, end)
    if flags & _FILE:
        file_name, position = _text(data, position, end)
        content, position = _bytes(data, position, end)
    if flags & _ROUTE:
        route, position = _text(data, position, end)
    return _Packet(flags & _STATUS_MASK, test, route, time_ns, file_type, file_name, content), begin + length


def _number(data: bytes, position: int, end: int) -> tuple[int, int]:
    if position >= end:
        raise _BrokenError
    first = data[position]
    after = position + 1 + (first >> 6)
    if after > end:
        raise _BrokenError
    return int.from_bytes(bytes([first & 0x3F]) + data[position + 1 : after]), after


def _bytes(data: bytes, position: int, end: int) -> tuple[bytes, int]:
    length, position = _number(data, position, end)
    if position + length > end:
        raise _BrokenError
    return data[position : position + length], position + length


def _text(data: bytes, position: int, end: int) -> tuple[str, int]:
    raw, position = _bytes(data, position, end)
    return raw.decode("utf-8", "replace"), position
