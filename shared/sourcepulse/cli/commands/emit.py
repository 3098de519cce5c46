# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Store an event of your own in an outbox, for example `emit system.hg.down --data '{"message": "disk"}'`."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import Any

from sourcepulse.catalogue import check, complete_type
from sourcepulse.cli.common import add_settings, open_outbox, settings, warn_if_unrelayed
from sourcepulse.errors import EXIT_OK, EXIT_REFUSED, EventError
from sourcepulse.events.event import Event, routing_words
from sourcepulse.events.topics import FAMILIES
from sourcepulse.events.wire import BODY_MAX_BYTES
from sourcepulse.outbox.outbox import BURIED, PENDING
from sourcepulse.outbox.queries import find

HELP = "store an event of your own in an outbox"

#: The members of a system event; `emit` sets the missing ones to null.
SYSTEM_MEMBERS = ("message", "until", "url")
#: A source of this scheme may publish an event of any family.
_ANY_FAMILY = "system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `emit`."""
    add_settings(parser, "outbox", "max_event_bytes")
    parser.add_argument("type", metavar="TYPE", help="an event type, with or without its version")
    parser.add_argument(
        "--data",
        metavar="JSON",
        default="{}",
        help="the payload, a JSON object; - reads it from standard input, @FILE from a file",
    )
    parser.add_argument("--source", metavar="URI", help="the source of the event (default: system://HOST)")
    parser.add_argument("--subject", help="what the event is about (default for a system event: the service)")
    parser.add_argument(
        "--key", action="append", metavar="TEXT", help="natural key, repeatable; the same key makes the same id"
    )
    parser.add_argument("--word", action="append", metavar="TEXT", help="variable word of the routing key, repeatable")


def run(args: argparse.Namespace) -> int:
    """Store the event and print its id; an event with a known id is not stored again."""
    config = settings(args)
    event = make_event(
        complete_type(args.type),
        parse_data(args.data),
        source=args.source or f"system://{socket.gethostname()}",
        subject=args.subject,
        key=args.key,
        words=args.word,
        now=time.time(),
    )
    with open_outbox(config, create=True) as outbox:
        outbox.append([event], max_bytes=config.number("max_event_bytes"))
        state = find(outbox, event.id)["state"]
        if state == PENDING:
            warn_if_unrelayed(outbox, "the event is stored,")
    print(event.id)
    return EXIT_REFUSED if state == BURIED else EXIT_OK


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


def make_event(
    type_: str,
    data: dict[str, Any],
    *,
    source: str,
    subject: str | None,
    key: list[str] | None,
    words: list[str] | None,
    now: float,
) -> Event:
    """Make the event, checked against the schema of its type."""
    family, *rest = routing_words(type_)
    scheme = source.partition("://")[0]
    # A source numbers only the events of its own families, so that consumers of a whole family can trust the numbers.
    if scheme != _ANY_FAMILY and family not in FAMILIES.get(scheme, (family,)):
        raise EventError(
            f"a source {scheme}:// emits only its own events, and {type_} is not one; use system:// or your own"
        )
    if family == "system":
        data = {**dict.fromkeys(SYSTEM_MEMBERS), **data} if rest[-1] != "heartbeat" else data
        subject = subject if subject is not None else rest[0]
    elif words is None and family == "hg" and isinstance(data.get("repo"), str):
        words = data["repo"].split("/")
    check(type_, data)
    return Event.of(
        type_,
        source=source,
        subject=subject,
        time=now,
        data=data,
        key=key or [str(uuid.uuid4())],
        words=words or (),
    )


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
