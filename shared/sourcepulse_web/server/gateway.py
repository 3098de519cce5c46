# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""One process: the settings, the log, what reads it, and the site, started and stopped together."""

from __future__ import annotations

import argparse
import logging
import signal
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.error import CannotListenError
from twisted.web.server import Site

from sourcepulse import __version__
from sourcepulse.brokers.file.tables import LogFile
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.common import settings as read_settings
from sourcepulse.config import Config
from sourcepulse.errors import EXIT_INTERRUPTED, EXIT_OK, ConfigError
from sourcepulse_web.server.request import GatewayRequest
from sourcepulse_web.server.routes import Routes
from sourcepulse_web.services import Services
from sourcepulse_web.settings import WebSettings, web_settings

#: Where the unit keeps it; `StateDirectory=` of a unit of your own wins.
STATE_FOLDER = "/var/lib/sourcepulse-web"
LOG_NAME = "log.db"
STATE_VARIABLE = "STATE_DIRECTORY"
#: The parts that a gateway starts where they are installed: module, class.
HUB = ("sourcepulse_web.stream.hub", "Hub")
BOARD = ("sourcepulse_web.board.board", "Board")
READER = ("sourcepulse.brokers.file.reader", "LogReader")

logger = logging.getLogger(__name__)


def serve(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code."""
    config = read_settings(args)
    settings = settings_of(config, args)
    broker = broker_of(config, restricted=args.restricted)
    path = log_path(broker, settings, environ)
    reactor: Any = the_reactor
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        reactor.callFromThread(reactor.stop)

    LogFile(path).close()
    board = _part(BOARD, path, lambda: settings.trees, time.time)
    log = _part(READER, path, settings.exchange)
    hub = _part(
        HUB, log, clock=time.time, reactor=reactor, before=[board.apply] if board else [], views={}, channels={}
    )
    services = Services(settings=lambda: settings, log=log, hub=hub, board=board, clock=time.time, version=__version__)
    host, _, port = settings.listen.rpartition(":")
    site = Site(Routes(services), requestFactory=GatewayRequest)
    try:
        listening = reactor.listenTCP(int(port), site, interface=host.strip("[]"))
    except CannotListenError as error:
        raise ConfigError(f"the gateway cannot listen at {settings.listen}: {error.socketError}") from None
    if hub and log:
        hub.start()
    address = listening.getHost()
    logger.info("serving %s at http://%s:%d/", path, address.host, address.port)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    reactor.run(installSignalHandlers=False)
    return EXIT_INTERRUPTED if signal.SIGINT in ended else EXIT_OK


def settings_of(config: Config, args: argparse.Namespace) -> WebSettings:
    """Return the settings of the tables of a file, with the options, which win."""
    exchange = config.require("restricted_exchange" if args.restricted else "exchange")
    log = None if args.log is None else str(Path(args.log).absolute())
    options = {"listen": args.listen, "log": log, "queue": args.queue}
    return web_settings(
        config.table("web"), config.table("trees"), options, exchange=exchange, restricted=args.restricted
    )


def broker_of(config: Config, *, restricted: bool) -> BrokerUrl:
    """Return the broker whose events are served; ConfigError says how to name it."""
    prefix = "restricted_" if restricted else ""
    return config.broker(prefix) or BrokerUrl.parse(config.require(f"{prefix}broker"))


def log_path(broker: BrokerUrl, settings: WebSettings, environ: Mapping[str, str]) -> Path:
    """Return the log that is served: the broker itself, or the gateway's own."""
    if broker.scheme == "file":
        if settings.log is not None:
            raise ConfigError(f"the broker {broker} is a log, and the gateway serves it as it is; leave --log out")
        return Path(broker.path)
    path = settings.log or Path(environ.get(STATE_VARIABLE) or STATE_FOLDER) / LOG_NAME
    if not path.parent.is_dir():
        raise ConfigError(f"the folder of the gateway's log {path} does not exist; create it, or set --log FILE")
    return path


def _part(place: tuple[str, str], *args: Any, **kwargs: Any) -> Any:
    """Return a part of the gateway, None while it is not installed."""
    module, name = place
    try:
        return getattr(import_module(module), name)(*args, **kwargs)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        return None
