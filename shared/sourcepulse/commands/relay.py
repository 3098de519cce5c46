# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Send the events of an outbox to its broker, as a daemon or once."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from sourcepulse.brokers import Publisher, open_publisher
from sourcepulse.collect import collectors, sweep
from sourcepulse.commands.common import add_settings, outbox_path, seconds, settings
from sourcepulse.config import Config
from sourcepulse.delivery import Delivery, DeliveryReport
from sourcepulse.errors import (
    EXIT_BROKER,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_REFUSED,
    ConfigError,
    OutboxReplacedError,
    RelayRunningError,
)
from sourcepulse.event import PUBLIC, RESTRICTED
from sourcepulse.housekeeping import Keep
from sourcepulse.outbox import Outbox
from sourcepulse.outbox_places import places as former_places
from sourcepulse.relay import Relay, bind, relay_lock
from sourcepulse.streams import Place, check_apart, check_former, doubts

HELP = "send the events of an outbox to its broker"

#: Each stream with the prefix of its settings.
STREAMS = ((PUBLIC, ""), (RESTRICTED, "restricted_"))

#: How often a relay looks whether a removed outbox is back.
ABSENT_POLL_SECONDS = 1.0

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `relay`."""
    add_settings(
        parser,
        "outbox",
        "broker",
        "broker_file",
        "exchange",
        "restricted_broker",
        "restricted_broker_file",
        "restricted_exchange",
        "format",
    )
    parser.add_argument("--once", action="store_true", help="collect, make one attempt at everything pending, end")
    parser.add_argument("--rebind", action="store_true", help="send to another broker than so far")
    parser.add_argument("--idle-exit", type=seconds, metavar="SECONDS", help="end after so long without work")


def run(args: argparse.Namespace) -> int:
    """Relay until told to stop (SIGTERM, SIGINT), until idle, or once."""
    config = settings(args)
    config.broker() or config.require("broker")
    places = _places(config)
    for doubt in doubts(places[PUBLIC], places[RESTRICTED]) if RESTRICTED in places else ():
        logger.warning("%s", doubt)
    told, stop = threading.Event(), threading.Event()
    interrupted = _end_on_signals(told, stop)
    code = _serve_until_told(args, config, told, stop)
    return EXIT_INTERRUPTED if interrupted.is_set() else code


def _serve_until_told(args: argparse.Namespace, config: Config, told: threading.Event, stop: threading.Event) -> int:
    while True:
        try:
            return _serve_until_idle(args, config, stop)
        except OutboxReplacedError as error:
            if args.once:
                raise
            logger.warning("%s; beginning anew", error)
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


def _serve_until_idle(args: argparse.Namespace, config: Config, stop: threading.Event) -> int:
    try:
        if args.once or args.idle_exit is None:
            return _serve(args, config, stop)
        # The hook starts no relay while one holds the lock, so a last look after letting go of it is needed:
        # either the hook saw the lock free, or we see its event.
        while True:
            _serve(args, config, stop)
            if stop.is_set() or not _waiting(config):
                return EXIT_OK
    except RelayRunningError:
        if args.idle_exit is None:
            raise
        return EXIT_OK


def _serve(args: argparse.Namespace, config: Config, stop: threading.Event) -> int:
    with ExitStack() as stack:
        places = _places(config)
        outbox = stack.enter_context(Outbox.open(outbox_path(config)))
        stack.enter_context(relay_lock(outbox.path))
        _keep_apart(outbox, places)
        deliveries = [
            _delivery(stack, outbox, config, stream, place, rebind=args.rebind) for stream, place in places.items()
        ]
        relay = Relay(
            outbox,
            deliveries,
            sweep=partial(sweep, outbox, collectors()),
            keep=Keep(days=config.number("keep_days"), bytes=config.number("keep_bytes")),
            stop=stop,
        )
        if args.once:
            return _tell(relay.once())
        relay.run(idle_exit_s=args.idle_exit)
    return EXIT_OK


def _waiting(config: Config) -> bool:
    with Outbox.open(outbox_path(config)) as outbox:
        return any(outbox.claim(stream, limit=1) for stream in _places(config))


def _places(config: Config) -> dict[str, Place]:
    """Give where each stream goes that has a broker."""
    return {
        stream: Place(url, config.require(f"{prefix}exchange"))
        for stream, prefix in STREAMS
        if (url := config.broker(prefix)) is not None
    }


def _keep_apart(outbox: Outbox, places: dict[str, Place]) -> None:
    """Refuse to start, whatever --rebind says, if restricted events could become public."""
    if RESTRICTED not in places:
        return
    try:
        check_apart(places[PUBLIC], places[RESTRICTED])
        for former in former_places(outbox, PUBLIC):
            check_former(former, places[RESTRICTED])
    except ConfigError as error:
        # A relay that the hook started has nobody to tell it to: `status` shows it.
        outbox.note_failure(RESTRICTED, str(error), retry_in=lambda _: 0.0)
        raise


def _delivery(stack: ExitStack, outbox: Outbox, config: Config, stream: str, place: Place, *, rebind: bool) -> Delivery:
    bind(outbox, stream, str(place), rebind=rebind)
    return Delivery(
        stack.enter_context(Outbox.open(outbox.path)),
        stream,
        _opener(place),
        exchange=place.exchange,
        pulse_format=config.text("format") == "pulse",
        clock=time.time,
    )


def _opener(place: Place) -> Callable[[], Publisher]:
    return lambda: open_publisher(place.url, exchange=place.exchange)


def _tell(reports: list[DeliveryReport]) -> int:
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
