# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions that change a hook: pause, resume, edit, rotate, remove."""

from __future__ import annotations

import argparse
import logging

from sourcepulse.cli.common import add_apply, is_applied
from sourcepulse.errors import EXIT_OK, ConfigError
from sourcepulse_web.webhooks.commands.adding import (
    add_handshake,
    add_topics,
    print_secret,
    warn_of_doubt,
)
from sourcepulse_web.webhooks.commands.arguments import Actions, add_hook_action, open_desk
from sourcepulse_web.webhooks.commands.hints import counted, warn_if_not_running
from sourcepulse_web.webhooks.hook import Handshake

logger = logging.getLogger(__name__)


def add_changing_actions(actions: Actions[argparse.ArgumentParser]) -> None:
    """Add these actions."""
    add_hook_action(actions, "pause", _pause, "POST nothing for now; events go on being stored")
    resume = "POST again, at once, what a paused, parked, switched-off or failing hook has waiting"
    add_hook_action(actions, "resume", _resume, resume)
    edit = add_hook_action(actions, "edit", _edit, "change where a hook leads, its topics or its owner")
    edit.add_argument("--url", metavar="URL", help="what waits is POSTed there as well")
    add_topics(edit, required=False)
    edit.add_argument("--owner", metavar="USER", help="the new owner, exactly as the proxy names the user")
    add_handshake(edit, None)
    edit.add_argument("--no-bearer", action="store_true", help="send no token any more")
    rotate = add_hook_action(
        actions, "rotate", _rotate, "print a new secret; the former one signs as well for another 24 hours"
    )
    rotate.add_argument("--now", action="store_true", help="the former one signs nothing any more, because it leaked")
    remove = "remove a hook with all that waits and is set aside; shows how much, and does it with --apply"
    add_apply(add_hook_action(actions, "remove", _remove, remove))


def _pause(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        desk.pause(args.name)
    print(f"{args.name} is paused; its events are stored until: sourcepulse webhook resume {args.name}")
    return EXIT_OK


def _resume(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        desk.resume(args.name)
        waiting = desk.show(args.name, attempts=1).figures.waiting
        running = desk.sender_runs()
    print(f"{args.name} is on again, {counted(waiting, 'event')} waiting")
    warn_if_not_running(running)
    return EXIT_OK


def _edit(args: argparse.Namespace) -> int:
    if args.bearer_file is not None and args.no_bearer:
        raise ConfigError("--bearer-file and --no-bearer exclude each other")
    given = (args.url, args.topics, args.owner, args.handshake, args.bearer_file)
    if not args.no_bearer and all(each is None for each in given):
        raise ConfigError("name what to change: --url, --topic, --owner, --handshake, --bearer-file or --no-bearer")
    bearer = "" if args.no_bearer else None if args.bearer_file is None else str(args.bearer_file.absolute())
    with open_desk(args) as desk:
        doubt = desk.edit(
            args.name,
            url=args.url,
            topics=args.topics,
            new_owner=args.owner,
            handshake=args.handshake and Handshake(args.handshake),
            bearer_file=bearer,
        )
        running = desk.sender_runs()
    warn_of_doubt(doubt)
    print(f"{args.name} is changed")
    warn_if_not_running(running)
    return EXIT_OK


def _rotate(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        print_secret(desk.rotate(args.name, now=args.now))
        running = desk.sender_runs()
    former = "the former one signs nothing any more" if args.now else "the former one signs as well for 24 hours"
    logger.info("the new secret of %s is printed above, once; %s", args.name, former)
    warn_if_not_running(running)
    return EXIT_OK


def _remove(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        card = desk.show(args.name, attempts=1)
        lost = f"{counted(card.figures.waiting, 'event')} waiting and {card.figures.set_aside} set aside"
        if is_applied(args):
            desk.remove(args.name)
            print(f"{args.name} is removed, with {lost}")
        else:
            print(f"{args.name} would be removed, with {lost}")
    return EXIT_OK
