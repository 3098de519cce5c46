# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Keep an event within its size limits, and record in it what was cut and which bytes were not UTF-8."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sourcepulse.errors import ConfigError, EventError
from sourcepulse.events.event import EVENT_LEAST_MAX_BYTES, EVENT_MAX_BYTES, to_json
from sourcepulse.events.record import Record

TEXT_MAX_BYTES = 64 * 1024
LIST_MAX_ITEMS = 1_000
LIST_MAX_ITEMS_BY_NAME: Mapping[str, int] = {"changesets": 100, "files": 200}

#: Bytes of the envelope, in either format, besides type, source and subject: the other attributes, and in a Pulse
#: message exchange and routing key, of at most 255 bytes each.
ENVELOPE_FIXED_BYTES = 1_152
#: Enough for a source and a subject of about 400 bytes each.
ENVELOPE_DEFAULT_BYTES = 2_048

#: Members that are never cut, however large; half of one would be wrong rather than short.
NEVER_CUT = frozenset(
    {"change_set", "date", "file", "first", "id", "last", "node", "parents", "query", "repo", "repo_url", "source"}
)
#: The members of `data` that record what was cut and which bytes were bad.
NOTES = ("truncated", "raw")
# Not compiled here, because a push seldom needs it; re caches it on first use.
BAD_BYTE = "[\udc80-\udcff]"

#: Most values are of these types and hold no list; asking isinstance(value, Mapping) of each takes four times as long.
_PLAIN = frozenset({str, int, float, bool, type(None)})


class Limits(Record):
    """Size limits of an event: bytes as sent, and items of a list by the list's name.

    `envelope_bytes` is reserved for everything around `data`; the function `envelope_bytes` computes it.
    """

    max_bytes: int = EVENT_MAX_BYTES
    envelope_bytes: int = ENVELOPE_DEFAULT_BYTES
    lists: Mapping[str, int] = MappingProxyType({})

    def most_items(self, name: str) -> int:
        """Return the most items that a list of this name may have."""
        return self.lists.get(name, LIST_MAX_ITEMS_BY_NAME.get(name, LIST_MAX_ITEMS))


def decode_text(raw: bytes) -> tuple[str, bytes | None]:
    """Decode UTF-8 with U+FFFD for each bad byte; also return the bytes if there was one, else None."""
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        import re

        # This error handler makes one character of each bad byte; "replace" makes one of several.
        return re.sub(BAD_BYTE, "\ufffd", raw.decode("utf-8", "surrogateescape")), raw


def size_of(value: object) -> int:
    """Return the bytes that a value takes as sent."""
    return len(to_json(value).encode())


def envelope_bytes(type_: str, source: str, subject: str | None) -> int:
    """Return an upper bound on the bytes of such an event besides its `data`, in either format."""
    return ENVELOPE_FIXED_BYTES + 2 * len(type_) + size_of(source) + size_of(subject)


def bound(
    data: Mapping[str, Any],
    *,
    raw: Mapping[str, bytes] | None = None,
    cut: Mapping[str, int] | None = None,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Return a copy of an event's `data` that fits the limits, with `truncated` and `raw` filled in.

    The copy shares unchanged parts with the original.

    `raw` maps JSON pointers (RFC 6901) of texts to the bytes they were read from by `decode_text`; bytes
    that are valid UTF-8 are ignored. `cut` maps pointers of lists and texts that the caller already cut to their real
    totals (items of a list, UTF-8 bytes of a text). Existing `truncated` and `raw` are replaced.

    The rules are those of the event contract: first each text and list to its own limit; then, while the
    whole is too large, the list or text with the most bytes is halved (see cutting.py). Strings in lists
    (file names), members in NEVER_CUT and small values are never halved.

    EventError if nothing is left to cut, a pointer leads nowhere, the bytes do not match the text, or a value cannot be
    written as JSON.
    """
    if limits is not None and limits.max_bytes < EVENT_LEAST_MAX_BYTES:
        raise ConfigError(
            f"an event cannot be limited to {limits.max_bytes} bytes; the minimum is {EVENT_LEAST_MAX_BYTES}"
        )
    limits = Limits() if limits is None else limits
    try:
        if not raw and not cut and _fits(data, limits):
            return {**data, **{name: [] for name in NOTES if name in data}}
        # Imported here because hardly any push needs it, and the hook runs in every hg process.
        from sourcepulse.events.cutting import limited_copy

        return limited_copy(data, raw or {}, cut or {}, limits)
    except UnicodeEncodeError:
        raise EventError("a text contains half of a surrogate pair, which UTF-8 cannot encode") from None
    except RecursionError:
        raise EventError("the data is nested too deeply") from None
    except (TypeError, ValueError) as error:
        raise EventError(f"the data cannot be written as JSON: {error}") from None


def _fits(data: Mapping[str, Any], limits: Limits) -> bool:
    # If the whole data is no larger than one text may be, only lists can be too long.
    if size_of(data) > min(limits.max_bytes - limits.envelope_bytes, TEXT_MAX_BYTES):
        return False
    for name, value in data.items():
        if type(value) not in _PLAIN and name not in NOTES and _holds_long_list(value, name, limits):
            return False
    return True


def _holds_long_list(value: Any, name: str, limits: Limits) -> bool:
    if isinstance(value, list | tuple):
        if name not in NEVER_CUT and len(value) > limits.most_items(name):
            return True
        return any(type(item) not in _PLAIN and _holds_long_list(item, "", limits) for item in value)
    if isinstance(value, Mapping):
        # A name that is not a string takes the slow path, which raises the right error.
        return any(
            not isinstance(key, str) or (type(item) not in _PLAIN and _holds_long_list(item, key, limits))
            for key, item in value.items()
        )
    return False
