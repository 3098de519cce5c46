# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Publish the events of an outbox to its broker, as a daemon or once."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
import time
from pathlib import Path

from sourcepulse.cli.common import add_settings, log_once, outbox_path, seconds, settings
from sourcepulse.cli.waiting import wait_out
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
from sourcepulse.outbox.delivery_state import bound_broker
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.relay.assemble import open_relay, places_of
from sourcepulse.relay.collect import collectors, sweep
from sourcepulse.relay.health.second_relay import note_second_relay
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse.relay.on_demand import are_others, forget_settings, identity, is_on_demand, start_ended, write_settings
from sourcepulse.relay.relay import Relay
from sourcepulse.relay.sender import DeliveryReport
from sourcepulse.relay.streams import doubts

HELP = "publish the events of an outbox to its broker"

#: The settings of every command that relays.
RELAY_SETTINGS = (
    "outbox",
    "broker",
    "broker_file",
    "exchange",
    "restricted_broker",
    "restricted_broker_file",
    "restricted_exchange",
    "management_url",
    "management_url_file",
    "format",
    "heartbeat_s",
    "on_change",
)
#: How often a relay checks whether a removed outbox is back.
ABSENT_POLL_SECONDS = 1.0
#: How long a relay with new settings waits for one with older settings to exit.
TAKE_OVER_SECONDS = 30.0

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `relay`."""
    add_settings(parser, *RELAY_SETTINGS, "metrics_file")
    parser.add_argument("--once", action="store_true", help="collect, try once to publish everything pending, and exit")
    parser.add_argument("--rebind", action="store_true", help="accept that the broker has changed")
    parser.add_argument("--idle-exit", type=seconds, metavar="SECONDS", help="exit after SECONDS without work")


def run(args: argparse.Namespace) -> int:
    """Relay until SIGTERM or SIGINT, until idle, or once.

    A service waits for what makes it fail, see `wait_out`; in a terminal that is an error at once.
    """
    ending, stop = threading.Event(), threading.Event()
    args.manager = ServiceManager(os.environ)
    interrupted = _end_on_signals(ending, stop, args.manager)

    def serve() -> int:
        # The relay before has set it; the signal handler sets `ending` first, so no signal is lost here.
        stop.clear()
        if ending.is_set():
            return EXIT_OK
        config = settings(args)
        _require_both(config)
        warn_of_doubts(args, config)
        return _serve_until_ended(args, config, ending, stop)

    if args.manager.is_listening and not args.once and args.idle_exit is None:
        code = wait_out(serve, args.manager, ended=ending.wait, explain=lambda error: str(args.explain(error)))
    else:
        code = serve()
    return EXIT_INTERRUPTED if interrupted.is_set() else code


def _require_both(config: Config) -> None:
    """Raise one ConfigError for all missing settings; it names the broker that the events went to before."""
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
            missing.append(f"{error}; the events went to {bound} before" if bound else str(error))
    if missing:
        raise ConfigError("; ".join(missing))


def _bound(path: Path) -> str | None:
    try:
        with Outbox.open(path, create=False) as outbox:
            return bound_broker(outbox, PUBLIC)
    except (OutboxError, NothingThereError):
        # The error is reported when the relay opens the outbox.
        return None


def warn_of_doubts(args: argparse.Namespace, config: Config) -> None:
    """Log a warning for each allowed but unsafe choice of broker or exchange."""
    places = places_of(config)
    if PUBLIC in places and RESTRICTED in places:
        log_once(args, *doubts(places[PUBLIC], places[RESTRICTED]))


def _serve_until_ended(args: argparse.Namespace, config: Config, ending: threading.Event, stop: threading.Event) -> int:
    while True:
        try:
            return _serve_until_idle(args, config, ending, stop)
        except (OutboxReplacedError, NothingThereError) as error:
            if args.once or (args.idle_exit is not None and isinstance(error, NothingThereError)):
                raise
            # A mistyped path must not create an outbox; the process that writes events creates the right one.
            what = "starting again" if isinstance(error, OutboxReplacedError) else "waiting for it"
            logger.warning("%s; %s", error, what)
            # The signal handler sets `ending` first, so no signal is lost here.
            stop.clear()
            # More cannot be done before its first event makes the outbox, and whatever starts after us must not wait.
            args.manager.ready()
            args.manager.status(f"there is no outbox {outbox_path(config)} yet; its first event makes it")
            while not ending.is_set() and not outbox_path(config).exists():
                if args.idle_exit is not None:
                    return EXIT_OK
                stop.wait(ABSENT_POLL_SECONDS)
                args.manager.alive()
                # The path itself may be corrected.
                config = config.again()
            if ending.is_set():
                return EXIT_OK


def _end_on_signals(ending: threading.Event, stop: threading.Event, manager: ServiceManager) -> threading.Event:
    """Make SIGTERM and SIGINT set both events, in this order; return an event that SIGINT sets as well."""
    interrupted = threading.Event()

    def end(number: int) -> None:
        if number == signal.SIGINT:
            interrupted.set()
        manager.stopping()
        ending.set()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread, because the signal may interrupt a wait for the same event, whose lock would block `set` forever.
        signal.signal(number, lambda number, _: threading.Thread(target=end, args=(number,)).start())
    return interrupted


def _serve_until_idle(args: argparse.Namespace, config: Config, ending: threading.Event, stop: threading.Event) -> int:
    if args.once:
        return _serve(args, config, stop)
    if args.idle_exit is None:
        return _serve_and_replace(args, config, ending, stop)
    outbox = str(outbox_path(config))
    settings_used = identity(broker=config.text("broker"), broker_file=config.text("broker_file"))
    give_up_at = time.monotonic() + TAKE_OVER_SECONDS
    # The hook starts no relay while one holds the lock, so this one must look for events once more after releasing it:
    # either the hook saw the lock free, or this relay sees its event.
    while True:
        try:
            _serve(args, config, stop, on_demand=settings_used)
        except RelayRunningError:
            if not are_others(outbox, settings_used) or time.monotonic() > give_up_at:
                start_ended(outbox)
                return EXIT_OK
            # Ask the relay with older settings to exit; it may be waiting for a broker that does not answer.
            write_settings(outbox, settings_used)
            continue
        if ending.is_set() or are_others(outbox, settings_used) or not _waiting(config):
            return EXIT_OK
        stop.clear()


def _serve_and_replace(args: argparse.Namespace, config: Config, ending: threading.Event, stop: threading.Event) -> int:
    """Serve; ask a relay that a push started to exit first, because it would hold the lock while its broker is away."""
    path = outbox_path(config)
    give_up_at = time.monotonic() + TAKE_OVER_SECONDS
    while not ending.is_set():
        try:
            return _serve(args, config, stop)
        except RelayRunningError:
            if not is_on_demand(str(path)) or time.monotonic() > give_up_at:
                note_second_relay(path)
                raise
            # No relay that a push starts has these settings.
            write_settings(str(path), f"service {os.getpid()}")
            args.manager.alive()
    return EXIT_OK


def _serve(args: argparse.Namespace, config: Config, stop: threading.Event, *, on_demand: str | None = None) -> int:
    path = outbox_path(config)
    manager: ServiceManager = args.manager
    with open_relay(
        path, config, stop, rebind=args.rebind, create=False, turned=manager.alive, report=manager.status
    ) as relay:
        start_ended(str(path))
        manager.ready()
        if args.once:
            return print_reports(relay.once())
        _greet(relay, path, config)
        if on_demand is None:
            forget_settings(str(path))
            relay.run(idle_exit_s=args.idle_exit)
        else:
            write_settings(str(path), on_demand)
            relay.run(idle_exit_s=args.idle_exit, gives_way=lambda: are_others(str(path), on_demand))
    return EXIT_OK


def _greet(relay: Relay, path: Path, config: Config) -> None:
    """Log what this relay does, so that a terminal or a journal is not silent."""
    streams = ", ".join(f"{stream} events to {place}" for stream, place in places_of(config).items())
    waits = "events are pending" if relay.has_work() else "nothing is pending"
    logger.info("relaying %s as process %d: %s; %s", path, os.getpid(), streams, waits)


def _waiting(config: Config) -> bool:
    with Outbox.open(outbox_path(config), create=False) as outbox:
        # A place that was announced while the relay ended.
        sweep(outbox, collectors())
        return any(outbox.has_pending(stream) for stream in places_of(config))


def print_reports(reports: list[DeliveryReport]) -> int:
    """Log what one round did and return the matching exit code."""
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
