# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The man page, written from the tree of commands."""

from __future__ import annotations

from collections.abc import Iterator

from sourcepulse.cli.describe.command_tree import Command, Item
from sourcepulse.cli.main import EXIT_CODES


def man_page(root: Command, version: str) -> str:
    """Return the page sourcepulse(1) as roff."""
    return "\n".join([*_head(root, version), *_commands(root), *_foot()]) + "\n"


def _head(root: Command, version: str) -> Iterator[str]:
    yield f'.TH SOURCEPULSE 1 "" "sourcepulse {_text(version)}"'
    yield ".SH NAME"
    yield rf"sourcepulse \- {_text(root.description[:1].lower() + root.description[1:].rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield ".B sourcepulse"
    yield r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]"
    yield ".SH DESCRIPTION"
    yield _text("A source writes its events into an outbox, a SQLite file; a relay publishes them to a broker.")
    yield r"\fBsourcepulse files\fR prints the paths of the documentation."
    yield ".SH OPTIONS"
    yield from _options(root.options)


def _commands(root: Command) -> Iterator[str]:
    yield ".SH COMMANDS"
    for command in root.walk():
        if not command.words:
            continue
        arguments = " ".join(argument.value for argument in command.arguments)
        action = r" \fIACTION\fR" if command.commands else ""
        yield f'.SS "sourcepulse {_text(" ".join(command.words))}{action} {_text(arguments)}"'
        for paragraph in command.description.split("\n\n"):
            yield ".PP"
            yield _text(" ".join(paragraph.split()))
        yield from _options((*command.arguments, *command.options))


def _options(items: tuple[Item, ...]) -> Iterator[str]:
    for item in items:
        if "--help" in item.flags:
            continue
        flags = ", ".join(rf"\fB{_text(flag)}\fR" for flag in item.flags)
        yield ".TP"
        yield " ".join(filter(None, [flags, rf"\fI{_text(item.value)}\fR" if item.value else ""]))
        yield _text(item.help)


def _foot() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_CODES.items():
        yield ".TP"
        yield str(code)
        yield _text(meaning)
    yield ".SH ENVIRONMENT"
    yield ".TP"
    yield r"\fBSOURCEPULSE_CONFIG\fR"
    yield _text("the configuration file, instead of those below; an empty value means none")
    yield ".TP"
    yield r"\fBSOURCEPULSE_\fIKEY\fR"
    yield _text("a setting, such as SOURCEPULSE_OUTBOX; it overrides the files, and an option overrides it")
    yield ".SH FILES"
    yield ".TP"
    yield r"\fI/etc/sourcepulse/config.toml\fR"
    yield _text("the settings of this machine, TOML")
    yield ".TP"
    yield r"\fI~/.config/sourcepulse/config.toml\fR"
    yield _text("the settings of this user, which override them")


def _text(text: str) -> str:
    """Return a text for roff: no character of it is a command, and hyphens can be copied."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")
    return rf"\&{escaped}" if escaped.startswith((".", "'")) else escaped
