# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Watch events as they arrive: one line each, or with --json one CloudEvent per line."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from pathlib import Path

from sourcepulse.cli.common import add_json, add_settings, moment, positive, required_broker, seconds, settings
from sourcepulse.cli.lines import line
from sourcepulse.config import Config
from sourcepulse.consumer.consumer import Consumer
from sourcepulse.errors import EXIT_NOTHING, EXIT_OK, BrokerUnavailableError, ConfigError
from sourcepulse.events.event import Event, format_time
from sourcepulse.events.wire import encode
from sourcepulse.outbox.outbox import WITHHELD_TYPE
from sourcepulse.outbox.outgoing.visibility import ASKED_SCHEMES

HELP = "watch events as they arrive"

#: Without --timeout the wait for the next event is cut into pieces, so that signals are noticed.
WAIT_SECONDS = 1.0

logger = logging.getLogger(__name__)


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
    add_json(parser, "one CloudEvent per line")
    parser.add_argument("--count", type=positive, metavar="N", help="exit with 0 after N events")
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="end after SECONDS without an event; exit code 3 if none came, or fewer than --count",
    )
    parser.add_argument("--durable", metavar="NAME", help="use a durable queue and resume where it stopped")
    parser.add_argument(
        "--expect",
        type=_expected,
        action="append",
        default=[],
        metavar="SOURCE=SECONDS",
        help="warn when nothing came from SOURCE for SECONDS, e.g. system://HOST=90 for a relay; may be repeated",
    )
    parser.add_argument(
        "--since",
        type=moment,
        metavar="TIME",
        help="begin with what was stored since TIME, such as 2h or 2026-11-29T08:00Z; at a network broker add --outbox",
    )
    parser.add_argument(
        "--outbox", dest="stored_in", type=Path, metavar="FILE", help="the outbox that stored the events, for --since"
    )
    parser.add_argument("--from-start", action="store_true", help="start with the oldest stored event")


def run(args: argparse.Namespace) -> int:
    """Print events until the count or the time limit is reached, or until interrupted."""
    config = settings(args)
    consumer = _consumer(args, config)
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    with consumer:
        if not consumer.connected:
            raise BrokerUnavailableError(f"the broker {consumer.url} cannot be reached")
        if args.stored_in is not None:
            consumer.replay(args.since, outbox=args.stored_in)
        return _watch(args, consumer)


def _consumer(args: argparse.Namespace, config: Config) -> Consumer:
    url = required_broker(config)
    _check_start(args, is_log=url.scheme == "file")
    return Consumer(
        url,
        topics=args.patterns,
        queue=args.durable,
        durable=args.durable is not None,
        exchange=config.require("exchange"),
        from_start=args.from_start if args.since is None or args.stored_in is not None else args.since,
        expect=dict(args.expect),
    )


def _check_start(args: argparse.Namespace, *, is_log: bool) -> None:
    if args.from_start and not is_log and not args.durable:
        raise ConfigError("--from-start needs stored events: a file:// broker, or --durable NAME")
    if args.since is None:
        if args.stored_in is not None:
            raise ConfigError("--outbox is where --since finds stored events; add --since TIME, or leave it out")
        return
    if args.from_start or args.durable is not None:
        raise ConfigError("--since shows what was stored to this tail only; leave out --durable and --from-start")
    if args.stored_in is None and not is_log:
        raise ConfigError("a network broker stores no events for --since; add --outbox FILE, which this user can write")


def _expected(text: str) -> tuple[str, float]:
    source, separator, number = text.rpartition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE=SECONDS, such as system://HOST=90")
    return source, seconds(number)


def _watch(args: argparse.Namespace, consumer: Consumer) -> int:
    colour = not args.json and sys.stdout.isatty()
    # Without an outbox nothing can check whether it is still public.
    doubtful = None if args.since is None or args.stored_in is not None else Doubtful(time.time())
    shown = 0
    quiet_since = time.monotonic()
    while args.count is None or shown < args.count:
        left_s = WAIT_SECONDS if args.timeout is None else quiet_since + args.timeout - time.monotonic()
        event = consumer.receive(max(0.0, left_s))
        if event is not None and doubtful is not None and doubtful.hides(event):
            consumer.acknowledge()
        elif event is not None:
            _show(event, as_json=args.json, colour=colour)
            consumer.acknowledge()
            shown += 1
            quiet_since = time.monotonic()
        elif consumer.stopped:
            return EXIT_OK
        elif args.timeout is not None and time.monotonic() - quiet_since >= args.timeout:
            return EXIT_OK if shown and args.count is None else EXIT_NOTHING
    return EXIT_OK


class Doubtful:
    """Stored events that may not be public any more; the first one is logged."""

    def __init__(self, until: float) -> None:
        self._until = format_time(until)
        self._hidden = 0

    def hides(self, event: Event) -> bool:
        """Return whether an event was stored before the start, and may have become private since."""
        scheme = event.source.partition("://")[0]
        if scheme not in ASKED_SCHEMES or event.type == WITHHELD_TYPE or event.time >= self._until:
            return False
        self._hidden += 1
        if self._hidden == 1:
            logger.warning(
                "stored events of %s:// are not shown, because they may not be public any more; with --outbox FILE "
                "they are checked, where their relay could run",
                scheme,
            )
        return True


def _show(event: Event, *, as_json: bool, colour: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(encode(event) + b"\n")
        sys.stdout.buffer.flush()
    else:
        print(line(event, colour=colour), flush=True)
