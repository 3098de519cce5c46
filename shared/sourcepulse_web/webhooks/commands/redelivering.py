# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions on single events of a hook: redeliver, drop."""

from __future__ import annotations

import argparse

from sourcepulse.cli.common import moment
from sourcepulse.errors import EXIT_OK, ConfigError
from sourcepulse.events.safe_text import plain
from sourcepulse_web.webhooks.commands.arguments import Actions, add_hook_action, open_desk
from sourcepulse_web.webhooks.commands.hints import counted, warn_if_not_running, warn_of_wait
from sourcepulse_web.webhooks.desk.card import Card, Look


def add_redelivering_actions(actions: Actions[argparse.ArgumentParser]) -> None:
    """Add these actions."""
    redeliver = add_hook_action(
        actions, "redeliver", _redeliver, "POST events again, with the webhook-id they had; withdrawn ones are not"
    )
    redeliver.add_argument(
        "id", nargs="?", metavar="ID", help="the id of an event, a webhook-id, or the number of an attempt"
    )
    redeliver.add_argument("--failed", action="store_true", help="all that is set aside")
    redeliver.add_argument(
        "--since",
        type=moment,
        metavar="SPAN|TIME",
        help="all of the log since then that match its topics: 2h, 7d, or 2026-11-29T08:00:00Z",
    )
    drop = add_hook_action(actions, "drop", _drop, "delete an event that is set aside, for good")
    drop.add_argument("id", metavar="ID", help="its id, as `show` prints it")


def _redeliver(args: argparse.Namespace) -> int:
    if [args.id is not None, args.failed, args.since is not None].count(True) != 1:
        raise ConfigError("name an event by its ID, or use --failed or --since")
    with open_desk(args) as desk:
        found = desk.redeliver(args.name, args.id, failed=args.failed, since=args.since)
        card = desk.show(args.name, attempts=1)
        running = desk.sender_runs()
    if args.failed and not (found.events or found.withdrawn):
        print(_nothing_aside(card))
        warn_if_not_running(running)
        return EXIT_OK
    print(f"{counted(found.events, 'event')} will be POSTed again to {args.name}")
    for number, why in (
        (found.withdrawn, "no longer public and will not be POSTed"),
        (found.gone, "no longer in the log and will not be POSTed"),
        (found.waiting, "waiting to be POSTed anyway"),
    ):
        if number:
            print(f"{counted(number, 'event')} {'is' if number == 1 else 'are'} {why}")
    if args.since is not None:
        print("events that are no longer public, or that wait anyway, are not among them")
    warn_of_wait(card)
    warn_if_not_running(running)
    return EXIT_OK


def _nothing_aside(card: Card) -> str:
    """Return that nothing is set aside, and what sends the events that wait, because those may be meant."""
    waiting = card.figures.waiting
    if not waiting:
        return "nothing is set aside"
    waits = f"nothing is set aside; {waiting} {'waits' if waiting == 1 else 'wait'}"
    is_sent = card.look in (Look.NOT_TRIED, Look.WORKING)
    return waits if is_sent else f"{waits}: sourcepulse webhook resume {card.hook.name}"


def _drop(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        dropped = desk.drop(args.name, args.id)
    print(f"{plain(dropped.id)} of {args.name} is dropped")
    return EXIT_OK
