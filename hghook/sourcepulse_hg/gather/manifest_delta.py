# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Sort the files of a changeset by what a delta between two manifests replaces, without either manifest.

A manifest has a line for each file, sorted by name: the name, a zero byte, 40 hexadecimal digits, at most one letter.
The delta replaces a range of old bytes with new lines, but does not contain the old bytes. A hunk that only inserts
lines adds files. A file that the changeset names and that has no new line is removed. In other hunks the number of old
bytes shows whether the old lines are those of the same files. Only the optional letters make the length uncertain, so
this works as long as the lines are so few that their letters together are shorter than one line.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_HUNK = struct.Struct(">lll")
_DIGITS = 40
#: The length of a line without the name and the letter: the zero byte, the digits, the line break.
_LINE_BYTES = _DIGITS + 2
#: The letters of up to this many lines are together shorter than any line.
_LINES_MAX = _LINE_BYTES


class Sorted(NamedTuple):
    """The files of a changeset by what it did to them, and the nodes of those that exist afterwards."""

    added: list[bytes]
    modified: list[bytes]
    removed: list[bytes]
    nodes: dict[bytes, bytes]


def sorted_by_delta(delta: bytes, files: Sequence[bytes]) -> Sorted | None:
    """Sort the files of a changeset with one parent; None if the delta is ambiguous."""
    nodes: dict[bytes, bytes] = {}
    fresh: set[bytes] = set()
    gone_bytes = 0
    for old_bytes, content in _hunks(delta):
        names = []
        for line in content.split(b"\n")[:-1]:
            name, _, rest = line.partition(b"\0")
            nodes[name] = bytes.fromhex(rest[:_DIGITS].decode("ascii"))
            names.append(name)
        if not names:
            gone_bytes += old_bytes
        elif not old_bytes:
            fresh.update(names)
        elif not _may_be_lines_of(names, old_bytes):
            return None
    removed = [name for name in files if name not in nodes]
    if len(nodes) + len(removed) != len(files) or not _may_be_lines_of(removed, gone_bytes):
        return None
    added = [name for name in files if name in fresh]
    modified = [name for name in files if name in nodes and name not in fresh]
    return Sorted(added, modified, removed, nodes)


def _may_be_lines_of(names: Sequence[bytes], size_bytes: int) -> bool:
    letters = size_bytes - sum(map(len, names)) - len(names) * _LINE_BYTES
    return len(names) <= _LINES_MAX and 0 <= letters <= len(names)


def _hunks(delta: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number of old bytes and the new bytes of each hunk; adjacent hunks are joined."""
    place, begin, end, content = 0, 0, -1, b""
    while place < len(delta):
        start, stop, length = _HUNK.unpack_from(delta, place)
        place += _HUNK.size
        if start == end:
            end, content = stop, content + delta[place : place + length]
        else:
            if end >= 0:
                yield end - begin, content
            begin, end, content = start, stop, delta[place : place + length]
        place += length
    if end >= 0:
        yield end - begin, content
