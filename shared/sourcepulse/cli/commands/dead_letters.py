# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""List, show, requeue or drop the dead letters of a durable queue.

A body that is not an event has a digest, raw:..., as its id, and can be requeued and dropped like any other. With
--all, `requeue` and `drop` print what they would change; with --apply they do it.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from sourcepulse.brokers.dead_letters import (
    DeadLetter,
    DeadLetters,
    check_no_obstacle,
    each_chunk,
    find,
    open_dead_letters,
)
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.common import (
    add_action,
    add_apply,
    add_json,
    add_settings,
    is_applied,
    positive,
    print_json,
    print_table,
    required_broker,
    settings,
)
from sourcepulse.errors import EXIT_OK, ConfigError, NothingThereError
from sourcepulse.events.safe_text import plain

HELP = "list, show, requeue or drop the dead letters of a queue"

DEFAULT_LIMIT = 1_000

_COLUMNS = ("ID", "TYPE", "ROUTING KEY", "REASON")

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `dead-letters`."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _action(actions, "list", _list, "list the dead letters, oldest first")
    listing.add_argument(
        "--limit",
        type=positive,
        default=DEFAULT_LIMIT,
        metavar="N",
        help=f"at most N of them (default: {DEFAULT_LIMIT})",
    )
    add_json(listing)
    show = _action(actions, "show", _show, "show whole events as JSON, with reason and routing key")
    show.add_argument("ids", nargs="+", metavar="ID", help="an id as `list` shows it")
    for name, action, help_ in (
        ("requeue", _requeue, "put dead letters back into the queue, so that its consumer handles them again"),
        ("drop", _drop, "delete dead letters permanently"),
    ):
        changing = _action(actions, name, action, help_)
        changing.add_argument("ids", nargs="*", metavar="ID", help="an id as `list` shows it")
        changing.add_argument(
            "--all", action="store_true", help="every dead letter of the queue; shows which, and does it with --apply"
        )
        add_apply(changing)
        add_json(changing)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(args.action(args))


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    action: Callable[[argparse.Namespace], int],
    help_: str,
) -> argparse.ArgumentParser:
    parser = add_action(actions, name, help_)
    add_settings(parser, "broker", "broker_file")
    parser.add_argument("queue", metavar="QUEUE", help="the name of the consumer's queue")
    parser.set_defaults(action=action)
    return parser


def _list(args: argparse.Namespace) -> int:
    with open_dead_letters(_broker(args), args.queue, limit=args.limit) as letters:
        found = letters.read(args.limit)
    if not found:
        raise _nothing(args.queue)
    if args.json:
        _print_each(found, as_json=True)
    else:
        print_table(_COLUMNS, [_cells(letter) for letter in found])
    return EXIT_OK


def _show(args: argparse.Namespace) -> int:
    with open_dead_letters(_broker(args), args.queue) as letters:
        found = find(letters, args.ids)
    for letter in found:
        if letter.event():
            content = {"event": json.loads(letter.body)}
        else:
            content = {"body": letter.body.decode("utf-8", "backslashreplace")}
        print(json.dumps({**_summary(letter), **content}, indent=2, ensure_ascii=True))
    return EXIT_OK


def _requeue(args: argparse.Namespace) -> int:
    stuck: list[DeadLetter] = []

    def requeue(letters: DeadLetters, chosen: Sequence[DeadLetter]) -> None:
        if args.all:
            # One that cannot be requeued must not hold up the others.
            stuck.extend(letter for letter in chosen if letter.obstacle)
            chosen = [letter for letter in chosen if not letter.obstacle]
        if chosen:
            letters.requeue(chosen)
        _print_each(chosen, as_json=args.json)

    code = _change(args, requeue)
    check_no_obstacle(stuck)
    return code


def _drop(args: argparse.Namespace) -> int:
    def drop(letters: DeadLetters, chosen: Sequence[DeadLetter]) -> None:
        # Printed first, so that nothing is dropped without a trace on a full disk or a closed pipe.
        _print_each(chosen, as_json=args.json)
        letters.drop(chosen)

    return _change(args, drop)


def _change(args: argparse.Namespace, change: Callable[[DeadLetters, Sequence[DeadLetter]], None]) -> int:
    if args.all == bool(args.ids):
        raise ConfigError("name the dead letters by their ids, or use --all")
    if args.all and not args.apply:
        return _show_first(args)
    with open_dead_letters(_broker(args), args.queue) as letters:
        if args.ids:
            change(letters, find(letters, args.ids))
        elif not each_chunk(letters, lambda chunk: change(letters, chunk)):
            raise _nothing(args.queue)
    return EXIT_OK


def _show_first(args: argparse.Namespace) -> int:
    with open_dead_letters(_broker(args), args.queue, limit=DEFAULT_LIMIT) as letters:
        found = letters.read(DEFAULT_LIMIT)
    if not found:
        raise _nothing(args.queue)
    _print_each(found, as_json=args.json)
    if len(found) == DEFAULT_LIMIT:
        logger.warning("these are the first %d; there may be more", DEFAULT_LIMIT)
    is_applied(args)
    return EXIT_OK


def _broker(args: argparse.Namespace) -> BrokerUrl:
    return required_broker(settings(args))


def _nothing(queue: str) -> NothingThereError:
    return NothingThereError(f"the queue {queue!r} has no dead letters")


def _print_each(letters: Sequence[DeadLetter], *, as_json: bool) -> None:
    for letter in letters:
        if as_json:
            print_json(_summary(letter))
        else:
            print("  ".join(map(plain, _cells(letter))))
    sys.stdout.flush()


def _cells(letter: DeadLetter) -> list[str]:
    summary = _summary(letter)
    return [summary["id"], summary["type"] or "-", letter.routing_key, letter.reason]


def _summary(letter: DeadLetter) -> dict[str, Any]:
    event = letter.event()
    return {
        "id": letter.id(),
        "type": event.type if event else None,
        "routing_key": letter.routing_key,
        "reason": letter.reason,
    }
