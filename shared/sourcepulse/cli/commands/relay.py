# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Send the events of an outbox to its broker, as a daemon or once."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
import time
from pathlib import Path

from sourcepulse.cli.common import add_settings, outbox_path, seconds, settings
from sourcepulse.config import Config
from sourcepulse.errors import (
    EXIT_BROKER,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    ConfigError,
    NothingThereError,
    OutboxError,
    OutboxReplacedError,
    RelayRunningError,
)
from sourcepulse.events.event import PUBLIC, RESTRICTED
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.assemble import open_relay, places_of
from sourcepulse.relay.on_demand import are_others, forget_settings, identity, start_ended, write_settings
from sourcepulse.relay.relay import Relay
from sourcepulse.relay.sender import DeliveryReport
from sourcepulse.relay.streams import doubts

HELP = "send the events of an outbox to its broker"

#: The settings of whoever relays.
RELAY_SETTINGS = (
    "outbox",
    "broker",
    "broker_file",
    "exchange",
    "restricted_broker",
    "restricted_broker_file",
    "restricted_exchange",
    "format",
)
#: How often a relay looks whether a removed outbox is back.
ABSENT_POLL_SECONDS = 1.0
#: How long a relay by new settings waits for one by older settings to end.
TAKE_OVER_SECONDS = 30.0

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `relay`."""
    add_settings(parser, *RELAY_SETTINGS)
    parser.add_argument("--once", action="store_true", help="collect, make one attempt at everything pending, end")
    parser.add_argument("--rebind", action="store_true", help="send to another broker than so far")
    parser.add_argument("--idle-exit", type=seconds, metavar="SECONDS", help="end after so long without work")


def run(args: argparse.Namespace) -> int:
    """Relay until told to stop (SIGTERM, SIGINT), until idle, or once."""
    config = settings(args)
    _require_both(config)
    warn_of_doubts(config)
    told, stop = threading.Event(), threading.Event()
    interrupted = _end_on_signals(told, stop)
    code = _serve_until_told(args, config, told, stop)
    return EXIT_INTERRUPTED if interrupted.is_set() else code


def _require_both(config: Config) -> None:
    """Raise one ConfigError for all that is missing, with where the events went so far."""
    missing = []
    bound = None
    try:
        path = outbox_path(config)
    except ConfigError as error:
        missing.append(str(error))
    else:
        bound = _bound(path)
    if config.broker() is None:
        try:
            config.require("broker")
        except ConfigError as error:
            missing.append(f"{error}, or --broker-file" + (f"; so far the events went to {bound}" if bound else ""))
    if missing:
        raise ConfigError("; ".join(missing))


def _bound(path: Path) -> str | None:
    try:
        with Outbox.open(path, create=False) as outbox:
            return outbox.bound_broker(PUBLIC)
    except (OutboxError, NothingThereError):
        # It is named when it is opened to be served.
        return None


def warn_of_doubts(config: Config) -> None:
    """Say what is doubtful about where the streams go."""
    places = places_of(config)
    if PUBLIC in places and RESTRICTED in places:
        for doubt in doubts(places[PUBLIC], places[RESTRICTED]):
            logger.warning("%s", doubt)


def _serve_until_told(args: argparse.Namespace, config: Config, told: threading.Event, stop: threading.Event) -> int:
    while True:
        try:
            return _serve_until_idle(args, config, told, stop)
        except (OutboxReplacedError, NothingThereError) as error:
            if args.once or (args.idle_exit is not None and isinstance(error, NothingThereError)):
                raise
            # A mistyped path must not become an outbox; the one that is meant is made by what writes to it.
            what = "beginning anew" if isinstance(error, OutboxReplacedError) else "waiting for it"
            logger.warning("%s; %s", error, what)
            # The signal sets `told` first, so none is lost here.
            stop.clear()
            while not told.is_set() and not outbox_path(config).exists():
                if args.idle_exit is not None:
                    return EXIT_OK
                stop.wait(ABSENT_POLL_SECONDS)
            if told.is_set():
                return EXIT_OK


def _end_on_signals(told: threading.Event, stop: threading.Event) -> threading.Event:
    """Have SIGTERM and SIGINT set both events, in this order, and give the event that tells of SIGINT."""
    interrupted = threading.Event()

    def end(number: int) -> None:
        if number == signal.SIGINT:
            interrupted.set()
        told.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread, for the signal may interrupt a wait for the same event, which would never let it be set.
        signal.signal(number, lambda number, _: threading.Thread(target=end, args=(number,)).start())
    return interrupted


def _serve_until_idle(args: argparse.Namespace, config: Config, told: threading.Event, stop: threading.Event) -> int:
    if args.once or args.idle_exit is None:
        return _serve(args, config, stop)
    outbox = str(outbox_path(config))
    settings_used = identity(broker=config.text("broker"), broker_file=config.text("broker_file"))
    give_up_at = time.monotonic() + TAKE_OVER_SECONDS
    # The hook starts no relay while one holds the lock, so a last look after letting go of it is needed: either the
    # hook saw the lock free, or we see its event.
    while True:
        try:
            _serve(args, config, stop, on_demand=settings_used)
        except RelayRunningError:
            if not are_others(outbox, settings_used) or time.monotonic() > give_up_at:
                start_ended(outbox)
                return EXIT_OK
            # One by older settings is asked to end; it may be waiting for a broker that does not answer.
            write_settings(outbox, settings_used)
            continue
        if told.is_set() or are_others(outbox, settings_used) or not _waiting(config):
            return EXIT_OK
        stop.clear()


def _serve(args: argparse.Namespace, config: Config, stop: threading.Event, *, on_demand: str | None = None) -> int:
    path = outbox_path(config)
    with open_relay(path, config, stop, rebind=args.rebind, create=False) as relay:
        start_ended(str(path))
        if args.once:
            return tell_reports(relay.once())
        _greet(relay, path, config)
        if on_demand is None:
            forget_settings(str(path))
            relay.run(idle_exit_s=args.idle_exit)
        else:
            write_settings(str(path), on_demand)
            relay.run(idle_exit_s=args.idle_exit, gives_way=lambda: are_others(str(path), on_demand))
    return EXIT_OK


def _greet(relay: Relay, path: Path, config: Config) -> None:
    """Log what runs now, so that a terminal or a journal shows more than silence."""
    streams = ", ".join(f"{stream} events to {place}" for stream, place in places_of(config).items())
    waits = "events wait" if relay.has_work() else "nothing waits"
    logger.info("the relay of %s runs as process %d: %s; %s", path, os.getpid(), streams, waits)


def _waiting(config: Config) -> bool:
    with Outbox.open(outbox_path(config), create=False) as outbox:
        return any(outbox.claim(stream, limit=1) for stream in places_of(config))


def tell_reports(reports: list[DeliveryReport]) -> int:
    """Say what one round did, and give the exit code that says it."""
    delivered = sum(report.delivered for report in reports)
    unroutable = sum(report.unroutable for report in reports)
    buried = sum(report.buried for report in reports)
    replayed = sum(report.replayed for report in reports)
    logger.info(
        "delivered %d (%d of them to no queue), replayed %d, buried %d", delivered, unroutable, replayed, buried
    )
    if any(report.error for report in reports):
        return EXIT_BROKER
    return EXIT_REFUSED if buried else EXIT_OK
