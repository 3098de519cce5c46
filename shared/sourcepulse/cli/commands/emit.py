# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Store an event of your own in an outbox, for example `emit system.hg.down --data '{"message": "disk"}'`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sourcepulse.cli.common import add_settings, open_outbox, outbox_path, settings, warn_if_unrelayed
from sourcepulse.errors import EXIT_OK, EventError
from sourcepulse.events.wire import BODY_MAX_BYTES
from sourcepulse.outbox.outbox import PENDING
from sourcepulse.outbox.queries import find
from sourcepulse.publisher import Publisher

HELP = "store an event of your own in an outbox"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `emit`."""
    add_settings(parser, "outbox", "max_event_bytes", "schemas_dir")
    parser.add_argument("type", metavar="TYPE", help="an event type, with or without its version")
    parser.add_argument(
        "--data",
        metavar="JSON",
        default="{}",
        help="the payload, a JSON object; - reads it from standard input, @FILE from a file",
    )
    parser.add_argument(
        "--source",
        metavar="URI",
        help="the source of the event (default: system://HOST, for a type of your own its first word: site://HOST)",
    )
    parser.add_argument("--subject", help="what the event is about (default for a system event: the service)")
    parser.add_argument(
        "--key", action="append", metavar="TEXT", help="natural key, repeatable; the same key makes the same id"
    )
    parser.add_argument("--word", action="append", metavar="TEXT", help="variable word of the routing key, repeatable")


def run(args: argparse.Namespace) -> int:
    """Store the event and print its id; an event with a known id is not stored again."""
    config = settings(args)
    data = parse_data(args.data)
    with Publisher(
        outbox_path(config),
        source=args.source,
        schemas=config.text("schemas_dir"),
        max_bytes=config.number("max_event_bytes"),
    ) as publisher:
        id_ = publisher.emit(args.type, data, key=args.key, subject=args.subject, words=args.word)
    with open_outbox(config) as outbox:
        if find(outbox, id_)["state"] == PENDING:
            warn_if_unrelayed(config, outbox, "the event is stored,")
    print(id_)
    return EXIT_OK


def parse_data(text: str) -> dict[str, Any]:
    """Read the payload: JSON, `-` for standard input, or `@FILE`; EventError if it is not a JSON object."""
    try:
        data = json.loads(_content(text), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise EventError(f"--data is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise EventError('--data must be a JSON object, like {"message": "..."}')
    return data


def _content(text: str) -> str:
    if text == "-":
        return sys.stdin.read(BODY_MAX_BYTES)
    if not text.startswith("@"):
        return text
    try:
        with Path(text[1:]).open(encoding="utf-8") as file:
            return file.read(BODY_MAX_BYTES)
    except OSError as error:
        raise EventError(f"the file of --data {text} cannot be read: {error.strerror}") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
