# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An event as JSON for people: short, and every character visible."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, NamedTuple

from sourcepulse.catalogue.page import example_text, shortened

#: A longer list is shown in part.
ITEMS_MAX = 4
#: What has no shape of its own: control characters, marks of direction, halves of surrogates.
_SHAPELESS = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"(?P<name>:)?')


class Token(NamedTuple):
    """A piece of JSON; `is_name` is that of a member."""

    text: str
    is_name: bool


def tokens(event: Any) -> list[Token]:
    """Return an event as pieces of JSON, long texts and lists in part."""
    text = visible(example_text(_with_short_lists(shortened(event))))
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


def _with_short_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_short_lists(each) for name, each in value.items()}
    if isinstance(value, list):
        more = len(value) - ITEMS_MAX
        shown = [_with_short_lists(each) for each in value[:ITEMS_MAX]]
        return [*shown, f"\u2026 and {more:,} more"] if more > 0 else shown
    return value
