# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Where the hooks of this machine are: their store and the log, from options and the configuration."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sourcepulse.cli.common import add_action, add_settings, settings

if TYPE_CHECKING:
    from sourcepulse_web.webhooks.desk.desk import Desk

Actions = argparse._SubParsersAction


def add_hook_action(
    actions: Actions[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], int],
    help_: str,
    *,
    named: bool = True,
) -> argparse.ArgumentParser:
    """Return the parser of an action on the hook store, with NAME if it is about one hook."""
    parser = add_action(actions, name, help_)
    add_place(parser)
    if named:
        parser.add_argument("name", metavar="NAME", help="the name of the hook")
    parser.set_defaults(action=action)
    return parser


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the store and the log are."""
    add_settings(parser, "broker", "broker_file", "exchange")
    parser.add_argument(
        "--file", type=absolute, metavar="FILE", help="the hook store (default: that of the configuration)"
    )
    parser.add_argument(
        "--log", type=absolute, metavar="FILE", help="the gateway's own log; not where the broker is a log"
    )


def absolute(text: str) -> Path:
    """Parse the path of a file for argparse."""
    return Path(text).absolute()


@contextmanager
def open_desk(args: argparse.Namespace, *, create: bool = False) -> Iterator[Desk]:
    """Open the hooks of the configuration of this run; ConfigError says what is missing in it."""
    # Imported here, because the parser of all commands is made for help and completion as well.
    from sourcepulse_web.webhooks.desk.opening import open_desk as open_desk_of
    from sourcepulse_web.webhooks.place import place_of

    place = place_of(settings(args), os.environ, log=args.log, store=args.file)
    with open_desk_of(place, create=create) as desk:
        yield desk
