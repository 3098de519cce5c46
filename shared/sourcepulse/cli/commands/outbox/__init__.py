# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Inspect and repair an outbox.

An action that changes more than the events it names, or the file, prints what it would do; with --apply it does it.
"""

from __future__ import annotations

import argparse

from sourcepulse.cli.commands.outbox.copies import add_copy_actions
from sourcepulse.cli.commands.outbox.events import add_event_actions
from sourcepulse.cli.commands.outbox.file import add_file_actions

HELP = "inspect and repair an outbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `outbox` and its actions."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add_event_actions(actions)
    add_file_actions(actions)
    add_copy_actions(actions)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(args.action(args))
