# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The table of everything that the doctor can find, with cause, consequence and repair; it is in checks.toml."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
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
        """Return the commands with these values, quoted for a shell."""
        quoted = {name: value if isinstance(value, Words) else _quoted(value) for name, value in values.items()}
        return tuple(command.format_map(quoted) for command in self.repair)

    def names(self) -> set[str]:
        """Return the names of the values that the commands and the advice need."""
        return {name for text in (*self.repair, self.advice) for _, name, _, _ in Formatter().parse(text) if name}


@cache
def table() -> Mapping[str, Entry]:
    """Return the entries by id, in the order of the file."""
    text = files(__package__).joinpath("checks.toml").read_text(encoding="utf-8")
    return {
        id_: Entry(id=id_, **fields | {"repair": tuple(fields.get("repair", ()))})
        for id_, fields in tomllib.loads(text).items()
    }


def _quoted(value: object) -> str:
    if isinstance(value, str | Path):
        return shlex.quote(str(value))
    if isinstance(value, tuple | list):
        return shlex.join(map(str, value))
    return shlex.quote(str(value))
