# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tree of commands, read from the parser, for what is generated from it: shell completion and the man page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

#: The names of values that are paths.
_PATHS = ("FILE", "DIR", "REPO")


class Item(NamedTuple):
    """An option, or an argument without flags."""

    flags: tuple[str, ...]
    #: As in the usage; empty for an option without a value.
    value: str
    choices: tuple[str, ...]
    help: str

    @property
    def is_file(self) -> bool:
        """Return whether the value is the path of a file or folder."""
        return self.value.strip("[]. ") in _PATHS


class Command(NamedTuple):
    """A command, or an action of one; the program itself has no words."""

    words: tuple[str, ...]
    help: str
    description: str
    options: tuple[Item, ...]
    arguments: tuple[Item, ...]
    commands: tuple[Command, ...]

    def walk(self) -> Iterator[Command]:
        """Yield this command and all below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read_tree(parser: argparse.ArgumentParser, words: tuple[str, ...] = (), help_: str = "") -> Command:
    """Return the commands of a parser."""
    options, arguments, commands = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands += [read_tree(sub, (*words, name), helps[name]) for name, sub in action.choices.items()]
        elif action.option_strings:
            options.append(_item(action))
        else:
            arguments.append(_item(action))
    return Command(words, help_, parser.description or "", tuple(options), tuple(arguments), tuple(commands))


def _item(action: argparse.Action) -> Item:
    choices = tuple(map(str, action.choices or ()))
    value = str(action.metavar or "|".join(choices) or action.dest.upper()) if action.nargs != 0 else ""
    if not choices and "|" in value:
        # A setting: `check_value` reports a wrong one, not the parser.
        choices = tuple(value.split("|"))
    if not action.option_strings:
        value = {"?": f"[{value}]", "*": f"[{value} ...]", "+": f"{value} ..."}.get(str(action.nargs), value)
    return Item(tuple(action.option_strings), value, choices, action.help or "")
