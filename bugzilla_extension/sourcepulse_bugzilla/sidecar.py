# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Serve a Bugzilla that has the extension: fetch its rows, store their events in the outbox, relay them."""

from __future__ import annotations

import argparse
import grp
import logging
import os
import signal
import threading
from pathlib import Path

from sourcepulse.cli.commands.relay import RELAY_SETTINGS, print_reports, warn_of_doubts
from sourcepulse.cli.common import add_settings, log_once, settings
from sourcepulse.cli.waiting import wait_out
from sourcepulse.config import Config, readable_by_others
from sourcepulse.errors import EXIT_OK, EXIT_REFUSED, ConfigError, RelayRunningError
from sourcepulse.relay.assemble import open_relay
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse.relay.thread import RelayThread
from sourcepulse_bugzilla.errors import LockedError
from sourcepulse_bugzilla.lifecycle.service import Service
from sourcepulse_bugzilla.lifecycle.session import Work, claim, open_session
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.perl.requests import DEFAULT_PERL, command_for

HELP = "publish the events of a Bugzilla"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bugzilla", type=Path, metavar="DIR", required=True, help="the folder of Bugzilla")
    # The default configuration is that of another relay, for example of Mercurial.
    add_settings(parser, *RELAY_SETTINGS, "metrics_file", "max_event_bytes", reads_default_files=False)
    parser.add_argument("--perl", default=DEFAULT_PERL, metavar="PERL", help="the Perl that runs Bugzilla")
    parser.add_argument("--group", metavar="NAME", help="the group that may nudge (default: that of the web server)")
    parser.add_argument("--once", action="store_true", help="fetch and send what is there, then exit")
    parser.add_argument(
        "--reconcile", action="store_true", help="also publish what Bugzilla recorded and is missing, then exit"
    )
    parser.add_argument("--retry-buried", action="store_true", help="first return buried rows to the queue")
    parser.add_argument(
        "--claim",
        action="store_true",
        help="record that this folder serves its site id from now on; forget other folders with the same id",
    )
    parser.add_argument("--no-relay", action="store_true", help="only store events; another process sends them")
    parser.add_argument("--rebind", action="store_true", help="accept that the broker has changed")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped (SIGTERM, SIGINT), or do everything once.

    A service waits for what makes it fail, see `wait_out`; in a terminal that is an error at once.
    """
    with Stop() as stop:
        _end_on_signals(stop)
        manager = ServiceManager(os.environ)
        if not manager.is_listening or args.once or args.reconcile or args.claim:
            return _run(args, stop)

        def ended(wait_s: float) -> bool:
            stop.wait(wait_s)
            return stop.is_set()

        return wait_out(lambda: _run(args, stop), manager, ended=ended, explain=lambda error: str(args.explain(error)))


def _run(args: argparse.Namespace, stop: Stop) -> int:
    config = settings(args)
    folder = Path(os.path.realpath(args.bugzilla))
    work = Work(
        command=command_for(folder, args.perl),
        folder=folder,
        outbox=Path(config.require("outbox")),
        max_bytes=config.number("max_event_bytes"),
    )
    group = _group(args.group)
    relays = not args.no_relay and config.broker() is not None
    if relays:
        warn_of_doubts(args, config)
    elif not args.no_relay:
        log_once(
            args, "no broker is set: events stay in the outbox until `sourcepulse relay` sends them", level=logging.INFO
        )
    if readable_by_others(work.outbox):
        log_once(args, f"{work.outbox} can be read by others, and may hold what is not public: chmod 600")
    if args.claim:
        claim(work, stop, ServiceManager(os.environ))
    if args.once or args.reconcile:
        return _once(args, config, work, stop, relays=relays)
    return _serve(args, config, work, stop, group=group, relays=relays)


def _serve(args: argparse.Namespace, config: Config, work: Work, stop: Stop, *, group: int | None, relays: bool) -> int:
    relay = RelayThread(work.outbox, config, warn=logger.warning, rebind=args.rebind)
    # The loop that drains notifies the watchdog, and only while the one that delivers turns as well.
    manager = ServiceManager(os.environ, is_well=lambda: not relay.hangs())
    begun = relay.start if relays else lambda: None
    try:
        Service(work, group=group, stop=stop, manager=manager, begun=begun).run(retry_buried=args.retry_buried)
    finally:
        if stop.is_set():
            manager.stopping()
        relay.stop()
    return EXIT_OK


def _once(args: argparse.Namespace, config: Config, work: Work, stop: Stop, *, relays: bool) -> int:
    with open_session(work, stop, ServiceManager(os.environ)) as session:
        try:
            session.drainer.lock()
        except LockedError as error:
            if not args.claim:
                raise
            logger.info("%s; it continues", error)
            return EXIT_OK
        if args.retry_buried:
            logger.info("%d buried rows are tried again", session.drainer.retry())
        session.drain()
        if args.reconcile or session.marks_file.read() is None:
            session.reconcile()
        if sentence := session.note_silence(session.drainer.stats()):
            logger.warning("%s", sentence)
        logger.info("stored the events of %d rows, buried %d", session.published, session.buried)
        buried = session.buried
    code = _relay_once(args, config, work) if relays and not stop.is_set() else EXIT_OK
    return code or (EXIT_REFUSED if buried else EXIT_OK)


def _relay_once(args: argparse.Namespace, config: Config, work: Work) -> int:
    try:
        with open_relay(work.outbox, config, threading.Event(), rebind=args.rebind) as relay:
            return print_reports(relay.once())
    except RelayRunningError as error:
        logger.info("%s, and sends what was stored", error)
        return EXIT_OK


def _group(name: str | None) -> int | None:
    if name is None:
        return None
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {name!r}") from None


def _end_on_signals(stop: Stop) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
