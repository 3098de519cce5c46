# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The parts that a sentence is made of, and how texts, times and lengths are written in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

NODE_DIGITS = 12
#: A text of a source is cut here, because a row is one line; the JSON form has everything.
TEXT_MAX_CHARACTERS = 160
VALUE_MAX_CHARACTERS = 60
_BUG = re.compile(r"\bbug\s+(\d{1,9})\b", re.IGNORECASE)
_MINUTE, _HOUR = 60, 3600
#: What has no shape of its own: control characters, marks of direction, surrogates; not the joiners of scripts.
_SHAPELESS = ("Cc", "Cf", "Cs", "Zl", "Zp")
_JOINERS = "\u200c\u200d"


class Part(NamedTuple):
    """A piece of a sentence: `kind` is the class of its element, `href` what it leads to.

    Kinds: "" (our own words), text (a source's), name, node, bug, tree, and "w" with the state of a build's word.
    """

    kind: str
    text: str
    href: str | None = None


class Links(NamedTuple):
    """Where bugs are, without the slash at the end; None if no tree's settings say it."""

    bugzilla: str | None = None

    def bug(self, number: int) -> str | None:
        """Return the address of a bug."""
        return f"{self.bugzilla}/show_bug.cgi?id={number}" if self.bugzilla else None


def shown(text: str, most: int = TEXT_MAX_CHARACTERS) -> str:
    """Return a text as one line: what has no shape is written as `U+202E`, and what is beyond `most` is cut."""
    words = " ".join(text[: 4 * most].split())
    words = visible(words)
    return words if len(words) <= most else words[: most - 1] + "\u2026"


def visible(text: str) -> str:
    """Return a text with what has no shape as `U+202E`."""
    if text.isprintable():
        return text
    return "".join(f"U+{ord(each):04X}" if _is_shapeless(each) else each for each in text)


def _is_shapeless(character: str) -> bool:
    return unicodedata.category(character) in _SHAPELESS and character not in _JOINERS


def first_line(text: str) -> str:
    """Return the first line of a description that is not empty."""
    return next((line for line in text.split("\n") if line.strip()), "")


def plain(text: str) -> Part:
    """Return our own words; they begin and end with the spaces that they need."""
    return Part("", text)


def name(text: str | None) -> Part:
    """Return who acted."""
    return Part("name", shown(text)) if text else plain("somebody")


def person(value: Mapping[str, Any] | None) -> Part:
    """Return a Person of Bugzilla, whose name may be withheld."""
    if value is None:
        return plain("somebody")
    return name(value["name"] or f"user {value['id']}")


def node(value: str) -> Part:
    """Return a changeset, with a link to its story."""
    return Part("node", shown(value)[:NODE_DIGITS], f"/changes/{value}" if value.isalnum() else None)


def tree(repo: str, *, known: bool = True) -> Part:
    """Return a repository by its last word, with a link to its board."""
    path = "/".join(filter(None, repo.split("/")))
    safe = re.fullmatch(r"[A-Za-z0-9._/-]+", path) is not None
    return Part("tree", shown(path.rpartition("/")[2] or repo), f"/trees/{path}" if known and safe else None)


def bug(number: int, links: Links) -> Part:
    """Return a bug by its number."""
    return Part("bug", f"bug {number}", links.bug(number))


def prose(text: str, links: Links) -> list[Part]:
    """Return a source's text with its bugs as links."""
    text = shown(text)
    parts, end = [], 0
    for found in _BUG.finditer(text):
        parts += [Part("text", text[end : found.start()]), Part("bug", found[0], links.bug(int(found[1])))]
        end = found.end()
    return [part for part in [*parts, Part("text", text[end:])] if part.text]


def count(number: int, thing: str) -> str:
    """Return how many things: `1 change`, `3 changes`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "es" if thing.endswith("h") else "s")


def was(number: int) -> str:
    """Return the verb that belongs to a number of things."""
    return "was" if number == 1 else "were"


def took(seconds: float) -> str:
    """Return a duration: `12 s`, `7 min 35 s`, `1 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def seconds_between(began: str, ended: str) -> float:
    """Return how long it was from one time of an event to another."""
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()


def clock(time: str) -> str:
    """Return the hour and minute of a time."""
    return time[11:16]


def value(of: Any) -> str:
    """Return a value of a field of Bugzilla as text."""
    if isinstance(of, dict):
        return str(of.get("name") or of.get("id"))
    if isinstance(of, bool):
        return "yes" if of else "no"
    return shown(str(of), VALUE_MAX_CHARACTERS)
