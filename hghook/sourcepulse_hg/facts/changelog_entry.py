# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Read an entry of Mercurial's changelog without losing a byte of it.

Mercurial's own reader translates to the local encoding and guesses where a text is not UTF-8. The format is
that of `mercurial/changelog.py`: lines of manifest, user, `seconds offset[ extra]` and files, an empty line,
the description.
"""

import codecs
from typing import NamedTuple


class Entry(NamedTuple):
    """The parts of a changelog entry; the date is seconds since 1970 and the offset west of UTC."""

    user: bytes
    date: tuple[int, int]
    branch: bytes
    closed: bool
    files: list[bytes]
    description: bytes
    extra: dict[bytes, bytes]


def parse_entry(text: bytes) -> Entry:
    """Parse an entry; an empty one, which some converters write, gets the values that Mercurial reads from it."""
    if not text:
        return Entry(b"", (0, 0), b"default", False, [], b"", {})
    head, _, description = text.partition(b"\n\n")
    lines = head.split(b"\n")
    user = lines[1] if len(lines) > 1 else b""
    fields = lines[2].split(b" ", 2) if len(lines) > 2 else []
    extra = _parse_extra(fields[2]) if len(fields) > 2 else {}
    return Entry(
        user=user,
        date=(_number(fields, 0), _number(fields, 1)),
        branch=extra.get(b"branch", b"default"),
        closed=b"close" in extra,
        files=lines[3:],
        description=description,
        extra=extra,
    )


def _number(fields: list[bytes], place: int) -> int:
    # Some very old tools wrote no or a broken time zone; Mercurial reads 0 then.
    try:
        return int(float(fields[place]))
    except (IndexError, ValueError, OverflowError):
        return 0


def _parse_extra(text: bytes) -> dict[bytes, bytes]:
    extra = {}
    for part in text.split(b"\0"):
        if part:
            # The escapes are those of C strings: \\ \0 \n \r.
            key, _, value = codecs.escape_decode(part)[0].partition(b":")
            extra[key] = value
    return extra
