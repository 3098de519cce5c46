# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An event as JSON for people: short, and every character visible."""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import Any, NamedTuple

from sourcepulse.catalogue.page import example_text, shortened

#: A longer list or object is shown in part, and what is nested more deeply not at all.
ITEMS_MAX = 4
MEMBERS_MAX = 100
DEPTH_MAX = 12
_LEFT_OUT = "\u2026"
#: What has no shape of its own: control characters, marks of direction, halves of surrogates, unknown characters.
_SHAPELESS = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(?P<name>:)?')


class Token(NamedTuple):
    """A piece of JSON; `is_name` is that of a member."""

    text: str
    is_name: bool


def tokens(event: Any) -> list[Token]:
    """Return an event as pieces of JSON, long texts and lists in part."""
    text = visible(example_text(shortened(_cut(event))))
    found, end = [], 0
    for string in _STRING.finditer(text):
        if string["name"]:
            found += [Token(text[end : string.start()], False), Token(string[0], True)]
            end = string.end()
    return [token for token in [*found, Token(text[end:], False)] if token.text]


def visible(text: str) -> str:
    """Return JSON with an escape for what has no shape; its value is the same."""
    return "".join(
        each if each == "\n" or unicodedata.category(each) not in _SHAPELESS else _escaped(each) for each in text
    )


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _cut(value: Any, depth: int = 0) -> Any:
    if not isinstance(value, dict | list):
        return value
    if depth == DEPTH_MAX:
        return _LEFT_OUT
    more = len(value) - (MEMBERS_MAX if isinstance(value, dict) else ITEMS_MAX)
    if isinstance(value, dict):
        members = {name: _cut(each, depth + 1) for name, each in islice(value.items(), MEMBERS_MAX)}
        return {**members, _LEFT_OUT: f"and {more:,} more"} if more > 0 else members
    items = [_cut(each, depth + 1) for each in value[:ITEMS_MAX]]
    return [*items, f"{_LEFT_OUT} and {more:,} more"] if more > 0 else items
