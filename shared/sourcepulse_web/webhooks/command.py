# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Register URLs that events are POSTed to, signed and in order; try them, see what they answered, and POST again.

It works on the hook store of the gateway of this machine, as the user of the gateway. `sourcepulse web` starts what
POSTs where the configuration has the table [webhooks]; until then events wait.
"""

from __future__ import annotations

import argparse

from sourcepulse_web.webhooks.commands.adding import add_adding_actions
from sourcepulse_web.webhooks.commands.changing import add_changing_actions
from sourcepulse_web.webhooks.commands.redelivering import add_redelivering_actions
from sourcepulse_web.webhooks.commands.running import add_run_action
from sourcepulse_web.webhooks.commands.showing import add_showing_actions

HELP = "POST events to registered URLs: add, try and see them, and POST again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `webhook`."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add_adding_actions(actions)
    add_showing_actions(actions)
    add_changing_actions(actions)
    add_redelivering_actions(actions)
    add_run_action(actions)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(args.action(args))
