# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The live page's address: `key=`, `not=`, `type=`, `source=` as often as wanted, and `q=`, a text that rows have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from sourcepulse.errors import ConfigError
from sourcepulse_web.stream.filter import Filter, filter_of

#: Name in the page's address -> name in that of the stream.
NAMES = {"key": "topic", "not": "exclude", "type": "type", "source": "source"}
TEXT_MAX_CHARACTERS = 200
THEMES = ("light", "dark")
_KEY = re.compile(r"[A-Za-z0-9_*#-]+(\.[A-Za-z0-9_*#-]+)+|#")


@dataclass(frozen=True)
class Query:
    """What a reader wants to see."""

    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    text: str = ""
    theme: str = ""
    filter: Filter = field(default_factory=Filter)

    @property
    def stream(self) -> str:
        """Return the query of /events that has the same events."""
        return _encoded([(NAMES[name], value) for name in NAMES for value in self.asked.get(name, ())])

    def address(self, **change: Sequence[str]) -> str:
        """Return the page's address with some values changed."""
        asked = {**self.asked, **{name: tuple(values) for name, values in change.items() if name != "q"}}
        pairs = [(name, value) for name in NAMES for value in asked.get(name, ())]
        pairs += [("q", text) for text in change.get("q", [self.text]) if text]
        pairs += [("theme", self.theme)] if self.theme else []
        return "/" + ("?" + _encoded(pairs) if pairs else "")

    def without(self, name: str, value: str) -> str:
        """Return the address of the page without one of the values."""
        return self.address(**{name: [each for each in self.asked.get(name, ()) if each != value]})

    def shows_heartbeats(self) -> bool:
        """Return whether heartbeats are asked for by their name; else they would hide everything else."""
        return any("heartbeat" in each for name in ("key", "type") for each in self.asked.get(name, ()))


def query_of(arguments: Mapping[bytes, Sequence[bytes]]) -> Query:
    """Return what is asked for; ConfigError with one sentence if it cannot be."""
    decoded = {
        name: tuple(dict.fromkeys(text for value in arguments.get(name.encode(), ()) if (text := _text(value))))
        for name in (*NAMES, "q", "theme")
    }
    text = " ".join(decoded["q"])
    if len(text) > TEXT_MAX_CHARACTERS:
        raise ConfigError(f"the text to look for has {len(text)} characters; at most {TEXT_MAX_CHARACTERS} are allowed")
    asked = {name: decoded[name] for name in NAMES if decoded[name]}
    theme = next((each for each in decoded["theme"] if each in THEMES), "")
    try:
        wanted = filter_of({NAMES[name]: values for name, values in asked.items()})
    except ConfigError as error:
        raise ConfigError(str(error).replace("topic=", "key=").replace("exclude=", "not=")) from None
    return Query(asked, text, theme, wanted)


def key_in(text: str) -> str | None:
    """Return what was typed if it is a pattern of keys: it has a dot between words, or a joker."""
    return text if _KEY.fullmatch(text) else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace").strip()


def _encoded(pairs: Sequence[tuple[str, str]]) -> str:
    return urlencode(pairs, safe="*:/", quote_via=quote)
