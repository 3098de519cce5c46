# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""POST events to URLs that were registered."""

from __future__ import annotations

import argparse

from sourcepulse_web.webhooks.commands.running import add_run_action

HELP = "POST events to URLs that were registered"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    add_run_action(parser.add_subparsers(title="actions", metavar="ACTION", required=True))


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return int(args.action(args))
