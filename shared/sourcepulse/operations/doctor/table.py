# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The table of everything that the doctor can find, with cause, consequence and repair; it is in checks.toml."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Formatter


class Words(str):
    """Shell words that are inserted into a command unchanged, because they are quoted already."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that can be wrong; `repair` are commands with the names of values in braces."""

    id: str
    title: str
    symptom: str
    cause: str
    consequence: str
    advice: str = ""
    repair: tuple[str, ...] = ()

    def commands(self, values: Mapping[str, object]) -> tuple[str, ...]:
        """Return the commands with these values, quoted for a shell; one whose value is None is left out."""
        quoted = {name: value if isinstance(value, Words) else _quoted(value) for name, value in values.items()}
        left_out = {name for name, value in values.items() if value is None}
        wanted = [command for command in self.repair if not _names(command) & left_out]
        # Options may be none.
        return tuple(command.format_map(quoted).rstrip() for command in wanted)

    def names(self) -> set[str]:
        """Return the names of the values that the commands and the advice need."""
        return _names(self.advice).union(*map(_names, self.repair))


@cache
def table() -> Mapping[str, Entry]:
    """Return the entries by id, in the order of the file."""
    text = files(__package__).joinpath("checks.toml").read_text(encoding="utf-8")
    return {
        id_: Entry(id=id_, **fields | {"repair": tuple(fields.get("repair", ()))})
        for id_, fields in tomllib.loads(text).items()
    }


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def shell_words(words: Iterable[object]) -> Words:
    """Return words quoted for bash, in one line of printable characters: a file name may be any bytes."""
    return Words(" ".join(map(_quoted, words)))


def _quoted(value: object) -> str:
    if isinstance(value, tuple | list):
        return shell_words(value)
    text = str(value)
    return shlex.quote(text) if text.isprintable() else f"$'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
