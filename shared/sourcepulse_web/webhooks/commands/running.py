# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The action with which the gateway starts the sender."""

from __future__ import annotations

import argparse

from sourcepulse.cli.common import add_action
from sourcepulse_web.webhooks.commands.arguments import add_place


def add_run_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `run`."""
    parser = add_action(actions, "run", "POST what waits for each webhook; the gateway starts this by itself")
    add_place(parser)
    parser.add_argument("--until-eof", action="store_true", help="end when stdin is closed, and report on stdout")
    parser.set_defaults(action=_run)


def _run(args: argparse.Namespace) -> int:
    # What sends is loaded only where something is sent.
    from sourcepulse_web.webhooks.process import run

    return run(args)
