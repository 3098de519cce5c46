# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Show what the consumers of a durable queue put aside, and why; --remove removes what is shown.

`sourcepulse outbox replay ID`, where the event was published, sends one again: who handled it knows it as a repeat, who
put it aside gets it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any

from sourcepulse.brokers.dead_letters import PutAside, dead_letters_of
from sourcepulse.commands.common import add_settings, positive, print_json, settings
from sourcepulse.errors import EXIT_OK, ConfigError, DecodeError, NothingThereError
from sourcepulse.serialize import decode
from sourcepulse.text import plain, short

HELP = "show what was put aside from a queue, and why"

DEFAULT_LIMIT = 1_000

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `dead`."""
    add_settings(parser, "broker", "broker_file")
    parser.add_argument("queue", metavar="QUEUE", help="the queue of the consumer, without the suffix .dead")
    parser.add_argument(
        "--limit", type=positive, default=DEFAULT_LIMIT, metavar="N", help=f"at most so many (default: {DEFAULT_LIMIT})"
    )
    parser.add_argument("--remove", action="store_true", help="remove what is shown")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with the whole event")


def run(args: argparse.Namespace) -> int:
    """Print a line for each dead letter, oldest first."""
    config = settings(args)
    url = config.broker()
    if url is None:
        raise ConfigError("no broker is set; give --broker-file, SOURCEPULSE_BROKER_FILE or --broker")
    with dead_letters_of(url, args.queue, limit=args.limit) as found:
        if not found.letters:
            raise NothingThereError(f"nothing is put aside from the queue {args.queue!r}")
        has_events = _print(found.letters, args.json)
        if args.remove:
            # Only what was really shown: a reader that left or a full disk ends the command here.
            sys.stdout.flush()
            found.remove()
    if has_events:
        logger.info("`sourcepulse outbox replay ID`, where an event was published, sends it again")
    return EXIT_OK


def _print(letters: Sequence[PutAside], as_json: bool) -> bool:
    """Print the letters; return whether one of them is an event."""
    has_events = False
    for letter in letters:
        shown = _as_json(letter)
        has_events = has_events or shown["id"] is not None
        if as_json:
            print_json(shown)
        else:
            event = f"{plain(shown['id'])} {plain(shown['type'])}" if shown["id"] is not None else "no event"
            print(f"{event}  {plain(letter.routing_key)}  {plain(letter.reason)}")
    return has_events


def _as_json(letter: PutAside) -> dict[str, Any]:
    """Write a letter with its event, or with the beginning of what is none."""
    shown: dict[str, Any] = {"id": None, "type": None, "routing_key": letter.routing_key, "reason": letter.reason}
    try:
        event = decode(letter.body, routing_key=letter.routing_key)
    except DecodeError:
        return {**shown, "event": None, "body": short(letter.body.decode("utf-8", "backslashreplace"))}
    data = {"source": event.source, "subject": event.subject, "time": event.time, "data": event.data}
    return {**shown, "id": event.id, "type": event.type, "event": data}
