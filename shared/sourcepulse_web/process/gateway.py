# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One process: the settings, the log, what fills and reads it, and the site, started and stopped together."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.task import LoopingCall
from twisted.logger import STDLibLogObserver, globalLogBeginner

from sourcepulse import __version__
from sourcepulse.brokers.file.reader import LogReader
from sourcepulse.cli.common import settings as read_settings
from sourcepulse.cli.waiting import wait_out
from sourcepulse.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError, SourcePulseError
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse_web.board.board import SLICE_SECONDS, Board
from sourcepulse_web.bridge.bridge import Bridge
from sourcepulse_web.bridge.own_log import Keep, OwnLog
from sourcepulse_web.pages.live.view import RowView
from sourcepulse_web.pages.live.watch import Watch
from sourcepulse_web.process.choices import broker_of, check_exchanges, log_path, prepare_log, settings_of, source_of
from sourcepulse_web.process.condition import Measure
from sourcepulse_web.process.hooks import Hooks
from sourcepulse_web.process.listening import listen
from sourcepulse_web.process.live_settings import FIXED, LOOK_SECONDS, LiveSettings
from sourcepulse_web.process.reading import Reading
from sourcepulse_web.server.site import GatewaySite
from sourcepulse_web.services import Services
from sourcepulse_web.stream.faults import Faults
from sourcepulse_web.stream.hub import Hub

#: How long the end of all streams, of the sender of webhooks, and of all together with the bridge may take.
STOP_STREAMS_SECONDS = 5.0
STOP_SENDER_SECONDS = 22.0
STOP_SECONDS = 25.0
ALIVE_SECONDS = 1.0
#: A bridge that has not turned for so long is stuck: one turn is a call of the broker, of 40 s at most, or a commit.
STUCK_SECONDS = 120.0

logger = logging.getLogger(__name__)


def serve(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code.

    As a service it waits for what makes it fail, such as a locked log; in a terminal that is an error at once.
    """
    observer: Any = STDLibLogObserver("twisted")
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    # Of its own doings Twisted logs much, and the addresses of clients.
    logging.getLogger("twisted").setLevel(logging.WARNING)
    signals: list[int] = []
    ends: list[Callable[[], None]] = []

    def end(number: int, _: object) -> None:
        signals.append(number)
        for each in ends:
            each()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    manager = ServiceManager(os.environ)

    def run() -> int:
        if not signals:
            gateway = Gateway(args, manager)
            ends.append(gateway.end_soon)
            return gateway.run()
        return EXIT_OK

    def ended(wait_s: float) -> bool:
        time.sleep(0 if signals else wait_s)
        return bool(signals)

    code = wait_out(run, manager, ended=ended) if manager.is_listening else run()
    return EXIT_INTERRUPTED if signal.SIGINT in signals else code


class Gateway:
    """The parts of one process; made, it holds its address, and raises what keeps it from serving."""

    def __init__(self, args: argparse.Namespace, manager: ServiceManager) -> None:
        self._reactor: Any = the_reactor
        self._manager = manager
        self._code: int | None = None
        self._end_by = 0.0
        config = read_settings(args)
        self.settings = LiveSettings(config, lambda each: settings_of(each, args), fixed=FIXED)
        now = self.settings()
        broker = broker_of(config, restricted=args.restricted)
        path = log_path(broker, now, os.environ)
        own = broker.scheme != "file"
        prepare_log(path, now, own=own)
        self._path = path
        self.bridge: Bridge | None = None
        if own:
            source_of(config, now)
            log = OwnLog(path, now.exchange, lambda: Keep(self.settings().log_keep_s, self.settings().log_keep_bytes))
            self.bridge = Bridge(
                lambda: source_of(self.settings.config(), self.settings()), log, appended=self._appended
            )
        self.hooks = Hooks(self._reactor, config, self.settings, log=path, verbose=args.verbose)
        self.services = self._services()
        self.site = GatewaySite(self.services)
        try:
            self._port = listen(self._reactor, self.site, now.listen)
        except SourcePulseError:
            # A service tries again and again.
            self.services.board.close()
            self.services.log.close()
            raise
        allow_connections(self.site.connections_max)

    def run(self) -> int:
        """Serve until `end_soon`, or until it must not go on, and return the exit code; once in a process."""
        address = self._port.getHost()
        where = f"[{address.host}]" if ":" in address.host else address.host
        logger.info("serving %s at http://%s:%d/", self._path, where, address.port)
        self.services.hub.start()
        Reading(self.services.board, self._reactor, self.services.hub.levelled).turn()
        if self.bridge is not None:
            self.bridge.start()
        LoopingCall(self.settings.look).start(LOOK_SECONDS)
        LoopingCall(self._alive).start(ALIVE_SECONDS)
        self.hooks.start()
        self._manager.ready()
        self._reactor.run(installSignalHandlers=False)
        if self.bridge is not None and not self.bridge.stop(max(0.0, self._end_by - time.monotonic())):
            logger.warning("the bridge did not end in time; what it did not acknowledge is delivered again")
        return self._code or EXIT_OK

    def end_soon(self) -> None:
        """End in good order; called by a signal handler."""
        # Before the reactor runs, this waits for it.
        self._reactor.callFromThread(self._end, EXIT_OK)

    def _services(self) -> Services:
        log = LogReader(self._path, self.settings().exchange)
        exchange = self.settings().exchange
        board = Board(self._path, lambda: self.settings().trees, time.time, exchange=exchange, slice_s=SLICE_SECONDS)
        watch = Watch(time.time, log)
        watch.start()
        faults = Faults()
        hub = Hub(
            log,
            clock=time.time,
            reactor=self._reactor,
            before=[board.apply, watch.apply],
            views={"rows": RowView(board.seen, lambda: self.settings().trees, watch, faults)},
            channels={"board": board},
            away=self._away,
            faults=faults,
            alive=lambda: {
                "late_s": round(self.services.condition().late_s, 1),
                "last_s": watch.last_s(),
                "beats": watch.beats(),
            },
        )
        measure = Measure(
            log,
            self.bridge,
            position=lambda: hub.position,
            unread=lambda: hub.problem,
            problem=lambda: self.settings.problem,
            board=board.behind,
            clock=time.time,
        )
        return Services(
            settings=self.settings,
            log=log,
            hub=hub,
            board=board,
            clock=time.time,
            version=__version__,
            condition=measure,
            watch=watch,
            bridge=self.bridge.state if self.bridge is not None else None,
            webhooks=self.hooks,
        )

    def _appended(self) -> None:
        """Wake the streams, from the thread of the bridge."""
        self._reactor.callFromThread(self.services.hub.wake)

    def _away(self) -> str | None:
        state = self.bridge.state.now if self.bridge is not None else None
        return None if state is None or state.connected else state.reason or "the bridge has not connected yet"

    def _alive(self) -> None:
        """Notify the watchdog while both loops turn, and report the state in a line."""
        condition = self.services.condition()
        self._check_exchanges()
        if self.bridge is not None and time.monotonic() > self.bridge.turned_at + STUCK_SECONDS:
            return
        self._manager.alive()
        problem = condition.log_problem or ("" if condition.connected else condition.reason)
        doubts = "".join(f"; {each}" for each in self.hooks.state().warnings)
        serving = f"serving {self.services.hub.clients} streams{doubts}"
        self._manager.status(f"waiting: {problem}" if problem else serving)

    def _check_exchanges(self) -> None:
        """End if another program has begun to write events of another exchange into the log."""
        try:
            check_exchanges(self.services.log, self._path, self.settings())
        except ConfigError as error:
            if self._code is None:
                logger.error("%s; the gateway ends", error)
            self._end(error.exit_code)
        except SourcePulseError:
            # The condition names why the log cannot be read.
            return

    def _end(self, code: int) -> None:
        """Send every stream its end, then end the reactor, within a limit."""
        if self._code is not None:
            return
        self._code = code
        self._manager.stopping()
        self._port.stopListening()
        self._end_by = time.monotonic() + STOP_SECONDS
        if self.bridge is not None:
            self.bridge.end_soon()
        parts = {"streams", "sender"}

        def ended(part: str) -> None:
            if part in parts:
                parts.remove(part)
                if not parts:
                    self._reactor.stop()

        self._reactor.callLater(STOP_STREAMS_SECONDS, ended, "streams")
        self._reactor.callLater(STOP_SENDER_SECONDS, ended, "sender")
        self.services.hub.stop("shutdown").addBoth(lambda _: ended("streams"))
        self.hooks.end().addBoth(lambda _: ended("sender"))


def allow_connections(wanted: int) -> None:
    """Raise the limit of open files to what so many connections need, and log if the system forbids that."""
    spare = 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + spare
    if soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < needed:
            logger.warning(
                "clients_max needs %d open files, and this process may have %d: raise LimitNOFILE or lower clients_max",
                needed,
                allowed,
            )
