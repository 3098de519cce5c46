# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whether two URLs lead to one receiver, however they are written, so that no other spelling gets round a pause."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes, urlsplit


def is_same_address(first: str, second: str) -> bool:
    """Return whether two URLs, as `check_url` returns them, lead to the same scheme, host, port and path.

    A path is compared as receivers read it: percent-encoding is decoded once, dot segments are resolved, and empty
    segments, what follows `;` in a segment, and the query are left out. Receivers differ in which comes first, the
    empty segments or the dots, so that the paths are the same if one of these readings is.

    >>> is_same_address("https://chat.example.org/in/7", "https://chat.example.org//x/../%69n/7/?room=8")
    True
    """
    one, other = urlsplit(first), urlsplit(second)
    return one[:2] == other[:2] and not _readings(one.path).isdisjoint(_readings(other.path))


def _readings(path: str) -> set[tuple[bytes, ...]]:
    segments = [segment.partition(b";")[0] for segment in unquote_to_bytes(path).split(b"/")[1:]]
    return {_resolved(segments), _resolved(segment for segment in segments if segment)}


def _resolved(segments: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the segments without dot segments (RFC 3986, section 5.2.4), and then without the empty ones."""
    found: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del found[-1:]
        elif segment != b".":
            found.append(segment)
    return tuple(segment for segment in found if segment)
