# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""JSON pointers (RFC 6901): how an event and its errors refer to a place in `data`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sourcepulse.errors import EventError


def escape(name: str) -> str:
    """Write a member's name as one word of a pointer."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


def unescape(word: str) -> str:
    """Return the name that one word of a pointer stands for."""
    return word.replace("~1", "/").replace("~0", "~") if "~" in word else word


def step(value: Any, word: str, pointer: str) -> Any:
    """Return the member or item that one word leads to; EventError, with the whole pointer, if it does not exist."""
    if isinstance(value, Mapping):
        name = unescape(word)
        if name in value:
            return value[name]
    elif isinstance(value, list | tuple) and word.isdecimal() and int(word) < len(value):
        return value[int(word)]
    raise EventError(f"there is nothing at {pointer!r} in the data")


def resolve(data: Any, pointer: str) -> Any:
    """Return the value that a pointer leads to; EventError if it does not exist."""
    value = data
    for word in pointer.split("/")[1:]:
        value = step(value, word, pointer)
    return value


def order(pointer: str) -> list[tuple[int, str]]:
    """Return a key that sorts pointers by name, and items of a list by number."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in pointer.split("/")]
