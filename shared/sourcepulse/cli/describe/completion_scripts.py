# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Completion scripts for the shells, written from the tree of commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from sourcepulse.cli.describe.command_tree import Command, Item

_BASH = """\
# Completion of sourcepulse for bash; also for zsh, which loads bashcompinit first.
_sourcepulse() {{
    local IFS=$'\\n' cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} at='' i words
    # bash makes `--option=value` three words.
    if [[ $cur == = ]]; then
        cur=''
    elif [[ $prev == = ]]; then
        prev=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$at ${{COMP_WORDS[i]}}" in
            {paths}) at+=" ${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$at $prev" in
{values}
    esac
    case "$at" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -F _sourcepulse sourcepulse
"""

_BASH_FILES = 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); '

_ZSH = """\
#compdef sourcepulse
autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
"""


def bash(root: Command) -> str:
    """Return the script for bash."""
    commands = list(root.walk())
    paths = [shlex.quote(_path(command)) for command in commands[1:]]
    return _BASH.format(
        paths="|".join(paths),
        values="\n".join(f"        {line}" for line in _bash_values(commands)),
        words="\n".join(f"        {line}" for command in commands for line in _bash_words(command)),
    )


def zsh(root: Command) -> str:
    """Return the script for zsh, which runs that of bash."""
    return _ZSH + bash(root)


def fish(root: Command) -> str:
    """Return the script for fish."""
    lines = ["# Completion of sourcepulse for fish.", "complete -c sourcepulse -f"]
    for command in root.walk():
        condition = _fish_condition(command)
        lines += [_fish(condition, "-a", child.words[-1], "-d", child.help) for child in command.commands]
        for argument in command.arguments:
            if argument.choices:
                lines.append(_fish(condition, "-a", " ".join(argument.choices), "-d", argument.help))
            elif argument.is_file:
                lines.append(_fish(condition, "-F"))
        lines += [_fish(condition, *_fish_option(option), "-d", option.help) for option in command.options]
    return "\n".join(lines) + "\n"


def _path(command: Command) -> str:
    return "".join(f" {word}" for word in command.words)


def _bash_values(commands: list[Command]) -> Iterator[str]:
    """Yield what completes the value of each option; nothing where any text is right."""
    places: dict[str, list[str]] = {}
    for command in commands:
        for option in command.options:
            if option.value:
                places.setdefault(_bash_value(option), []).extend(f"{_path(command)} {flag}" for flag in option.flags)
    for action, at in places.items():
        yield f"{'|'.join(map(shlex.quote, at))}) {action}return ;;"


def _bash_value(option: Item) -> str:
    if option.choices:
        return f'COMPREPLY=($(compgen -W {_bash_list(option.choices)} -- "$cur")); '
    return _BASH_FILES if option.is_file else ""


def _bash_words(command: Command) -> Iterator[str]:
    words = [child.words[-1] for child in command.commands] + ([] if command.words else ["help"])
    words += [choice for argument in command.arguments for choice in argument.choices]
    words += [flag for option in command.options for flag in option.flags]
    files = ""
    if any(argument.is_file for argument in command.arguments):
        files = (
            '[[ $cur == -* ]] || { compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); return; }; '
        )
    yield f"{shlex.quote(_path(command))}) {files}words={_bash_list(words)} ;;"
    if not command.words:
        yield f"' help') words={_bash_list([child.words[-1] for child in command.commands])} ;;"


def _bash_list(words: list[str] | tuple[str, ...]) -> str:
    return "$'" + "\\n".join(words) + "'"


def _fish_condition(command: Command) -> str:
    if not command.words:
        return "__fish_use_subcommand"
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.words]
    children = " ".join(child.words[-1] for child in command.commands)
    return "; and ".join([*seen, *([f"not __fish_seen_subcommand_from {children}"] if children else [])])


def _fish_option(option: Item) -> list[str]:
    words = []
    for flag in option.flags:
        words += ["-l", flag[2:]] if flag.startswith("--") else ["-s", flag[1:]]
    if option.choices:
        words += ["-x", "-a", " ".join(option.choices)]
    elif option.value:
        words += ["-r", "-F"] if option.is_file else ["-x"]
    return words


def _fish(condition: str, *words: str) -> str:
    return f"complete -c sourcepulse -n {_fish_quote(condition)} {' '.join(map(_fish_quote, words))}"


def _fish_quote(text: str) -> str:
    # fish knows no escape in single quotes but \\' and \\\\.
    if text and all(c.isalnum() or c in "-_" for c in text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
