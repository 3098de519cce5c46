# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Watch events as they arrive: one line each, or with --json one CloudEvent per line."""

from __future__ import annotations

import argparse
import signal
import sys
import time

from sourcepulse.cli.common import add_settings, positive, required_broker, seconds, settings
from sourcepulse.cli.lines import line
from sourcepulse.config import Config
from sourcepulse.consumer.consumer import Consumer
from sourcepulse.errors import EXIT_NOTHING, EXIT_OK, BrokerUnavailableError, ConfigError
from sourcepulse.events.event import Event
from sourcepulse.events.wire import encode

HELP = "watch events as they arrive"

#: Without --timeout the wait for the next event is cut into pieces, so that signals are noticed.
WAIT_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `tail`."""
    add_settings(parser, "broker", "broker_file", "exchange")
    parser.add_argument(
        "patterns",
        nargs="*",
        metavar="PATTERN",
        default=["#"],
        help="topic patterns, e.g. 'hg.push.#' (default: all events)",
    )
    parser.add_argument("--json", action="store_true", help="one CloudEvent per line")
    parser.add_argument("--count", type=positive, metavar="N", help="exit with 0 after N events")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="exit with 3 after S seconds")
    parser.add_argument("--durable", metavar="NAME", help="use a durable queue and resume where it stopped")
    parser.add_argument("--from-start", action="store_true", help="start with the oldest stored event")


def run(args: argparse.Namespace) -> int:
    """Print events until the count or the time limit is reached, or until interrupted."""
    config = settings(args)
    consumer = _consumer(args, config)
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    with consumer:
        if not consumer.connected:
            raise BrokerUnavailableError(f"the broker {consumer.url} cannot be reached")
        return _watch(args, consumer)


def _consumer(args: argparse.Namespace, config: Config) -> Consumer:
    url = required_broker(config)
    if args.from_start and url.scheme != "file" and not args.durable:
        raise ConfigError("--from-start needs stored events: a file:// broker, or --durable NAME")
    return Consumer(
        url,
        topics=args.patterns,
        queue=args.durable,
        durable=args.durable is not None,
        exchange=config.require("exchange"),
        from_start=args.from_start,
    )


def _watch(args: argparse.Namespace, consumer: Consumer) -> int:
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    colour = not args.json and sys.stdout.isatty()
    shown = 0
    while args.count is None or shown < args.count:
        wait_s = WAIT_SECONDS if deadline is None else deadline - time.monotonic()
        event = consumer.receive(max(0.0, wait_s))
        if event is None:
            if consumer.stopped:
                return EXIT_OK
            if deadline is not None and time.monotonic() >= deadline:
                return EXIT_NOTHING
            continue
        _show(event, as_json=args.json, colour=colour)
        consumer.acknowledge()
        shown += 1
    return EXIT_OK


def _show(event: Event, *, as_json: bool, colour: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(encode(event) + b"\n")
        sys.stdout.buffer.flush()
    else:
        print(line(event, colour=colour), flush=True)
